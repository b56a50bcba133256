"""The event socket: what changes, as it changes. Its messages and its rules are in ``docs/events.md``."""

from aiohttp import web

from web.access.scopes import Scope
from web.api.schemas.events import EventMessage
from web.call import Call
from web.live.events_socket import SOCKETS
from web.operations import Operations

operations = Operations("events")


@operations.operation("GET", "/events", scope=Scope.SELF, status=101, model=EventMessage, errors=(400, 503))
async def get_events(call: Call) -> web.StreamResponse:
    """What changes, as it changes: a WebSocket (RFC 6455) for a person's pages.

    Each text message from the server is one ``EventMessage``; the page sends ``subscribe`` and ``unsubscribe``.
    """
    return await call.request.app[SOCKETS].serve(call.request, call.principal)


@operations.operation("GET", "/room/events", scope=Scope.ROOM_SEE, status=101, model=EventMessage, errors=(400, 503))
async def get_room_events(call: Call) -> web.StreamResponse:
    """The same for a room's page, which may have the topic of its own room."""
    return await call.request.app[SOCKETS].serve(call.request, call.principal)
