"""What is recorded of a meeting: its segments in order, whether their bytes are stored or still in the spool."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from media.clock import Clock
from media.unit import AUDIO_TRACK_ID, NS_PER_S, AudioTrack, VideoTrack
from recorder.errors import NothingRecordedError, SegmentGoneError
from recorder.facts import tracks_from_json
from recorder.recorded_segments import Recorded, RecordedPeriod, RecordedSegment
from storage.database import Database
from storage.errors import ObjectNotFoundError
from storage.objects import ObjectStore
from storage.records import MediaObject, Recording, RecordingPeriod, RecordingState, StoredSegment, TrackRange
from storage.repositories import Repositories

__all__ = ["Recorded", "RecordedMeetings", "RecordedPeriod", "RecordedSegment", "Spooled"]

_ASSEMBLED_ON_THE_LOOP = 200
_KEPT_SOUND = 64
_MAX_KEPT_SOUND_BYTES = 256 * 1024


class Spooled(Protocol):
    """The part of the recorder that knows what is not stored yet."""

    def grows(self, recording_id: str) -> bool:
        """Whether more may come, though its meeting may have ended."""
        ...

    async def spooled_segments(self, recording_id: str) -> Sequence[tuple[int, StoredSegment]]:
        """Whole segments still in the spool, each with the number of its period."""
        ...

    async def spooled_periods(self, recording_id: str) -> Sequence[RecordingPeriod]:
        """The periods of those segments; their rows may not be there yet."""
        ...

    async def read_spooled(self, recording_id: str, sequence: int, track_id: int) -> bytes | None:
        """A track's bytes of a spooled segment; None once it has left the spool."""
        ...


# In the place of a camera's id, which it cannot be.
_GUIDANCE = "(guidance)"


class RecordedMeetings:
    """Reads what is recorded, and keeps the newest few indexes for :attr:`keep_s` seconds, those of recordings that
    still change for :attr:`keep_running_s`.

    ``camera_id`` names one of several cameras of a meeting; without it, the first that recorded something is meant.
    """

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
        self._known: OrderedDict[tuple[str, str | None], tuple[int, Recorded]] = OrderedDict()
        self._sound: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    async def load(self, meeting_id: str, *, camera_id: str | None = None, sequence: int | None = None) -> Recorded:
        """The meeting's recording so far; read anew if segment ``sequence`` is wanted and not in what is known.

        Raises NothingRecordedError.
        """
        key = (meeting_id, camera_id)
        known = self._known.get(key)
        if known is not None:
            age_s = (self._clock.monotonic_ns() - known[0]) / NS_PER_S
            fresh = age_s < (self.keep_s if known[1].settled else self.keep_running_s)
            if (sequence is None and fresh) or (sequence is not None and self._has(known[1], sequence)):
                self._known.move_to_end(key)
                return known[1]
        recorded = await self._load(meeting_id, camera_id)
        self._known[key] = (self._clock.monotonic_ns(), recorded)
        self._known.move_to_end(key)
        while len(self._known) > self._cached:
            self._known.popitem(last=False)
        return recorded

    async def guidance(self, meeting_id: str) -> Recorded | None:
        """What was said into the meeting's room so far; None if nothing was. Raises DatabaseError."""
        key = (meeting_id, _GUIDANCE)
        known = self._known.get(key)
        if known is not None:
            age_s = (self._clock.monotonic_ns() - known[0]) / NS_PER_S
            if age_s < (self.keep_s if known[1].settled else self.keep_running_s):
                return known[1]
        async with self._database.read() as repositories:
            found = await repositories.recordings.guidance(meeting_id)
        if found is None:
            return None
        recorded = await self._read_index(found.id)
        self._known[key] = (self._clock.monotonic_ns(), recorded)
        return recorded

    def forget(self, meeting_id: str) -> None:
        """Read the meeting's recordings anew the next time: who has just ended a meeting looks at all of it."""
        for key in [key for key in self._known if key[0] == meeting_id]:
            del self._known[key]

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

    async def _load(self, meeting_id: str, camera_id: str | None) -> Recorded:
        async with self._database.read() as repositories:
            rows = await repositories.recordings.of_meeting(meeting_id)
            recordings = [item for item in rows if camera_id in (None, item.camera_id)]
            if not recordings:
                raise NothingRecordedError("nothing is recorded", meeting=meeting_id)
            # A complete recording has nothing in the spool: all of it is read in one go, while somebody waits.
            settled = await _rows(repositories, recordings[0]) if _is_complete(recordings[0]) else None
        found: list[Recorded] = []
        for recording in recordings:
            if settled is not None and recording is recordings[0]:
                recorded = await _made(settled, ())
            else:
                recorded = await self._read_index(recording.id)
            if recorded.playable:
                found.append(recorded)
        if not found:
            raise NothingRecordedError("nothing is recorded yet", meeting=meeting_id)
        # Not the first in the book: while that camera is away another one is played, which must not change midway.
        return min(found, key=lambda recorded: recorded.segments[0].facts.start_utc_ns)

    async def _read_index(self, recording_id: str) -> Recorded:
        # Spool first: what leaves it in between is in the rows then.
        spooled: Sequence[tuple[int, StoredSegment]] = ()
        periods: Sequence[RecordingPeriod] = ()
        grows = False
        if self._spooled is not None:
            grows = self._spooled.grows(recording_id)
            spooled = await self._spooled.spooled_segments(recording_id)
            periods = await self._spooled.spooled_periods(recording_id)
        async with self._database.read() as repositories:
            rows = await _rows(repositories, await repositories.recordings.get(recording_id))
        return await _made(rows, spooled, periods, grows=grows)

    async def read(self, recorded: Recorded, segment: RecordedSegment, track_id: int) -> bytes:
        """A track's bytes of a segment, one ranged read; empty where it has nothing of it. Sound is kept for a while:
        a segment's is derived with its neighbours' edges. Raises SegmentGoneError or StorageError members."""
        wanted = segment.range(track_id)
        if wanted is None:
            return b""
        kept = self._sound.get((recorded.recording.id, segment.sequence)) if track_id == AUDIO_TRACK_ID else None
        if kept is not None:
            return kept
        data = await self._read(recorded, segment, track_id, wanted)
        if track_id == AUDIO_TRACK_ID:
            self._keep_sound(recorded, segment, data)
        return data

    async def _read(self, recorded: Recorded, segment: RecordedSegment, track_id: int, wanted: TrackRange) -> bytes:
        key = segment.key
        if key is None:
            data = None
            if self._spooled is not None:
                data = await self._spooled.read_spooled(recorded.recording.id, segment.sequence, track_id)
            if data is not None:
                return data
            moved = await self._read_index(recorded.recording.id)
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

    async def read_run(self, recorded: Recorded, places: range) -> Sequence[Mapping[int, bytes]]:
        """Bytes by track id of each of some segments in order, which lie in one object: one ranged read for all.

        Raises SegmentGoneError or StorageError members.
        """
        segments = recorded.segments[places.start : places.stop]
        ranges = [item for segment in segments for item in segment.facts.ranges]
        key = segments[0].key
        if key is None or len({segment.key for segment in segments}) > 1:
            return [
                {item.track_id: await self.read(recorded, segment, item.track_id) for item in segment.facts.ranges}
                for segment in segments
            ]
        first = min(item.offset for item in ranges)
        size = max(item.offset + item.size for item in ranges) - first
        try:
            data = memoryview(await self._store.get(key, first, size))
        except ObjectNotFoundError:
            raise SegmentGoneError("the segments' object is gone", sequence=segments[0].sequence) from None
        if len(data) != size:
            raise SegmentGoneError("an object is shorter than its row says", sequence=segments[0].sequence)
        made = [
            {item.track_id: bytes(data[item.offset - first :][: item.size]) for item in segment.facts.ranges}
            for segment in segments
        ]
        for segment, tracks in zip(segments, made, strict=True):
            if AUDIO_TRACK_ID in tracks:
                self._keep_sound(recorded, segment, tracks[AUDIO_TRACK_ID])
        return made

    def _keep_sound(self, recorded: Recorded, segment: RecordedSegment, data: bytes) -> None:
        if len(data) > _MAX_KEPT_SOUND_BYTES:
            return
        self._sound[recorded.recording.id, segment.sequence] = data
        while len(self._sound) > _KEPT_SOUND:
            self._sound.popitem(last=False)

    async def read_tail(self, segment: RecordedSegment, length: int) -> bytes:
        """The last ``length`` bytes of a stored segment's object, fewer where it is shorter. Raises StorageError
        members."""
        if segment.key is None:
            return b""
        offset = max(0, segment.object_size - length)
        return await self._store.get(segment.key, offset, segment.object_size - offset)


class _Rows(NamedTuple):
    """A recording's rows, its stored objects in order."""

    recording: Recording
    periods: Sequence[RecordingPeriod]
    objects: Sequence[MediaObject]


def _is_complete(recording: Recording) -> bool:
    return recording.state is RecordingState.COMPLETE


async def _rows(repositories: Repositories, recording: Recording) -> _Rows:
    periods = await repositories.recordings.periods(recording.id)
    return _Rows(recording, periods, await repositories.objects.of_recording(recording.id))


async def _made(
    rows: _Rows,
    spooled: Sequence[tuple[int, StoredSegment]],
    spooled_periods: Sequence[RecordingPeriod] = (),
    *,
    grows: bool = False,
) -> Recorded:
    if len(rows.objects) <= _ASSEMBLED_ON_THE_LOOP // 8:
        return _assembled(rows, spooled, spooled_periods, grows)
    return await asyncio.to_thread(_assembled, rows, spooled, spooled_periods, grows)


def _assembled(
    rows: _Rows,
    spooled: Sequence[tuple[int, StoredSegment]],
    spooled_periods: Sequence[RecordingPeriod],
    grows: bool,
) -> Recorded:
    """Rows as players need them. 10 ms for six hours: off the event loop where it is long."""
    recording = rows.recording
    periods = {}
    for row in (*spooled_periods, *rows.periods):
        tracks = tracks_from_json(row.tracks)
        periods[row.number] = RecordedPeriod(
            row.number,
            next((track for track in tracks if isinstance(track, VideoTrack)), None),
            next((track for track in tracks if isinstance(track, AudioTrack)), None),
            row.init,
        )
    segments = [
        RecordedSegment(facts, periods[item.period], item.key, item.size)
        for item in rows.objects
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
    # As they were recorded, not by the clock on the wall: one that is set back would shuffle two hours into one.
    over = recording.state is not RecordingState.RECORDING and not grows
    return Recorded(recording, tuple(segments), over)
