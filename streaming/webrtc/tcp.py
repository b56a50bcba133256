"""ICE-TCP (RFC 6544), passive, for networks that block UDP: packets behind a length of two octets (RFC 4571)."""

import asyncio
import itertools
import struct
from collections.abc import Sequence
from typing import cast

from media.clock import Clock
from streaming.webrtc.mux import Mux
from streaming.webrtc.wire import Wire

MAX_CONNECTIONS = 1_000
MAX_STRANGERS_PER_HOST = 64
MAX_FRAME_BYTES = 8192
MAX_BEHIND_BYTES = 512 * 1024
"""A peer with more than this waiting in its connection loses packets, as on a full network."""

FIRST_CHECK_S = 10.0
_LENGTH = struct.Struct("!H")


class TcpPath:
    """The way to a peer through its connection."""

    __slots__ = ("_peer", "_transport", "dropped")
    kind = "tcp"

    def __init__(self, transport: asyncio.WriteTransport, peer: tuple[str, int]) -> None:
        self._transport = transport
        self._peer = peer
        self.dropped = 0

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address."""
        return self._peer

    def send(self, packet: bytes) -> bool:
        """Send one packet; false if the connection is behind or closing."""
        return self.send_many((packet,)) == 1

    def send_many(self, packets: Sequence[bytes]) -> int:
        """Send packets in order; all or none."""
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size() > MAX_BEHIND_BYTES:
            self.dropped += len(packets)
            return 0
        parts: list[bytes] = []
        for packet in packets:
            parts += (_LENGTH.pack(len(packet)), packet)
        transport.write(b"".join(parts))
        return len(packets)

    def send_wire(self, data: memoryview, wire: Wire) -> int:
        """Send packets that lie as ``wire`` says; all or none."""
        found: list[bytes] = []
        for run in wire.runs:
            ends = range(run.start, run.end, run.size)
            found += (bytes(data[at : min(at + run.size, run.end)]) for at in ends)
        return self.send_many(found)

    def close(self) -> None:
        """Close the connection: a peer that has vanished never will, and it would count for ever."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()


class _Connection(asyncio.Protocol):
    def __init__(self, access: "TcpAccess") -> None:
        self._access = access
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._path: TcpPath | None = None
        self.key = ("tcp", next(access.numbers))
        self.peer = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername") or ("", 0)
        self.peer = (address[0], address[1])
        if not self._access.admit(self):
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(FIRST_CHECK_S, self._judge)

    def data_received(self, data: bytes) -> None:
        buffer, access = self._buffer, self._access
        buffer += data
        at, view = 0, memoryview(bytes(buffer))
        while at + 2 <= len(view):
            (size,) = _LENGTH.unpack_from(view, at)
            if not 0 < size <= MAX_FRAME_BYTES:
                self.abort()
                return
            if at + 2 + size > len(view):
                break
            frame = view[at + 2 : at + 2 + size]
            at += 2 + size
            if frame[0] > 3 and not access.mux.knows(self.key):
                # RFC 6544, 6.2: the first packet is a check; anything else is not for us.
                self.abort()
                return
            access.mux.datagram(self.key, self.peer, frame, access.clock.utc_ns(), self._way_back)
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._access.gone(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _way_back(self) -> TcpPath:
        if self._path is None:
            assert self._transport is not None
            self._path = TcpPath(self._transport, self.peer)
        return self._path

    def _judge(self) -> None:
        if not self._access.mux.knows(self.key):
            self.abort()


class TcpAccess:
    """Listens for ICE-TCP. Owned by the port."""

    def __init__(self, mux: Mux, clock: Clock) -> None:
        self.mux = mux
        self.clock = clock
        self.numbers = itertools.count()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, hosts: Sequence[str], port: int) -> None:
        """Listen. Raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), hosts, port, backlog=256)

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._server.wait_closed()

    def admit(self, connection: _Connection) -> bool:
        """Whether one more connection may stay."""
        strangers = sum(
            other.peer[0] == connection.peer[0] and not self.mux.knows(other.key) for other in self._connections
        )
        if len(self._connections) >= MAX_CONNECTIONS or strangers >= MAX_STRANGERS_PER_HOST:
            return False
        self._connections.add(connection)
        return True

    def gone(self, connection: _Connection) -> None:
        """A connection has closed."""
        self._connections.discard(connection)
        self.mux.closed(connection.key)
