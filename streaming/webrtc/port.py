"""The one UDP and one TCP port of all WebRTC sessions, IPv4 and IPv6.

    async with WebRtcPort(PortSettings(host="0.0.0.0", port=8189), clock) as port:
        peer = Peer(port, …)

Sockets are read in bursts up to a budget, so that the reports of a hundred viewers do not keep cameras waiting. Packets
of one size leave in one system call where the kernel can cut them (UDP_SEGMENT, Linux 4.18).
"""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aioice.ice import get_host_addresses

from media.clock import Clock
from streaming.webrtc.dtls import Scratch
from streaming.webrtc.mux import Mux, MuxSettings
from streaming.webrtc.tcp import TcpAccess
from streaming.webrtc.udp import PortCounters, UdpOutlet, UdpPath, open_udp

READ_BUDGET = 64
_CONSENT_LOOK_S = 5.0
_PORT_ATTEMPTS = 16
_BUFFER_BYTES = 8192
_LONE_NS = 2_000_000


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


class WebRtcPort:
    """Owns the sockets and the mux. An async context manager; raises OSError on entering if the port is taken."""

    def __init__(self, settings: PortSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.mux = Mux(clock, settings.mux)
        self.counters = PortCounters()
        self.scratch = Scratch()
        self.candidates: tuple[HostCandidate, ...] = ()
        self._looking: asyncio.TimerHandle | None = None
        self.outlets: list[UdpOutlet] = []
        """The UDP sockets."""
        self._tcp: TcpAccess | None = None
        self._arrival_ns = 0
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)

    @property
    def port(self) -> int:
        """The UDP port."""
        return int(self.outlets[0].socket.getsockname()[1])

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
        for outlet in self.outlets:
            loop.add_reader(outlet.socket, self._read, outlet)
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        if self._looking is not None:
            self._looking.cancel()
        for outlet in self.outlets:
            loop.remove_reader(outlet.socket)
        await self._close()

    def _look(self) -> None:
        """Whose peer is gone? One timer for all sessions."""
        self._looking = asyncio.get_running_loop().call_later(_CONSENT_LOOK_S, self._look)
        self.mux.expire()
        for outlet in self.outlets:
            outlet.look()

    async def _bind(self) -> None:
        hosts = [self.settings.host] if self.settings.host else ["0.0.0.0", "::"]
        wanted = self.settings.port
        for host in hosts:
            sock = open_udp(host, wanted, optional=len(self.outlets) > 0)
            if sock is not None:
                self.outlets.append(UdpOutlet(sock, self.counters))
                wanted = sock.getsockname()[1]
        if self.settings.tcp_port is not None:
            self._tcp = TcpAccess(self.mux, self.clock)
            await self._tcp.start(hosts, self.settings.tcp_port or wanted)

    async def _close(self) -> None:
        for outlet in self.outlets:
            outlet.close()
        self.outlets.clear()
        if self._tcp is not None:
            await self._tcp.close()
            self._tcp = None

    def _read(self, outlet: UdpOutlet) -> None:
        """Take what is there, up to the budget; the loop calls again if there is more.

        One packet alone, as checks come, is the rule: to look whether another is there costs as much as to read it. So
        more is read only when packets come close together.
        """
        view, mux, clock = self._view, self.mux, self.clock
        receive = outlet.socket.recvfrom_into
        for _ in range(READ_BUDGET):
            try:
                size, address = receive(view)
            except OSError:
                # Nothing left, or news of a packet that did not arrive somewhere.
                return
            arrival_ns = clock.utc_ns()
            is_lone = arrival_ns - self._arrival_ns > _LONE_NS
            self._arrival_ns = arrival_ns
            if 0 < size < _BUFFER_BYTES:
                self.counters.received += 1
                mux.datagram(
                    address,
                    (address[0], address[1]),
                    view[:size],
                    arrival_ns,
                    functools.partial(UdpPath, outlet, address),
                )
            if is_lone:
                return

    def _host_candidates(self) -> tuple[HostCandidate, ...]:
        settings = self.settings
        addresses: Sequence[str] = settings.public_addresses
        if not addresses:
            host = ipaddress.ip_address(settings.host) if settings.host else None
            if host is not None and not host.is_unspecified:
                addresses = (settings.host,)
            else:
                versions = {outlet.socket.family for outlet in self.outlets}
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
