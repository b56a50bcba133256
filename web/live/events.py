"""Live events as a whole: put together, started and ended here."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from media.tasks import Failures
from web.live.events_board import BOARD, LiveBoard
from web.live.events_hub import Hub
from web.live.events_socket import SOCKETS, EventSockets
from web.live.presence import Presence
from web.services import SERVICES


@contextlib.asynccontextmanager
async def live_events(app: web.Application, failures: Failures) -> AsyncIterator[None]:
    """Tell pages what changes for as long as the context is open. Raises DatabaseError."""
    services = app[SERVICES]
    board = LiveBoard(services, Hub(services.clock), Presence(services.database, services.clock))
    sockets = EventSockets(services, board)
    app[BOARD], app[SOCKETS] = board, sockets
    async with board.running(failures), sockets.running():
        yield


async def let_go(app: web.Application) -> None:
    """An ``on_shutdown`` signal: pages are told that the service goes, rather than cut off."""
    if SOCKETS in app:
        app[SOCKETS].let_go()
