"""Whether the service can do its work, for whoever watches over it: asked of its parts once a second at most, however
many want to know. To ask the object store is to write to the disk that recordings stay on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from media.clock import Clock
from media.unit import NS_PER_S
from storage.errors import StorageError

_GOOD_NS = NS_PER_S
_PATIENCE_S = 5.0


class Readiness:
    """Owned by the application; used from its event loop only. ``parts`` are checked by name, each raises StorageError
    where it cannot work; ``warnings`` are those of the recorder."""

    def __init__(
        self,
        parts: Mapping[str, Callable[[], Awaitable[object]]],
        warnings: Callable[[], Collection[str]],
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._warnings = warnings
        self._clock = clock
        self._turn = asyncio.Lock()
        self._found: dict[str, str] = {}
        self._found_ns: int | None = None

    async def troubles(self) -> dict[str, str]:
        """What keeps the service from its work: part → error code. Empty where all is well."""
        async with self._turn:
            if self._found_ns is None or self._clock.monotonic_ns() - self._found_ns > _GOOD_NS:
                self._found = await self._ask()
                self._found_ns = self._clock.monotonic_ns()
        return self._found | ({"spool": "spool-full"} if "spool-full" in self._warnings() else {})

    async def _ask(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for part, check in self._parts.items():
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await check()
            except StorageError as error:
                found[part] = error.code
            except TimeoutError:
                found[part] = "timeout"
        return found
