"""A sound track's RTP: frames out of packets."""

from collections.abc import Sequence

from media.codecs.aac import AacDepacketizer, parse_config
from media.codecs.sound import Frame, SoundDepacketizer
from media.errors import BitstreamError
from media.timeline import TickCounter, TrackTimeline
from media.track_receiver import TrackReceiver, Unstamped
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, GapCause, StreamItem, Track


class AudioReceiver(TrackReceiver):
    """An audio track. ``track.clock_rate`` may differ from the RTP clock's rate."""

    def __init__(
        self,
        depacketizer: SoundDepacketizer,
        track: AudioTrack,
        payload_type: int,
        clock_rate: int,
        timeline: TrackTimeline,
        *,
        reorder: bool,
    ) -> None:
        super().__init__("audio", payload_type, clock_rate, timeline, reorder=reorder)
        self._depacketizer = depacketizer
        self._track = track
        self._ticks = TickCounter(clock_rate, decoding_order=False)
        self._last_dts: int | None = None
        self._lasts = 0

    @property
    def track(self) -> Track | None:
        return self._track

    def ticks_at(self, timestamp: int) -> int | None:
        return self._ticks.ticks_at(timestamp)

    def _restart_clock(self) -> None:
        self._depacketizer.lose()
        self._ticks.restart()

    def _lose(self) -> None:
        self._depacketizer.lose()

    def finish(self) -> None:
        """Nothing is held back: frames that are not whole are no use."""

    def _payload(self, data: bytes, start: int, end: int, marker: bool, timestamp: int, arrival_ns: int) -> None:
        frames = self._depacketizer.push(data, start, end, timestamp)
        if frames is None:
            self.counters.malformed += 1
            self._gap = self._gap or GapCause.PACKETS_LOST
            self._lasts = 0
            return
        if not frames:
            return
        started = self._ticks.started
        ticks, jumped = self._ticks.advance(timestamp, arrival_ns, self._lasts * (1 + self._lost_now))
        # Opus may leave silence out (RFC 7587, 3.1.3), and whoever sends it keeps time.
        self._lasts = 0 if self._track.codec is Codec.OPUS else frames[-1].offset + frames[-1].duration
        if jumped:
            self._jump()
        self._observe(ticks, arrival_ns)
        self._first_observed(started)
        if self._track.codec is Codec.AAC:
            self._check_config()
        for frame in frames:
            self._emit_frame(ticks, frame)

    def _emit_frame(self, ticks: int, frame: Frame) -> None:
        duration = frame.duration
        if self._track.clock_rate != self._rate:
            duration = duration * self._track.clock_rate // self._rate
        self._emit(ticks + frame.offset, frame.data, True, duration, self._track)

    def _check_config(self) -> None:
        """ADTS headers, where a camera sends them, know better than its description."""
        depacketizer = self._depacketizer
        if not isinstance(depacketizer, AacDepacketizer) or depacketizer.adts_config in (b"", self._track.config):
            return
        try:
            parsed = parse_config(depacketizer.adts_config)
        except BitstreamError:
            return
        self._track = AudioTrack(Codec.AAC, parsed.sample_rate, parsed.channels, depacketizer.adts_config)

    def stamp(self, unit: Unstamped, origin_ns: int, epoch: int, after_ns: int) -> Sequence[StreamItem]:
        pts, utc_ns = self._place(unit, origin_ns)
        if utc_ns <= after_ns:
            return ()
        gap = self._gap_before(unit, utc_ns)
        rate = unit.track.clock_rate
        if rate != self._rate:
            pts = pts * rate // self._rate
        if self._last_dts is not None and pts <= self._last_dts:
            pts = self._last_dts + 1
        self._last_dts = pts
        self._last_end_ns = utc_ns + unit.duration * NS_PER_S // rate
        self.counters.units += 1
        access_unit = AccessUnit(unit.track, pts, pts, utc_ns, unit.data, True, unit.duration, epoch)
        return (access_unit,) if gap is None else (gap, access_unit)
