"""The web server's door: which connections are being served, and a site that lets in whom its door lets in."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from media.clock import Clock
from media.tasks import Failures, kept_running
from streaming.door import Door, DoorLimits

_SWEEP_S = 5.0
_BACKLOG = 512


class Requests:
    """The requests that are being answered. Owned by the application; one for each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[object, web.Request] = {}
        self._asked_ns: dict[object, int] = {}

    @web.middleware
    async def notice(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware; the outermost."""
        protocol = request.protocol
        self._running[protocol] = request
        self._asked_ns[protocol] = self._clock.monotonic_ns()
        try:
            return await handler(request)
        finally:
            self._running.pop(protocol, None)
            if request.transport is None:
                self.left(protocol)

    def busy(self, protocol: object) -> bool:
        """Whether a handler works for it. One that still waits for its request's body does not."""
        request = self._running.get(protocol)
        return request is not None and request.content.is_eof()

    def asked_ns(self, protocol: object) -> int | None:
        """When its last request came."""
        return self._asked_ns.get(protocol)

    def left(self, protocol: object) -> None:
        """Forget a connection."""
        self._asked_ns.pop(protocol, None)


REQUESTS = web.AppKey("requests", Requests)


class GuardedSite(web.BaseSite):
    """A TCP site behind a door."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, door: Door) -> None:
        super().__init__(runner, backlog=_BACKLOG)
        self._host = host
        self._port = port
        self._door = door

    @property
    def name(self) -> str:
        """Its address."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        await super().start()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            self._door.guarding(server), self._host, self._port, backlog=self._backlog
        )


def door_of(requests: Requests, clock: Clock, trusted_proxies: Sequence[str], limits: DoorLimits | None = None) -> Door:
    """The door of an application. A browser opens up to six connections; 200 from one address are an office behind one
    router. Reverse proxies may have all."""
    trusted = tuple(ipaddress.ip_network(network) for network in trusted_proxies)
    return Door("web server", clock, limits or DoorLimits(per_address=200, trusted=trusted), requests)


@contextlib.asynccontextmanager
async def swept(door: Door, failures: Failures) -> AsyncIterator[None]:
    """Who asks for nothing, and who takes nothing, is let go while inside."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            door.sweep()

    async with kept_running("web sweeper", sweep, failures):
        yield
