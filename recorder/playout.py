"""Recordings as access units again, for players that are sent media rather than fetch it.

*Play time* counts nanoseconds from the recording's beginning; gaps take none of it, as in recorded HLS.
"""

import asyncio
import bisect
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from media.fmp4_read import read_fragments
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AccessUnit, Track
from recorder.errors import SegmentGoneError
from recorder.recorded import Recorded, RecordedMeetings, RecordedSegment

_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class PlayedPiece:
    """Access units of one segment, in the order of decoding, sound among the pictures. Their times are those of the
    stream that was recorded, which is ``shift_ns`` ahead of play time."""

    units: Sequence[AccessUnit]
    shift_ns: int


class Playout:
    """One meeting's recording from ``origin_ns`` of its play time on; all times are counted from there.

    Made by :func:`open_playout`.
    """

    def __init__(
        self, meetings: RecordedMeetings, meeting_id: str, executor: Executor, recorded: Recorded, origin_ns: int = 0
    ) -> None:
        self._meetings = meetings
        self._meeting_id = meeting_id
        self._executor = executor
        self._origin_ns = origin_ns
        self._recorded = recorded
        self._starts = _play_starts(recorded)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks it begins with."""
        period = self._segment(self._place(0)).period
        return tuple(track for track in (period.video, period.audio) if track is not None)

    @property
    def duration_ns(self) -> int:
        """How much there is to play so far."""
        last = len(self._starts) - 1
        return self._starts[last] + self._segment(last).facts.duration_ns - self._origin_ns

    def play_time(self, utc_ns: int) -> int:
        """Play time at which the wall clock showed ``utc_ns``; in a gap, that of what comes after it."""
        for place, start_ns in enumerate(self._starts):
            facts = self._segment(place).facts
            if utc_ns < facts.end_utc_ns:
                return max(0, start_ns + max(0, utc_ns - facts.start_utc_ns) - self._origin_ns)
        return self.duration_ns

    def wall_clock(self, play_ns: int) -> int:
        """What the wall clock showed at a play time, Unix nanoseconds."""
        place = self._place(play_ns)
        return self._segment(place).facts.start_utc_ns + play_ns + self._origin_ns - self._starts[place]

    async def begin_at(self, play_ns: int) -> None:
        """Make the keyframe at or before ``play_ns`` the beginning. Raises SegmentGoneError, StorageError members."""
        place = self._place(min(max(play_ns, 0), max(0, self.duration_ns - 1)))
        piece = await self._piece(place, play_ns)
        first = piece.units[0]
        self._origin_ns += max(0, first.pts * NS_PER_S // first.track.clock_rate - piece.shift_ns)

    async def pieces(self, start_ns: int) -> AsyncGenerator[PlayedPiece, None]:
        """All from the keyframe at or before ``start_ns`` on; waits for more while the meeting is recorded. A segment
        that is gone is passed over. Raises StorageError members, NothingRecordedError."""
        place = self._place(start_ns)
        wanted_ns: int | None = start_ns
        while True:
            while place < len(self._starts):
                try:
                    piece = await self._piece(place, wanted_ns)
                except SegmentGoneError:
                    piece = None
                if piece is not None and piece.units:
                    wanted_ns = None
                    yield piece
                place += 1
            if self._recorded.over:
                return
            await asyncio.sleep(_WAIT_S)
            sequence = self._segment(place - 1).sequence
            camera = self._recorded.recording.camera_id
            self._recorded = await self._meetings.load(self._meeting_id, camera_id=camera)
            self._starts = _play_starts(self._recorded)
            place = self._recorded.place(sequence) + 1

    def _segment(self, place: int) -> RecordedSegment:
        return self._recorded.segments[place]

    def _place(self, play_ns: int) -> int:
        """The segment that is played at a play time."""
        return max(0, bisect.bisect_right(self._starts, play_ns + self._origin_ns) - 1)

    async def _piece(self, place: int, wanted_ns: int | None) -> PlayedPiece:
        """A segment's units; with ``wanted_ns`` from the keyframe at or before it on."""
        segment = self._segment(place)
        shift_ns = segment.start_ns - self._starts[place] + self._origin_ns
        video = await self._meetings.read(self._recorded, segment, VIDEO_TRACK_ID)
        audio = await self._meetings.read(self._recorded, segment, AUDIO_TRACK_ID)

        def read() -> list[AccessUnit]:
            units = _units(segment, video, segment.period.video) + _units(segment, audio, segment.period.audio)
            units.sort(key=_decode_ns)
            return units if wanted_ns is None else _from_keyframe(units, wanted_ns + shift_ns)

        return PlayedPiece(await asyncio.get_running_loop().run_in_executor(self._executor, read), shift_ns)


async def open_playout(meetings: RecordedMeetings, meeting_id: str, executor: Executor) -> Playout:
    """A meeting's recording so far. Raises NothingRecordedError."""
    return Playout(meetings, meeting_id, executor, await meetings.load(meeting_id))


def _play_starts(recorded: Recorded) -> list[int]:
    """Play time at which each playable segment starts."""
    starts: list[int] = []
    for place in recorded.playable:
        segment = recorded.segments[place]
        if not starts:
            starts.append(0)
        elif recorded.joins[place]:
            # From the media's own times: sums of rounded durations would drift apart from them.
            starts.append(starts[-1] + segment.start_ns - recorded.segments[place - 1].start_ns)
        else:
            starts.append(starts[-1] + recorded.segments[place - 1].facts.duration_ns)
    return starts


def _units(segment: RecordedSegment, data: bytes, track: Track | None) -> list[AccessUnit]:
    if not data or track is None:
        return []
    offset_ns = segment.timeline_offset_ns
    return [
        AccessUnit(
            track,
            sample.pts,
            sample.dts,
            sample.pts * NS_PER_S // track.clock_rate + offset_ns,
            bytes(sample.data),
            sample.keyframe,
            sample.duration,
        )
        for sample in read_fragments(data, track.id)
    ]


def _decode_ns(unit: AccessUnit) -> int:
    return unit.dts * NS_PER_S // unit.track.clock_rate


def _from_keyframe(units: list[AccessUnit], timeline_ns: int) -> list[AccessUnit]:
    """From the last keyframe at or before a time on, sound from the same time; without pictures, sound from there."""
    pictures = [unit for unit in units if unit.track.id == VIDEO_TRACK_ID]
    before = [unit for unit in pictures if unit.keyframe and _shown_ns(unit) <= timeline_ns]
    if not pictures:
        return [unit for unit in units if _shown_ns(unit) >= timeline_ns] or units[-1:]
    first = before[-1] if before else pictures[0]
    begin_ns = _shown_ns(first)
    return [
        unit
        for unit in units
        if (unit.dts >= first.dts if unit.track.id == VIDEO_TRACK_ID else _shown_ns(unit) >= begin_ns)
    ]


def _shown_ns(unit: AccessUnit) -> int:
    return unit.pts * NS_PER_S // unit.track.clock_rate
