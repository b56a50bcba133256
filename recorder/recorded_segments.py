"""A recording as players need it: its segments in order, which of them run on from each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AudioTrack, VideoTrack
from recorder.errors import SegmentGoneError
from storage.records import Recording, RecordingState, StoredSegment, TrackRange

_JOIN_TOLERANCE_S = 0.1
_SILENCE_RATE = 8_000


@dataclass(frozen=True)
class RecordedPeriod:
    """One set of tracks with their init segments."""

    number: int
    video: VideoTrack | None
    audio: AudioTrack | None
    init: Mapping[int, bytes]


class RecordedSegment:
    """One segment. ``key`` and ``object_size`` are its object's; None and 0 while it is in the spool.

    ``video`` and ``audio`` say where the tracks' bytes are, None where it has nothing of one. ``start_ns`` is where it
    starts on the stream's timeline; ``sound_start`` and ``sound_end`` where its sound does and ends (without sound, its
    picture), in ticks of ``sound_rate``. Worked out once: a playlist of hours asks for all of it.
    """

    __slots__ = (
        "audio",
        "facts",
        "key",
        "object_size",
        "period",
        "sequence",
        "sound_end",
        "sound_rate",
        "sound_start",
        "start_ns",
        "timeline_offset_ns",
        "video",
    )

    def __init__(self, facts: StoredSegment, period: RecordedPeriod, key: str | None, object_size: int = 0) -> None:
        self.facts = facts
        self.period = period
        self.key = key
        self.object_size = object_size
        self.sequence = facts.sequence
        self.video: TrackRange | None = None
        self.audio: TrackRange | None = None
        for item in facts.ranges:
            if item.track_id == VIDEO_TRACK_ID:
                self.video = item
            elif item.track_id == AUDIO_TRACK_ID:
                self.audio = item
        self.sound_rate = period.audio.clock_rate if period.audio is not None else _SILENCE_RATE
        # The picture says when the segment is, where there is one.
        if self.video is not None and period.video is not None:
            lead, rate = self.video, period.video.clock_rate
        else:
            lead, rate = facts.ranges[0], self.sound_rate
        self.start_ns = lead.dts * NS_PER_S // rate
        # Wall clock minus stream timeline: the same for all segments of one life of a stream.
        self.timeline_offset_ns = facts.start_utc_ns - self.start_ns
        if self.audio is not None:
            lead, rate = self.audio, self.sound_rate
        self.sound_start = lead.dts * self.sound_rate // rate
        self.sound_end = (lead.dts + lead.duration) * self.sound_rate // rate

    def range(self, track_id: int) -> TrackRange | None:
        """Where the track's bytes are; None where the segment has nothing of it."""
        return self.video if track_id == VIDEO_TRACK_ID else self.audio if track_id == AUDIO_TRACK_ID else None

    def follows(self, before: "RecordedSegment") -> bool:
        """Whether its media runs on from the segment ``before`` without a gap."""
        if self.facts.discontinuity or self.period is not before.period:
            return False
        if self.video is not None and before.video is not None:
            rate = self.period.video.clock_rate if self.period.video else 1
            return abs(self.video.dts - before.video.dts - before.video.duration) <= _JOIN_TOLERANCE_S * rate
        if self.audio is not None and before.audio is not None:
            return abs(self.audio.dts - before.audio.dts - before.audio.duration) <= _JOIN_TOLERANCE_S * self.sound_rate
        return True


@dataclass(frozen=True)
class Recorded:
    """Segments in order. ``over`` is false while more may come; the newest segment is not played then, because its
    sound is derived with the next one's beginning. ``joins``: whether each segment runs on from the one before it."""

    recording: Recording
    segments: tuple[RecordedSegment, ...]
    over: bool
    joins: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        pairs = zip(self.segments, self.segments[1:], strict=False)
        joins = (False, *(after.follows(before) for before, after in pairs)) if self.segments else ()
        object.__setattr__(self, "joins", joins)

    @property
    def settled(self) -> bool:
        """Whether nothing moves any more, not even from the spool to the store."""
        return self.recording.state in (RecordingState.COMPLETE, RecordingState.FAILED)

    @property
    def playable(self) -> range:
        """Places of the segments that can be played."""
        return range(len(self.segments) if self.over else max(0, len(self.segments) - 1))

    def ends_with(self, places: range) -> bool:
        """Whether nothing can come any more behind these places, which a span has picked."""
        return self.over or places.stop < self.playable.stop

    @cached_property
    def periods(self) -> tuple[RecordedPeriod, ...]:
        """The periods in order of their first segment."""
        found: dict[int, RecordedPeriod] = {}
        latest = None
        for segment in self.segments:
            if segment.period is not latest:
                latest = segment.period
                found.setdefault(id(latest), latest)
        return tuple(found.values())

    @cached_property
    def _places(self) -> Mapping[int, int]:
        return {segment.sequence: place for place, segment in enumerate(self.segments)}

    def place(self, sequence: int) -> int:
        """The index of a segment. Raises SegmentGoneError."""
        place = self._places.get(sequence)
        if place is None:
            raise SegmentGoneError("no such segment", sequence=sequence)
        return place

    def sound_span(self, place: int) -> tuple[int, int]:
        """The stretch of the stream's timeline whose sound belongs to a segment, in ticks of its ``sound_rate``: up to
        the next segment's, so that frames on a grid fall into exactly one segment."""
        segment = self.segments[place]
        following = place + 1
        if following < len(self.segments) and self.joins[following]:
            return segment.sound_start, self.segments[following].sound_start
        return segment.sound_start, segment.sound_end

    def beside(self, places: range, margin: int) -> range:
        """``places`` of one run, and those beside them that hold ``margin`` ticks of sound before and after."""
        first, last = places.start, places.stop
        start, end = self.sound_span(first)[0], self.sound_span(last - 1)[1]
        while self.joins[first] and self.segments[first].sound_start > start - margin:
            first -= 1
        while last < len(self.segments) and self.joins[last] and self.segments[last].sound_start < end + margin:
            last += 1
        return range(first, last)

    def span(self, start_utc_ns: int | None, end_utc_ns: int | None) -> range:
        """Places of the segments that overlap [start, end)."""
        first, last = 0, self.playable.stop
        if start_utc_ns is not None:
            first = next((n for n in self.playable if self.segments[n].facts.end_utc_ns > start_utc_ns), last)
        if end_utc_ns is not None:
            last = next((n for n in self.playable if self.segments[n].facts.start_utc_ns >= end_utc_ns), last)
        return range(first, max(first, last))
