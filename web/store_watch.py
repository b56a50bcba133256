"""Whether the object store is the one that the database knows: asked by itself, for whoever has mounted no disk should
read so before a meeting waits for it."""

import asyncio
from contextlib import AbstractAsyncContextManager

from media.tasks import Failures, kept_running
from recorder.uploader import trouble_of
from storage.errors import ObjectStoreError
from storage.objects import ObjectStore

_LOOK_S = 30.0
_CHANGED = "store-changed"


class StoreWatch:
    """Owned by the application. A store that is away is no news while nothing waits for it: the recorder tells."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.codes: tuple[str, ...] = ()
        """``store-changed``, or nothing."""

    def running(self, failures: Failures) -> AbstractAsyncContextManager[None]:
        """Look for as long as the context is open."""
        return kept_running("store watch", self._run, failures)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Ask the store."""
        try:
            await self._store.check()
        except ObjectStoreError as error:
            self.codes = (_CHANGED,) if trouble_of(error) == _CHANGED else ()
        else:
            self.codes = ()
