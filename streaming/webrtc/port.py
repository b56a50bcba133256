"""The one UDP and one TCP port of all WebRTC sessions, IPv4 and IPv6.

    async with WebRtcPort(PortSettings(host="0.0.0.0", port=8189), clock) as port:
        peer = Peer(port, …)

Sockets are read in bursts up to a budget, so that the reports of a hundred viewers do not keep cameras waiting. Packets
of one size leave in one system call where the kernel can cut them (UDP_SEGMENT, Linux 4.18).
"""

import asyncio
import errno
import functools
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aioice.ice import get_host_addresses

from media.clock import Clock
from streaming.webrtc.dtls import Scratch
from streaming.webrtc.mux import Mux, MuxSettings
from streaming.webrtc.tcp import TcpAccess
from streaming.webrtc.wire import Run, Wire

READ_BUDGET = 64
_PORT_ATTEMPTS = 16
_BUFFER_BYTES = 8192
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
# What a kernel or network card says that cannot cut packets.
_NO_SEGMENTATION = {errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP}


@dataclass(frozen=True, slots=True)
class PortSettings:
    """``host`` to listen on; empty is all of IPv4 and IPv6. ``port`` is the UDP port and, unless ``tcp_port`` says
    otherwise, that of ICE-TCP; 0 takes a free one, and ``tcp_port`` None turns ICE-TCP off. ``public_addresses`` are
    what peers are told where this machine is behind a NAT; else those of its interfaces are."""

    host: str = ""
    port: int = 0
    tcp_port: int | None = 0
    public_addresses: tuple[str, ...] = ()
    mux: MuxSettings = field(default_factory=MuxSettings)


@dataclass(slots=True)
class PortCounters:
    """Packets of all sessions. ``refused`` were not taken by the system on sending, so they are lost."""

    received: int = 0
    sent: int = 0
    refused: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class HostCandidate:
    """A host candidate of ours (RFC 8839, 5.1): ``transport`` is ``udp`` or ``tcp`` (passive)."""

    address: str
    port: int
    transport: str
    priority: int

    @property
    def foundation(self) -> str:
        """The same for candidates of one kind on one address (RFC 8445, 5.1.1.3)."""
        number = int.from_bytes(ipaddress.ip_address(self.address).packed[-3:], "big")
        return f"{number}{1 if self.transport == 'udp' else 2}"


class UdpPath:
    """The way to one UDP address."""

    __slots__ = ("_address", "_port", "_socket")
    kind = "udp"

    def __init__(self, port: "WebRtcPort", sock: socket.socket, address: Any) -> None:
        self._port = port
        self._socket = sock
        self._address = address

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address."""
        return (self._address[0], self._address[1])

    def send(self, packet: bytes | memoryview) -> bool:
        """Send one packet; false if the system did not take it."""
        counters = self._port.counters
        counters.calls += 1
        try:
            self._socket.sendto(packet, self._address)
        except OSError:
            counters.refused += 1
            return False
        counters.sent += 1
        return True

    def send_many(self, packets: Sequence[bytes]) -> int:
        """Send packets in order, runs of one size in one call; how many went."""
        if len(packets) < 2:
            return sum(self.send(packet) for packet in packets)
        wire = Wire(packets, 0)
        return self.send_wire(memoryview(wire.plain), wire)

    def send_wire(self, data: memoryview, wire: Wire) -> int:
        """Send packets that lie as ``wire`` says; how many went."""
        went = 0
        port, counters = self._port, self._port.counters
        for run in wire.runs:
            count = run.count
            try:
                if count == 1:
                    self._socket.sendto(data[run.start : run.end], self._address)
                elif port.segmentation:
                    self._socket.sendmsg((data[run.start : run.end],), run.control, 0, self._address)
                else:
                    went += self._one_by_one(data, run)
                    continue
            except OSError as error:
                if count > 1 and error.errno in _NO_SEGMENTATION:
                    port.segmentation = False
                    went += self._one_by_one(data, run)
                else:
                    counters.refused += count
                continue
            counters.calls += 1
            counters.sent += count
            went += count
        return went

    def _one_by_one(self, data: memoryview, run: Run) -> int:
        return sum(self.send(data[at : min(at + run.size, run.end)]) for at in range(run.start, run.end, run.size))


class WebRtcPort:
    """Owns the sockets and the mux. An async context manager; raises OSError on entering if the port is taken."""

    def __init__(self, settings: PortSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.mux = Mux(clock, settings.mux)
        self.counters = PortCounters()
        self.scratch = Scratch()
        self.segmentation = hasattr(socket.socket, "sendmsg")
        self.candidates: tuple[HostCandidate, ...] = ()
        self._sockets: list[socket.socket] = []
        self._tcp: TcpAccess | None = None
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)

    @property
    def port(self) -> int:
        """The UDP port."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def tcp_port(self) -> int | None:
        """The TCP port; None if ICE-TCP is off."""
        return self._tcp.port if self._tcp is not None else None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for left in reversed(range(_PORT_ATTEMPTS)):
            try:
                await self._bind()
                break
            except OSError:
                await self._close()
                # The UDP port that the system chose may be somebody's TCP port.
                if self.settings.port or self.settings.tcp_port or not left:
                    raise
            except BaseException:
                await self._close()
                raise
        self.candidates = self._host_candidates()
        for sock in self._sockets:
            loop.add_reader(sock, self._read, sock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
        await self._close()

    async def _bind(self) -> None:
        hosts = [self.settings.host] if self.settings.host else ["0.0.0.0", "::"]
        wanted = self.settings.port
        for host in hosts:
            sock = _udp_socket(host, wanted, optional=len(self._sockets) > 0)
            if sock is not None:
                self._sockets.append(sock)
                wanted = sock.getsockname()[1]
        if self.settings.tcp_port is not None:
            self._tcp = TcpAccess(self.mux, self.clock)
            await self._tcp.start(hosts, self.settings.tcp_port or wanted)

    async def _close(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._tcp is not None:
            await self._tcp.close()
            self._tcp = None

    def _read(self, sock: socket.socket) -> None:
        """Take what is there, up to the budget; the loop calls again if there is more."""
        view, mux, clock = self._view, self.mux, self.clock
        for _ in range(READ_BUDGET):
            try:
                size, address = sock.recvfrom_into(view)
            except OSError:
                # Nothing left, or news of a packet that did not arrive somewhere.
                return
            if not 0 < size < _BUFFER_BYTES:
                continue
            self.counters.received += 1
            mux.datagram(
                address,
                (address[0], address[1]),
                view[:size],
                clock.utc_ns(),
                functools.partial(UdpPath, self, sock, address),
            )

    def _host_candidates(self) -> tuple[HostCandidate, ...]:
        settings = self.settings
        addresses: Sequence[str] = settings.public_addresses
        if not addresses:
            host = ipaddress.ip_address(settings.host) if settings.host else None
            if host is not None and not host.is_unspecified:
                addresses = (settings.host,)
            else:
                versions = {sock.family for sock in self._sockets}
                addresses = get_host_addresses(socket.AF_INET in versions, socket.AF_INET6 in versions)
                # A machine without a network is still good for its own browser.
                addresses = addresses or ["127.0.0.1"]
        found: list[HostCandidate] = []
        for rank, address in enumerate(addresses):
            # RFC 8445, 5.1.2.1: type preference 126 of host candidates; RFC 6544, 4.2: less for TCP, with a direction
            # preference of 2 for passive. The component is 1, RTCP comes on the same port.
            local = 65535 - rank
            found.append(HostCandidate(address, self.port, "udp", (126 << 24) | (local << 8) | 255))
            if self._tcp is not None:
                local = (2 << 13) | (8191 - rank)
                found.append(HostCandidate(address, self._tcp.port, "tcp", (90 << 24) | (local << 8) | 255))
        return tuple(found)


def _udp_socket(host: str, port: int, *, optional: bool) -> socket.socket | None:
    """A non-blocking socket with large buffers. Raises OSError, unless ``optional`` and the family is not there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        if optional:
            return None
        raise
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if optional and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            return None
        raise
    return sock
