"""What is recorded of a meeting: its segments in order, whether their bytes are stored or still in the spool."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from media.clock import Clock
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AudioTrack, VideoTrack
from recorder.errors import NothingRecordedError, SegmentGoneError
from recorder.facts import tracks_from_json
from storage.database import Database
from storage.errors import ObjectNotFoundError
from storage.objects import ObjectStore
from storage.records import Recording, RecordingPeriod, RecordingState, StoredSegment, TrackRange

_JOIN_TOLERANCE_S = 0.1
_SILENCE_RATE = 8_000


class Spooled(Protocol):
    """The part of the recorder that knows what is not stored yet."""

    async def spooled_segments(self, recording_id: str) -> Sequence[tuple[int, StoredSegment]]:
        """Whole segments still in the spool, each with the number of its period."""
        ...

    async def spooled_periods(self, recording_id: str) -> Sequence[RecordingPeriod]:
        """The periods of those segments; their rows may not be there yet."""
        ...

    async def read_spooled(self, recording_id: str, sequence: int, track_id: int) -> bytes | None:
        """A track's bytes of a spooled segment; None once it has left the spool."""
        ...


@dataclass(frozen=True)
class RecordedPeriod:
    """One set of tracks with their init segments."""

    number: int
    video: VideoTrack | None
    audio: AudioTrack | None
    init: Mapping[int, bytes]


@dataclass(frozen=True)
class RecordedSegment:
    """One segment. ``key`` and ``object_size`` are its object's; None and 0 while it is in the spool."""

    facts: StoredSegment
    period: RecordedPeriod
    key: str | None
    object_size: int = 0

    @property
    def sequence(self) -> int:
        """Its number, unique in the recording."""
        return self.facts.sequence

    def range(self, track_id: int) -> TrackRange | None:
        """Where the track's bytes are; None where the segment has nothing of it."""
        return next((item for item in self.facts.ranges if item.track_id == track_id), None)

    @cached_property
    def video(self) -> TrackRange | None:
        """The video track's bytes."""
        return self.range(VIDEO_TRACK_ID)

    @cached_property
    def audio(self) -> TrackRange | None:
        """The sound track's bytes."""
        return self.range(AUDIO_TRACK_ID)

    @cached_property
    def sound_rate(self) -> int:
        """Ticks per second in which :attr:`sound_start` and :attr:`sound_end` count."""
        return self.period.audio.clock_rate if self.period.audio is not None else _SILENCE_RATE

    @cached_property
    def _lead(self) -> tuple[TrackRange, int]:
        """The range that says when the segment is, video where there is some, and its clock rate."""
        if self.video is not None and self.period.video is not None:
            return self.video, self.period.video.clock_rate
        return self.facts.ranges[0], self.sound_rate

    @cached_property
    def sound_start(self) -> int:
        """Where its sound starts on the stream's timeline; without sound, where its picture does."""
        lead, rate = (self.audio, self.sound_rate) if self.audio is not None else self._lead
        return lead.dts * self.sound_rate // rate

    @cached_property
    def sound_end(self) -> int:
        """Where its own sound (without sound, its picture) ends."""
        lead, rate = (self.audio, self.sound_rate) if self.audio is not None else self._lead
        return (lead.dts + lead.duration) * self.sound_rate // rate

    @cached_property
    def start_ns(self) -> int:
        """Where it starts on the stream's timeline, in nanoseconds."""
        lead, rate = self._lead
        return lead.dts * NS_PER_S // rate

    @property
    def timeline_offset_ns(self) -> int:
        """Wall clock minus stream timeline: the same for all segments of one life of a stream."""
        return self.facts.start_utc_ns - self.start_ns

    def follows(self, before: "RecordedSegment") -> bool:
        """Whether its media runs on from the segment ``before`` without a gap."""
        if self.facts.discontinuity or self.period is not before.period:
            return False
        for mine, other, rate in (
            (self.video, before.video, self.period.video.clock_rate if self.period.video else 1),
            (self.audio, before.audio, self.sound_rate),
        ):
            if mine is not None and other is not None:
                return abs(mine.dts - other.dts - other.duration) <= _JOIN_TOLERANCE_S * rate
        return True


@dataclass(frozen=True)
class Recorded:
    """Segments in order. ``over`` is false while more may come; the newest segment is not played then, because its
    sound is derived with the next one's beginning."""

    recording: Recording
    segments: tuple[RecordedSegment, ...]
    over: bool

    @property
    def settled(self) -> bool:
        """Whether nothing moves any more, not even from the spool to the store."""
        return self.recording.state in (RecordingState.COMPLETE, RecordingState.FAILED)

    @property
    def playable(self) -> range:
        """Places of the segments that can be played."""
        return range(len(self.segments) if self.over else max(0, len(self.segments) - 1))

    @cached_property
    def _places(self) -> Mapping[int, int]:
        return {segment.sequence: place for place, segment in enumerate(self.segments)}

    def place(self, sequence: int) -> int:
        """The index of a segment. Raises SegmentGoneError."""
        place = self._places.get(sequence)
        if place is None:
            raise SegmentGoneError("no such segment", sequence=sequence)
        return place

    @cached_property
    def joins(self) -> tuple[bool, ...]:
        """For each segment, whether it runs on from the one before it; the first one does not."""
        pairs = zip(self.segments, self.segments[1:], strict=False)
        return (False, *(after.follows(before) for before, after in pairs)) if self.segments else ()

    def sound_span(self, place: int) -> tuple[int, int]:
        """The stretch of the stream's timeline whose sound belongs to a segment, in ticks of its ``sound_rate``: up to
        the next segment's, so that frames on a grid fall into exactly one segment."""
        segment = self.segments[place]
        following = place + 1
        if following < len(self.segments) and self.joins[following]:
            return segment.sound_start, self.segments[following].sound_start
        return segment.sound_start, segment.sound_end

    def span(self, start_utc_ns: int | None, end_utc_ns: int | None) -> range:
        """Places of the segments that overlap [start, end)."""
        first, last = 0, self.playable.stop
        if start_utc_ns is not None:
            first = next((n for n in self.playable if self.segments[n].facts.end_utc_ns > start_utc_ns), last)
        if end_utc_ns is not None:
            last = next((n for n in self.playable if self.segments[n].facts.start_utc_ns >= end_utc_ns), last)
        return range(first, max(first, last))


class RecordedMeetings:
    """Reads what is recorded, and keeps the newest few indexes for :attr:`keep_s` seconds, those of recordings that
    still change for :attr:`keep_running_s`."""

    keep_s = 30.0
    keep_running_s = 1.0

    def __init__(
        self, database: Database, store: ObjectStore, spooled: Spooled | None, clock: Clock, cached: int = 16
    ) -> None:
        self._clock = clock
        self._database = database
        self._store = store
        self._spooled = spooled
        self._cached = cached
        self._known: OrderedDict[str, tuple[int, Recorded]] = OrderedDict()

    async def load(self, meeting_id: str, *, sequence: int | None = None) -> Recorded:
        """The meeting's recording so far; read anew if segment ``sequence`` is wanted and not in what is known.

        Raises NothingRecordedError.
        """
        known = self._known.get(meeting_id)
        if known is not None:
            age_s = (self._clock.monotonic_ns() - known[0]) / NS_PER_S
            fresh = age_s < (self.keep_s if known[1].settled else self.keep_running_s)
            if (sequence is None and fresh) or (sequence is not None and self._has(known[1], sequence)):
                self._known.move_to_end(meeting_id)
                return known[1]
        recorded = await self._load(meeting_id)
        self._known[meeting_id] = (self._clock.monotonic_ns(), recorded)
        self._known.move_to_end(meeting_id)
        while len(self._known) > self._cached:
            self._known.popitem(last=False)
        return recorded

    def forget(self, meeting_id: str) -> None:
        """Read the meeting's recording anew the next time: who has just ended a meeting looks at all of it."""
        self._known.pop(meeting_id, None)

    async def title(self, meeting_id: str) -> str:
        """What a copy of the meeting is called: who met, for what. Raises RecordNotFoundError."""
        async with self._database.read() as repositories:
            place = await repositories.meetings.place(meeting_id)
        return f"{place.organization.name} {place.meeting.title}".strip()

    @staticmethod
    def _has(recorded: Recorded, sequence: int) -> bool:
        try:
            recorded.place(sequence)
        except SegmentGoneError:
            return False
        return True

    async def _load(self, meeting_id: str) -> Recorded:
        async with self._database.read() as repositories:
            recordings = await repositories.recordings.of_meeting(meeting_id)
        if not recordings:
            raise NothingRecordedError("nothing is recorded", meeting=meeting_id)
        recording_id = recordings[0].id
        # Spool first: what leaves it in between is in the rows then.
        spooled: Sequence[tuple[int, StoredSegment]] = ()
        rows: list[RecordingPeriod] = []
        if self._spooled is not None:
            spooled = await self._spooled.spooled_segments(recording_id)
            rows.extend(await self._spooled.spooled_periods(recording_id))
        async with self._database.read() as repositories:
            recording = await repositories.recordings.get(recording_id)
            objects = await repositories.objects.of_recording(recording_id)
            rows.extend(await repositories.recordings.periods(recording_id))
        periods = {}
        for row in rows:
            tracks = tracks_from_json(row.tracks)
            periods[row.number] = RecordedPeriod(
                row.number,
                next((track for track in tracks if isinstance(track, VideoTrack)), None),
                next((track for track in tracks if isinstance(track, AudioTrack)), None),
                row.init,
            )
        segments = [
            RecordedSegment(facts, periods[item.period], item.key, item.size)
            for item in objects
            if item.period in periods
            for facts in item.segments
            if facts.ranges
        ]
        stored = {segment.sequence for segment in segments}
        segments += [
            RecordedSegment(facts, periods[period], None)
            for period, facts in spooled
            if facts.sequence not in stored and period in periods and facts.ranges
        ]
        segments.sort(key=lambda segment: (segment.facts.start_utc_ns, segment.sequence))
        over = recording.state is not RecordingState.RECORDING
        recorded = Recorded(recording, tuple(segments), over)
        if not recorded.playable:
            raise NothingRecordedError("nothing is recorded yet", meeting=meeting_id)
        return recorded

    async def read(self, recorded: Recorded, segment: RecordedSegment, track_id: int) -> bytes:
        """A track's bytes of a segment, one ranged read; empty where it has nothing of it. Raises SegmentGoneError or
        StorageError members."""
        wanted = segment.range(track_id)
        if wanted is None:
            return b""
        key = segment.key
        if key is None:
            data = None
            if self._spooled is not None:
                data = await self._spooled.read_spooled(recorded.recording.id, segment.sequence, track_id)
            if data is not None:
                return data
            moved = await self._load(recorded.recording.meeting_id)
            key = moved.segments[moved.place(segment.sequence)].key
            if key is None:
                raise SegmentGoneError("the segment is neither stored nor spooled", sequence=segment.sequence)
        try:
            data = await self._store.get(key, wanted.offset, wanted.size)
        except ObjectNotFoundError:
            raise SegmentGoneError("the segment's object is gone", sequence=segment.sequence) from None
        if len(data) != wanted.size:
            raise SegmentGoneError("the segment's object is shorter than its row says", sequence=segment.sequence)
        return data

    async def read_tail(self, segment: RecordedSegment, length: int) -> bytes:
        """The last ``length`` bytes of a stored segment's object, fewer where it is shorter. Raises StorageError
        members."""
        if segment.key is None:
            return b""
        offset = max(0, segment.object_size - length)
        return await self._store.get(segment.key, offset, segment.object_size - offset)
