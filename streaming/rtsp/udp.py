"""A pair of UDP sockets for one medium: RTP on an even port, RTCP on the next (RFC 3550, 11)."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack

from media.clock import Clock

PAIR_ATTEMPTS = 64
RECEIVE_BUFFER_BYTES = 1024 * 1024


class _Receiver(asyncio.DatagramProtocol):
    """Hands on datagrams of one address; others are nobody's business."""

    def __init__(self, peer: str, clock: Clock, sink: Callable[[bytes, int], None], fail: Callable[[Exception], None]):
        self._peer = peer
        self._clock = clock
        self._sink = sink
        self._fail = fail

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] != self._peer:
            return
        try:
            self._sink(data, self._clock.utc_ns())
        except Exception as error:  # noqa: BLE001 whatever one camera's bytes set off is that camera's failure alone
            self._fail(error)

    def error_received(self, exc: Exception) -> None:
        # ICMP refusals of our receiver reports; silence is noticed elsewhere.
        pass


class UdpPair:
    """Two bound sockets. Open with :meth:`open`, close with :meth:`close`."""

    def __init__(self, rtp: asyncio.DatagramTransport, rtcp: asyncio.DatagramTransport, port: int) -> None:
        self.port = port
        self._rtp = rtp
        self._rtcp = rtcp

    @classmethod
    async def open(
        cls,
        local: str,
        peer: str,
        clock: Clock,
        on_rtp: Callable[[bytes, int], None],
        on_rtcp: Callable[[bytes, int], None],
        fail: Callable[[Exception], None],
    ) -> "UdpPair":
        """Bind to ``local`` and take datagrams from ``peer`` (both IP addresses). Raises OSError if no pair is free."""
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            first, second = bind_pair(local)
            stack.callback(first.close)
            stack.callback(second.close)
            port = int(first.getsockname()[1])
            rtp, _ = await loop.create_datagram_endpoint(lambda: _Receiver(peer, clock, on_rtp, fail), sock=first)
            stack.callback(rtp.close)
            rtcp, _ = await loop.create_datagram_endpoint(lambda: _Receiver(peer, clock, on_rtcp, fail), sock=second)
            stack.pop_all()
            return cls(rtp, rtcp, port)

    def send_rtp(self, packet: bytes, peer: str, port: int) -> None:
        """Send media. Never waits."""
        if not self._rtp.is_closing():
            self._rtp.sendto(packet, (peer, port))

    def send_rtcp(self, packet: bytes, peer: str, port: int) -> None:
        """Send a report. Never waits."""
        if not self._rtcp.is_closing():
            self._rtcp.sendto(packet, (peer, port))

    def close(self) -> None:
        """Free both ports."""
        self._rtp.close()
        self._rtcp.close()


def bind_pair(local: str) -> tuple[socket.socket, socket.socket]:
    """Two non-blocking sockets bound to ``local``, an even port and the next. Raises OSError if no pair is free."""
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    for _ in range(PAIR_ATTEMPTS):
        first = _bound(family, local, 0)
        port = int(first.getsockname()[1])
        if port % 2 == 0 and port < 65_535:
            try:
                return first, _bound(family, local, port + 1)
            except OSError:
                pass
        first.close()
    raise OSError("no free pair of UDP ports")


def _bound(family: int, local: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        made.bind((local, port))
    except OSError:
        made.close()
        raise
    return made
