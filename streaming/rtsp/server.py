"""RTSP 1.0 server (RFC 2326): live streams and recordings for decoders, recorders, TV walls, and for our own simulated
cameras."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.stream import LiveStream
from media.tasks import Failures, lasting
from streaming.door import Door, DoorLimits
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.server_connection import ServerConnection
from streaming.rtsp.server_feed import Output, StreamFeed
from streaming.rtsp.server_multicast import Multicaster, MulticastGroup, MulticastSettings
from streaming.rtsp.server_recorded import RecordedLibrary
from streaming.rtsp.server_session import ConnectionSettings, Library

log = logging.getLogger(__name__)

_SWEEP_S = 5.0


class RtspServer:
    """Serves the streams that ``provider`` finds by path (``/live/x``, without the track).

    Use it as an async context manager: it listens from entering on. ``authenticator`` checks every request but
    OPTIONS; ``None`` lets everybody in. ``port`` 0 takes a free port, :attr:`port` tells which. Raises OSError on
    entering if the port is taken. ``recordings`` knows what can be played beside live streams; ``multicast`` sends one
    packet stream for all who ask for it so. ``limits`` says how many may be connected.
    """

    def __init__(
        self,
        host: str,
        port: int,
        provider: Callable[[str], LiveStream | None],
        authenticator: ServerAuthenticator | None,
        clock: Clock,
        *,
        settings: ConnectionSettings | None = None,
        limits: DoorLimits | None = None,
        recordings: RecordedLibrary | None = None,
        multicast: MulticastSettings | None = None,
        failures: Failures | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._library = Library(provider, recordings)
        self._multicaster = Multicaster(multicast, self.join, self.leave) if multicast is not None else None
        self._authenticator = authenticator
        self._clock = clock
        self._settings = settings or ConnectionSettings()
        self._door = Door("rtsp server", clock, limits or DoorLimits(), _Served())
        self._failures = failures or Failures(clock)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._connections: set[ServerConnection] = set()
        self._feeds: dict[LiveStream, tuple[StreamFeed, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._overflows_of_the_gone = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def viewers(self) -> int:
        """How many connections are being sent media."""
        return sum(connection.playing for connection in self._connections)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._door)

    @property
    def overflows(self) -> int:
        """How often viewers were cut to the next keyframe, those that have gone with them: it never becomes less."""
        return self._overflows_of_the_gone + sum(connection.overflows for connection in self._connections)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._door.guarding(self._connection), self._host, self._port, backlog=512
        )
        work = lasting("rtsp sweeper", self._sweep, self._failures)
        self._sweeper = asyncio.create_task(work, name="rtsp sweeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._sweeper is not None
        self._server.close()
        self._sweeper.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        tasks = [self._sweeper, *self._ending, *(task for _, task in self._feeds.values())]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._server.wait_closed()

    def join(self, stream: LiveStream, output: Output) -> None:
        """Begin to send a stream to a viewer. Called by connections."""
        entry = self._feeds.get(stream)
        if entry is None:
            feed = StreamFeed(stream, self._clock)
            task = asyncio.create_task(feed.run(), name=f"rtsp-feed-{stream.id.camera}")
            task.add_done_callback(lambda done: self._feed_done(stream, done))
            entry = self._feeds[stream] = (feed, task)
        entry[0].add(output)

    def leave(self, stream: LiveStream, output: Output) -> None:
        """Stop sending a stream to a viewer. Called by connections."""
        entry = self._feeds.get(stream)
        if entry is None:
            return
        feed, task = entry
        feed.remove(output)
        if feed.outputs == 0:
            del self._feeds[stream]
            self._ending.add(task)
            task.cancel()

    def feed(self, stream: LiveStream) -> StreamFeed | None:
        """The stream's feed, if somebody watches it."""
        entry = self._feeds.get(stream)
        return entry[0] if entry is not None else None

    def multicast_group(self, stream: LiveStream) -> MulticastGroup | None:
        """The stream's group; None where multicast is off, or no address is left. Called by connections."""
        return self._multicaster.group(stream) if self._multicaster is not None else None

    def check_access(self) -> None:
        """End the sessions of people who may no longer have them. Call it when rights have changed."""
        for connection in tuple(self._connections):
            connection.check_access()

    def _connection(self) -> ServerConnection:
        connection = ServerConnection(
            self._library, self._authenticator, self, self._clock, self._settings, self._closed
        )
        self._connections.add(connection)
        return connection

    def _closed(self, connection: ServerConnection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._overflows_of_the_gone += connection.overflows

    def _feed_done(self, stream: LiveStream, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        entry = self._feeds.get(stream)
        if entry is not None and entry[1] is task:
            del self._feeds[stream]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an RTSP feed failed", exc_info=error)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._door.sweep()
            for connection in tuple(self._connections):
                connection.check_alive()
                connection.check_access()


class _Served:
    """What the door asks about connections."""

    def busy(self, protocol: asyncio.Protocol) -> bool:
        return isinstance(protocol, ServerConnection) and protocol.playing

    def asked_ns(self, protocol: asyncio.Protocol) -> int | None:
        return protocol.asked_ns if isinstance(protocol, ServerConnection) else None

    def left(self, protocol: asyncio.Protocol) -> None:
        return
