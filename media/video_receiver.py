"""A picture track's RTP: pictures out of packets, with times of presentation and of decoding."""

from collections.abc import Sequence

from media.codecs.nal import NalDepacketizer
from media.timeline import DecodeTimes, TickCounter, TrackTimeline
from media.track_receiver import TrackReceiver, Unstamped
from media.unit import AccessUnit, GapCause, StreamItem, Track

_DEFAULT_FRAME_TICKS = 3600


class VideoReceiver(TrackReceiver):
    """A video track."""

    def __init__(
        self,
        depacketizer: NalDepacketizer,
        payload_type: int,
        clock_rate: int,
        timeline: TrackTimeline,
        *,
        reorder: bool,
    ) -> None:
        super().__init__(payload_type, clock_rate, timeline, reorder=reorder)
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

    def _payload(
        self, packet: memoryview | bytes, start: int, end: int, marker: bool, timestamp: int, arrival_ns: int
    ) -> None:
        depacketizer = self._depacketizer
        if timestamp != self._timestamp:
            depacketizer.end_picture()
            if depacketizer.ready:
                self._collect()
            self._timestamp = timestamp
            self._arrival_ns = arrival_ns
        if not depacketizer.push(packet, start, end):
            self.counters.malformed += 1
        if marker:
            depacketizer.marker()
        if depacketizer.ready:
            self._collect()

    def _collect(self) -> None:
        ready, self._depacketizer.ready = self._depacketizer.ready, []
        for data, keyframe, track in ready:
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
        pts, utc_ns, unit = self._place(unit, origin_ns)
        if not self._caught_up:
            if utc_ns <= after_ns or not unit.keyframe:
                return ()
            self._caught_up = True
        if unit.track is not self._last_track:
            self._last_track = unit.track
            self._decode.deepen(self._depacketizer.reorder_frames)
        passed = pts - self._last_pts
        gap = self._gap_before(unit, utc_ns)
        if gap is not None and passed > self._rate // 2:
            self._decode.restart()
        elif 0 < passed < self._frame_ticks:
            self._frame_ticks = passed
        self._last_pts = pts
        dts = self._decode.dts(pts, self._frame_ticks)
        self._last_end_ns = utc_ns if self._last_end_ns is None else max(utc_ns, self._last_end_ns)
        self.counters.units += 1
        access_unit = AccessUnit(unit.track, pts, dts, utc_ns, unit.data, unit.keyframe, 0, epoch)
        return (access_unit,) if gap is None else (gap, access_unit)
