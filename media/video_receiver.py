"""A picture track's RTP: pictures out of packets, with times of presentation and of decoding."""

import struct
from collections.abc import Sequence
from typing import Final

from media.codecs.nal import NalDepacketizer
from media.decode_times import DecodeTimes
from media.rtp import HEADER, INTERLEAVED_HEADER_BYTES, PLAIN_HEADER
from media.timeline import TickCounter, TrackTimeline
from media.track_receiver import TrackReceiver, Unstamped
from media.unit import AccessUnit, GapCause, StreamItem, Track

_TRACK_RATE: Final = 90_000
"""What the tracks of the depacketizers count in (RFC 6184, 8.1), whatever a camera's description says of RTP."""

_DEFAULT_FRAME_TICKS: Final = 3600
_SOURCE: Final = struct.Struct("!II")


class VideoReceiver(TrackReceiver):
    """A video track. Its RTP clock's rate may differ from the track's."""

    def __init__(
        self,
        depacketizer: NalDepacketizer,
        payload_type: int,
        clock_rate: int,
        timeline: TrackTimeline,
        *,
        reorder: bool,
    ) -> None:
        super().__init__("video", payload_type, clock_rate, timeline, reorder=reorder)
        self._depacketizer = depacketizer
        self._ticks = TickCounter(clock_rate, decoding_order=True)
        self._decode = DecodeTimes()
        self._timestamp = -1
        self._arrival_ns = 0
        self._started = False
        self._caught_up = False
        self._last_pts = 0
        self._frame_ticks = _DEFAULT_FRAME_TICKS
        self._last_track: Track | None = None

    @property
    def track(self) -> Track | None:
        return self._depacketizer.current_track()

    def ticks_at(self, timestamp: int) -> int | None:
        return self._ticks.ticks_at(timestamp)

    def _restart_clock(self) -> None:
        self._depacketizer.reset()
        self._ticks.restart()

    def _lose(self) -> None:
        self._depacketizer.lose()

    def finish(self) -> None:
        self._depacketizer.end_picture()
        self._collect()

    def _payload(self, data: bytes, start: int, end: int, marker: bool, timestamp: int, arrival_ns: int) -> None:
        depacketizer = self._depacketizer
        if timestamp != self._timestamp:
            depacketizer.end_picture()
            if depacketizer.ready:
                self._collect()
            self._timestamp = timestamp
            self._arrival_ns = arrival_ns
        if not depacketizer.push(data, start, end):
            self.counters.malformed += 1
        if marker:
            depacketizer.marker()
        if depacketizer.ready:
            self._collect()
            # The next picture's, if its timestamp is the same: RTP time may stand still.
            self._arrival_ns = arrival_ns

    def follow(self, read: bytes, start: int, stop: int, end: int) -> int:
        """After packet ``read[start:stop]``, which came interleaved (RFC 2326, 10.12) in a read that goes to ``end``:
        take the frames behind it that are middle fragments of the same NAL unit. Returns where the first other one is.

        Most packets of a picture are such, and differ in nothing but sequence number and what they carry; so they need
        not be taken apart one by one.
        """
        depacketizer = self._depacketizer
        prefix = depacketizer.fragment_prefix
        if not prefix or self._reorder is not None:
            return stop
        stride = INTERLEAVED_HEADER_BYTES + stop - start
        # A packet with no room for the prefix is no fragment, whatever stands behind it.
        if stop + stride > end or stop - start <= HEADER.size + len(prefix):
            return stop
        head = read[start - INTERLEAVED_HEADER_BYTES : start] + bytes((PLAIN_HEADER, self._plain))
        tail = _SOURCE.pack(self._timestamp, self._ssrc) + prefix
        rest = len(head) + 2
        body = rest + len(tail)
        sequence = self._expected
        bodies: list[bytes] = []
        while stop + stride <= end:
            # After 65535 comes 0, which is not found here: the next packet is taken the long way, and counts a cycle.
            if (
                (read[stop + rest - 2] << 8 | read[stop + rest - 1]) != sequence
                or read[stop + rest : stop + body] != tail
                or read[stop : stop + rest - 2] != head
            ):
                break
            bodies.append(read[stop + body : stop + stride])
            stop += stride
            sequence += 1
        if bodies:
            self._count(len(bodies), len(bodies) * (stride - INTERLEAVED_HEADER_BYTES))
            depacketizer.continue_fragments(bodies, len(bodies) * (stride - body))
        return stop

    def _collect(self) -> None:
        ready, self._depacketizer.ready = self._depacketizer.ready, []
        for picture in ready:
            data, keyframe, track = picture.data, picture.keyframe, picture.track
            if not data:
                self.counters.damaged_units += 1
                self._gap = self._gap or GapCause.PACKETS_LOST
                continue
            started = self._ticks.started
            ticks, jumped = self._ticks.advance(self._timestamp, self._arrival_ns)
            if jumped:
                self._jump()
            self._observe(ticks, self._arrival_ns)
            self._first_observed(started)
            # Decoding can begin only at a keyframe whose parameter sets are known.
            if track is None or not (self._started or keyframe):
                continue
            self._started = True
            self._emit(ticks, data, keyframe, 0, track)

    def stamp(self, unit: Unstamped, origin_ns: int, epoch: int, after_ns: int) -> Sequence[StreamItem]:
        pts, utc_ns = self._place(unit, origin_ns)
        if not self._caught_up:
            if utc_ns <= after_ns or not unit.keyframe:
                return ()
            self._caught_up = True
        if unit.track is not self._last_track:
            self._last_track = unit.track
            self._decode.deepen(self._depacketizer.reorder_frames)
        if self._rate != _TRACK_RATE:
            pts = pts * _TRACK_RATE // self._rate
        passed = pts - self._last_pts
        gap = self._gap_before(unit, utc_ns)
        if gap is not None and passed > _TRACK_RATE // 2:
            self._decode.restart()
        elif 0 < passed < self._frame_ticks:
            self._frame_ticks = passed
        self._last_pts = pts
        dts = self._decode.dts(pts, self._frame_ticks)
        self._last_end_ns = utc_ns if self._last_end_ns is None else max(utc_ns, self._last_end_ns)
        self.counters.units += 1
        access_unit = AccessUnit(unit.track, pts, dts, utc_ns, unit.data, unit.keyframe, 0, epoch)
        return (access_unit,) if gap is None else (gap, access_unit)
