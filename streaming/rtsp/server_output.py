"""How packets leave for one RTSP viewer: inside the RTSP connection, or as datagrams."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from streaming.rtsp.server_feed import Batch, ChannelMap, Group
from streaming.rtsp.udp import bind_pair

MAX_BEHIND_BYTES = 4 * 1024 * 1024
"""A viewer with more than this waiting in its connection is cut to the next keyframe."""

MAX_AHEAD_BYTES = 512 * 1024
"""Of a recording, no more than this waits for a viewer: it can be sent later just as well."""

_BURST_PACKETS = 48
_BURST_PAUSE_S = 0.002
_MAX_WAITING_PACKETS = 40_000


class InterleavedOutput:
    """RTP and RTCP in the RTSP connection (RFC 2326, 10.12)."""

    def __init__(self, transport: asyncio.WriteTransport, channels: ChannelMap, on_end: Callable[[str], None]) -> None:
        self.overflows = 0
        self._transport = transport
        self._channels = channels
        self._on_end = on_end
        self._waiting = False

    def send(self, group: Group) -> None:
        """Write, unless the connection is behind."""
        if self._waiting:
            rest = group.from_start()
            if rest is None or self._transport.get_write_buffer_size() > MAX_BEHIND_BYTES // 2:
                return
            group = rest
            self._waiting = False
        elif self._transport.get_write_buffer_size() > MAX_BEHIND_BYTES:
            self._waiting = True
            self.overflows += 1
            return
        data = group.interleaved(self._channels)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def behind(self) -> bool:
        """Whether the viewer takes less than it is sent."""
        return self._transport.get_write_buffer_size() > MAX_AHEAD_BYTES

    def end(self, reason: str) -> None:
        """Close the session."""
        self._on_end(reason)

    def close(self) -> None:
        """Nothing to free: the connection is the session's."""


class DatagramTrack(Protocol):
    """Where one track's datagrams go."""

    def send(self, packet: bytes, *, is_report: bool) -> None:
        """Send one packet; what the system does not take is lost."""
        ...


class UdpTrack:
    """The sockets of one track: RTP and RTCP, from a pair of ports to the client's pair.

    ``on_report`` is called when the client's RTCP comes: a sign of life. Opens two sockets; :meth:`close` frees them.
    """

    def __init__(self, local: str, peer: str, client_ports: tuple[int, int], on_report: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_report = on_report
        self._peer = peer
        self._rtp_address = (peer, client_ports[0])
        self._rtcp_address = (peer, client_ports[1])
        self._rtp, self._rtcp = bind_pair(local)
        self.ports: tuple[int, int] = (self._rtp.getsockname()[1], self._rtcp.getsockname()[1])
        self._loop.add_reader(self._rtcp, self._read, self._rtcp)
        self._loop.add_reader(self._rtp, self._read, self._rtp)

    def send(self, packet: bytes, *, is_report: bool) -> None:
        """Send one packet; what the system does not take is lost, as datagrams are."""
        try:
            if is_report:
                self._rtcp.sendto(packet, self._rtcp_address)
            else:
                self._rtp.sendto(packet, self._rtp_address)
        except OSError:
            return

    def _read(self, sock: socket.socket) -> None:
        try:
            _, address = sock.recvfrom(2048)
        except OSError:
            return
        if address[0] == self._peer and sock is self._rtcp:
            self._on_report()

    def close(self) -> None:
        """Free the sockets."""
        for sock in (self._rtp, self._rtcp):
            self._loop.remove_reader(sock)
            sock.close()


class UdpOutput:
    """RTP and RTCP as datagrams. Bursts are spread out, so that the first GOP does not overrun the client's socket."""

    def __init__(self, tracks: Mapping[int, DatagramTrack], on_end: Callable[[str], None]) -> None:
        self.overflows = 0
        self._tracks = tracks
        self._on_end = on_end
        self._queue: deque[tuple[DatagramTrack, bytes, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False

    def send(self, group: Group) -> None:
        """Send now what fits in one burst, the rest in steps."""
        if self._waiting or len(self._queue) > _MAX_WAITING_PACKETS:
            rest = group.from_start() if not self._queue else None
            if rest is None:
                self.overflows += 0 if self._waiting else 1
                self._waiting = True
                return
            self._waiting = False
            group = rest
        for batch in group.batches:
            self._enqueue(batch)
        if self._timer is None:
            self._burst()

    def _enqueue(self, batch: Batch) -> None:
        track = self._tracks.get(batch.track_id)
        if track is not None:
            self._queue.extend((track, packet, batch.is_report) for packet in batch.packets)

    def _burst(self) -> None:
        self._timer = None
        for _ in range(min(_BURST_PACKETS, len(self._queue))):
            track, packet, is_report = self._queue.popleft()
            track.send(packet, is_report=is_report)
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(_BURST_PAUSE_S, self._burst)

    @property
    def behind(self) -> bool:
        """Whether what was sent is still on its way out."""
        return len(self._queue) > _BURST_PACKETS

    def end(self, reason: str) -> None:
        """Close the session."""
        self._on_end(reason)

    def close(self) -> None:
        """Stop sending. The sockets are the session's."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
