"""Rights behind sessions of WebRTC: asked about for as long as media flows, so that who loses theirs is cut off."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from storage.errors import DatabaseUnavailableError
from streaming.webrtc.errors import SessionGoneError
from streaming.webrtc.peer import Peer

log = structlog.get_logger("web.rights")

CHECK_S = 10.0


@dataclass
class Watch:
    """Who holds which session, by user id, and the tasks that watch over them. Owned by the application."""

    owners: dict[str, str] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, session_id: str, user_id: str, name: str, work: Coroutine[object, object, None]) -> None:
        """The session is the person's for as long as ``work`` runs, which watches over it, as a task of that name."""
        self.owners[session_id] = user_id
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self.tasks.discard(done)
            self.owners.pop(session_id, None)

        task.add_done_callback(over)

    def own(self, session_id: str, user_id: str) -> str:
        """That session, if it is the person's. Raises SessionGoneError."""
        if self.owners.get(session_id) != user_id:
            raise SessionGoneError("no such session of this person")
        return session_id

    async def end(self) -> None:
        """Cancel all that watch, and wait until they have let go."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def keep_watch(app: web.Application, key: web.AppKey[Watch]) -> None:
    """Put a watch into the application; it ends with it."""
    watch = app[key] = Watch()

    async def end(_: web.Application) -> None:
        await watch.end()

    app.on_cleanup.append(end)


async def while_allowed(peer: Peer, allowed: Callable[[], Awaitable[object]]) -> None:
    """Wait until the peer has closed. Meanwhile ``allowed`` is awaited every ten seconds; what it raises goes on.

    A database that cannot be asked is not an answer. Rights are kept there, so nobody takes any away meanwhile; but a
    room that sends its meeting would be lost to the recording.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHECK_S):
                await peer.closed()
                return
        try:
            await allowed()
        except DatabaseUnavailableError as error:
            log.debug("rights are asked for again later", code=error.code)
