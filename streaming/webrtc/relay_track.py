"""One medium of a stream, made into RTP once for all viewers.

Payloads are cut once and shared. What a viewer's packet needs besides, twelve octets of header and, where it was asked
for, the time of sending, is put before them when it goes; viewers who joined at the same place and chose the same
payload type even share that.
"""

import bisect
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from media.packetizer import Packetizer
from media.rtp import HEADER
from media.unit import NS_PER_S, VIDEO_TRACK_ID, AccessUnit, Track
from streaming.webrtc.wire import Wire

MTU = 1200
"""Largest RTP packet with a plain header, as WebRTC has it everywhere: it fits through tunnels too."""

MAX_BACKLOG_BYTES = 24 * 1024 * 1024
AGAIN_WITHIN = 1000
"""libsrtp protects a packet anew only while its number is within this window (see aiortc's policy)."""

AGAIN_S = 8
"""Who has not asked for a packet by then has shown the picture without it, or asked for a keyframe."""

_AGAIN_SENT = AGAIN_S << 18
_USUAL_SPACING = 1500
_RATE_WINDOW_NS = 2 * NS_PER_S

_EXTENDED = struct.Struct("!BBHIIII")
# RFC 8285, 4.2: the profile of one-byte headers, one word long.
_ONE_BYTE_PROFILE = 0xBEDE_0001


class Shape:
    """What tells one viewer's packets from another's: payload type, SSRC, id of abs-send-time (0 for none); ``key`` is
    all three in one."""

    __slots__ = ("key", "payload_type", "send_time_id", "ssrc")

    def __init__(self, payload_type: int, ssrc: int, send_time_id: int) -> None:
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.send_time_id = send_time_id
        self.key = ssrc << 16 | payload_type << 8 | send_time_id


def send_time(now_ns: int) -> int:
    """abs-send-time: seconds modulo 64 with 18 bits of fraction."""
    return (now_ns << 18) // NS_PER_S & 0xFFFFFF


class Batch:
    """One access unit's packets. ``first`` is the number of the first on the relay's own count, which never wraps;
    ``timestamp`` likewise; ``starts`` where a viewer may begin; ``sent`` is the abs-send-time of those who get it
    live."""

    __slots__ = ("_like", "_live", "first", "next", "packets", "sent", "size", "starts", "timestamp")

    def __init__(
        self, first: int, timestamp: int, packets: Sequence[tuple[bytes, int, int]], sent: int, *, starts: bool
    ) -> None:
        self.first = first
        self.next = first + len(packets)
        """The number of the packet behind the last."""
        self.timestamp = timestamp
        # (payload, marker in its place, ticks after the batch's timestamp); a tuple of such is nothing that the garbage
        # collector must look at again, and thousands of batches are kept.
        self.packets = tuple(packets)
        self.size = sum(len(payload) for payload, _, _ in packets)
        self.sent = sent
        self.starts = starts
        self._live: dict[tuple[int, int, int, int], Wire] | None = None
        self._like: dict[tuple[int, int, int, int], bytes] | None = None

    def live(self, shape: Shape, first: int, shift: int, tag_bytes: int) -> Wire:
        """The packets for a viewer who gets them as they come; shared between those for whom they are the same."""
        key = (shape.key, first & 0xFFFF, shift, tag_bytes)
        if self._live is None:
            self._live = {}
        found = self._live.get(key)
        if found is None:
            found = self._live[key] = Wire(self.plain(shape, first, shift, self.sent), tag_bytes)
        return found

    def like(self, wire: Wire, shape: Shape, first: int, shift: int) -> bytes:
        """The packets for others than ``wire`` was made for, laid out likewise."""
        key = (shape.key, first & 0xFFFF, shift, id(wire))
        if self._like is None:
            self._like = {}
        found = self._like.get(key)
        if found is None:
            found = self._like[key] = wire.laid(self.plain(shape, first, shift, self.sent))
        return found

    def distributed(self) -> None:
        """Everybody has had it: forget what was shared."""
        self._live = self._like = None

    def plain(self, shape: Shape, first: int, shift: int, sent: int) -> list[bytes]:
        """The packets, numbered from ``first``, their timestamps moved by ``shift``. With the same arguments they are
        the same bytes, as AES-GCM demands of packets sent again."""
        timestamp = self.timestamp + shift
        payload_type, ssrc, extension = shape.payload_type, shape.ssrc, shape.send_time_id
        if not extension:
            pack = HEADER.pack
            return [
                pack(0x80, payload_type | marker, (first + n) & 0xFFFF, (timestamp + later) & 0xFFFFFFFF, ssrc)
                + payload
                for n, (payload, marker, later) in enumerate(self.packets)
            ]
        pack = _EXTENDED.pack
        word = extension << 28 | 2 << 24 | sent
        return [
            pack(
                0x90,
                payload_type | marker,
                (first + n) & 0xFFFF,
                (timestamp + later) & 0xFFFFFFFF,
                ssrc,
                _ONE_BYTE_PROFILE,
                word,
            )
            + payload
            for n, (payload, marker, later) in enumerate(self.packets)
        ]


class History:
    """A track's batches of the last :data:`AGAIN_WITHIN` packets and :data:`AGAIN_S`, for who asks for some again."""

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()

    def add(self, batch: Batch) -> None:
        """One more; what is too old goes."""
        batches = self._batches
        batches.append(batch)
        while len(batches) > 1 and (
            batch.next - batches[1].first >= AGAIN_WITHIN or (batch.sent - batches[1].sent) & 0xFFFFFF > _AGAIN_SENT
        ):
            batches.popleft()

    def find(self, number: int) -> Batch | None:
        """The batch with the packet of that number on the relay's count."""
        index = bisect.bisect_right(self._batches, number, key=lambda batch: batch.first) - 1
        if index < 0:
            return None
        batch = self._batches[index]
        return batch if number < batch.next else None


@dataclass(slots=True)
class _Newest:
    unit: AccessUnit
    timestamp: int


class RelayTrack:
    """Cuts one medium's units into batches, and keeps those since the newest keyframe. Owned by the relay."""

    def __init__(self, track: Track, number: int) -> None:
        self.track = track
        self.is_video = track.id == VIDEO_TRACK_ID
        self._packetizer = Packetizer(track, 0, 0, MTU)
        self._number = number
        self._offset: int | None = None
        self._newest: _Newest | None = None
        self._recent: deque[tuple[int, int]] = deque()
        self._recent_bytes = 0
        self._epoch = -1
        self.history = History()
        self.backlog: list[Batch] = []
        """Batches since the newest keyframe; of sound only the last."""
        self._backlog_bytes = 0
        self.reordered = False
        """Whether pictures come in another order than they are shown (B-frames)."""
        self.spacing = _USUAL_SPACING

    @property
    def next_number(self) -> int:
        """The number of the next packet."""
        return self._number

    @property
    def newest_utc_ns(self) -> int:
        """Wall clock of the newest unit, 0 before the first."""
        return self._newest.unit.utc_ns if self._newest is not None else 0

    @property
    def bitrate_bps(self) -> int:
        """Payload bits a second over the last two seconds."""
        recent = self._recent
        if len(recent) < 2 or recent[-1][0] <= recent[0][0]:
            return 0
        return self._recent_bytes * 8 * NS_PER_S // (recent[-1][0] - recent[0][0])

    def batch(self, unit: AccessUnit, now_ns: int) -> Batch:
        """Cut one unit. ``now_ns`` is the wall clock."""
        self.track = unit.track
        rate = unit.track.clock_rate
        if self._offset is None:
            # RTP time follows the wall clock, so a viewer moved between a camera's streams stays on one timeline.
            self._offset = unit.utc_ns * rate // NS_PER_S - unit.pts
        timestamp = unit.pts + self._offset
        packets = self._packetizer.payloads(unit)
        batch = Batch(self._number, timestamp, packets, send_time(now_ns), starts=unit.keyframe or not self.is_video)
        self._number += len(packets)
        if self._newest is not None:
            ahead = timestamp - self._newest.timestamp
            if ahead > 0:
                self.spacing = min(max(ahead, 30), 2 * _USUAL_SPACING) if self.is_video else ahead
            elif self.is_video and unit.epoch == self._newest.unit.epoch:
                self.reordered = True
        if self._newest is None or timestamp > self._newest.timestamp or unit.epoch != self._newest.unit.epoch:
            self._newest = _Newest(unit, timestamp)
        self.history.add(batch)
        self._measure(now_ns, batch.size)
        self._remember(batch, unit)
        return batch

    def clock_at(self, utc_ns: int) -> int:
        """What this medium's RTP clock shows at a moment of the wall clock. Only once there was a unit."""
        assert self._newest is not None
        unit, timestamp = self._newest.unit, self._newest.timestamp
        return timestamp + (utc_ns - unit.utc_ns) * unit.track.clock_rate // NS_PER_S

    def _measure(self, now_ns: int, size: int) -> None:
        self._recent.append((now_ns, size))
        self._recent_bytes += size
        # What is from the future was measured before the wall clock was set back.
        while not 0 <= now_ns - self._recent[0][0] <= _RATE_WINDOW_NS:
            self._recent_bytes -= self._recent.popleft()[1]

    def _remember(self, batch: Batch, unit: AccessUnit) -> None:
        if unit.epoch != self._epoch:
            # After a reconnect nothing can be decoded before the next keyframe.
            self._epoch = unit.epoch
            self._forget()
        if batch.starts:
            self._forget()
        elif not self.backlog:
            return
        self._backlog_bytes += batch.size
        if self._backlog_bytes > MAX_BACKLOG_BYTES:
            # A GOP too long to keep: viewers begin at the next keyframe.
            self._forget()
            return
        self.backlog.append(batch)

    def _forget(self) -> None:
        self.backlog = []
        self._backlog_bytes = 0
