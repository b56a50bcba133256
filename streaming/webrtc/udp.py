"""UDP sockets of the one port, and the ways through them to addresses."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streaming.webrtc.volley import Volley, packed_address
from streaming.webrtc.wire import Run, Wire

_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
# What a kernel or network card says that cannot cut packets, or whose way has no room for packets of this size.
_NO_SEGMENTATION = {errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EMSGSIZE}


@dataclass(slots=True)
class PortCounters:
    """Packets of all sessions. ``refused`` were not taken by the system on sending, so they are lost."""

    received: int = 0
    sent: int = 0
    refused: int = 0
    calls: int = 0


_FIRST_REST = 12
_LONGEST_REST = 720
"""In looks of the port, each some seconds."""


class UdpOutlet:
    """One socket as a way out. ``segmentation`` is whether the kernel cuts packets; ``volley`` sends to many at once,
    None where the system cannot."""

    __slots__ = ("_next_rest", "_proven", "_resting", "counters", "segmentation", "socket", "volley")

    def __init__(self, sock: socket.socket, counters: PortCounters) -> None:
        self.socket = sock
        self.counters = counters
        self.segmentation = hasattr(sock, "sendmsg")
        self._proven = False
        self._resting = 0
        self._next_rest = _FIRST_REST
        self.volley: Volley | None = None
        try:
            self.volley = Volley(sock)
        except OSError:
            # Then each viewer's packets leave by themselves.
            pass

    def close(self) -> None:
        """Close the socket."""
        if self.volley is not None:
            self.volley.close()
        self.socket.close()

    def cut(self) -> None:
        """The kernel has cut packets: if it ever refuses, that is for one address."""
        self._proven = True

    def uncut(self, error: int | None) -> bool:
        """Whether ``error`` on sending means that packets were not cut. Before any ever were, it is tried again after a
        while only, each time a longer one: perhaps it was one address's narrow way, and not the kernel."""
        if error not in _NO_SEGMENTATION:
            return False
        if self.segmentation and not self._proven:
            self.segmentation = False
            self._resting = self._next_rest
            self._next_rest = min(2 * self._next_rest, _LONGEST_REST)
        return True

    def look(self) -> None:
        """Told by the port every few seconds."""
        if self._resting:
            self._resting -= 1
            self.segmentation = not self._resting


class UdpPath:
    """The way to one UDP address."""

    __slots__ = ("_address", "name", "outlet", "segments")
    kind = "udp"

    def __init__(self, outlet: UdpOutlet, address: Any) -> None:
        self.outlet = outlet
        self._address = address
        self.segments = True
        """False once packets cut by the kernel did not go this way."""
        self.name = packed_address(outlet.socket.family, address)
        """The address as the kernel takes it."""

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address."""
        return (self._address[0], self._address[1])

    def send(self, packet: bytes | memoryview) -> bool:
        """Send one packet; false if the system did not take it."""
        counters = self.outlet.counters
        counters.calls += 1
        try:
            self.outlet.socket.sendto(packet, self._address)
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
        return sum(self.send_run(data, run) for run in wire.runs)

    def send_run(self, data: memoryview, run: Run) -> int:
        """Send the packets of one run; how many went."""
        outlet = self.outlet
        if run.count > 1 and outlet.segmentation and self.segments:
            try:
                outlet.socket.sendmsg((data[run.start : run.end],), run.control, 0, self._address)
            except OSError as error:
                if not outlet.uncut(error.errno):
                    outlet.counters.refused += run.count
                    return 0
                self.segments = False
            else:
                outlet.cut()
                outlet.counters.calls += 1
                outlet.counters.sent += run.count
                return run.count
        return sum(self.send(data[at : min(at + run.size, run.end)]) for at in range(run.start, run.end, run.size))

    def close(self) -> None:
        """Nothing: the socket is everybody's."""


def open_udp(host: str, port: int, *, optional: bool) -> socket.socket | None:
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
