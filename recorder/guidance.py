"""What officials said into the room, for players: AAC on the timeline of the meeting's own picture.

The playlist has the segments of the camera's: the same numbers, lengths and breaks, each with what was said while it
was taken, and silence. A second player of it beside the picture is in step with it at every position, over gaps too.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor

from media.fmp4 import Sample, fragment, init_segment
from media.fmp4_read import read_fragments
from media.playlist import InitMap, SegmentEntry
from media.transcode import AAC_FRAME, AacSettings, aac_track, encode_stretch, frame_range, margin_ticks
from media.unit import AUDIO_TRACK_ID, NS_PER_S, AudioTrack, Codec
from recorder.errors import NothingRecordedError, SegmentGoneError
from recorder.recorded import Recorded, RecordedMeetings
from recorder.recorded_playlist import recorded_playlist
from recorder.recorded_segments import RecordedSegment

_RATE = 48_000
_VOICE = AudioTrack(Codec.OPUS, _RATE, 2)


class GuidanceSound:
    """Guidance of recorded meetings. Keeps the newest ``cached`` segments.

    Addresses in the playlist are relative to it: ``guidance/{sequence}.m4s`` and ``guidance/init.mp4``.
    """

    def __init__(self, meetings: RecordedMeetings, executor: Executor, aac: AacSettings, cached: int = 64) -> None:
        self._meetings = meetings
        self._executor = executor
        self._aac = aac
        self._cached = cached
        self._made: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()

    async def playlist(self, meeting_id: str, *, camera_id: str | None = None) -> str:
        """Media playlist in step with the camera's. Raises NothingRecordedError if nothing was said, or recorded."""
        recorded = await self._meetings.load(meeting_id, camera_id=camera_id)
        if await self._meetings.guidance(meeting_id) is None:
            raise NothingRecordedError("nothing was said into the room", meeting=meeting_id)
        entries = [
            SegmentEntry(
                uri=f"guidance/{recorded.segments[place].sequence}.m4s",
                duration_s=len(self._frames(recorded, place)) * AAC_FRAME / self._aac.rate,
                start_utc_ns=recorded.segments[place].facts.start_utc_ns,
                map=InitMap("guidance/init.mp4"),
                discontinuity=place > 0 and not recorded.joins[place],
                gap=not self._frames(recorded, place),
            )
            for place in recorded.playable
        ]
        return recorded_playlist(entries, over=recorded.over)

    def init(self) -> bytes:
        """The init segment: the same for all."""
        return init_segment([aac_track(self._aac)])

    async def settled(self, meeting_id: str) -> bool:
        """Whether all that was said is on record: until then a segment may come to hold more. Raises DatabaseError."""
        spoken = await self._meetings.guidance(meeting_id)
        return spoken is not None and spoken.settled

    async def segment(self, meeting_id: str, sequence: int, *, camera_id: str | None = None) -> bytes:
        """A segment: what was said while the camera's segment of this number was taken. Raises SegmentGoneError,
        NothingRecordedError, StorageError."""
        recorded = await self._meetings.load(meeting_id, camera_id=camera_id, sequence=sequence)
        place = recorded.place(sequence)
        spoken = await self._meetings.guidance(meeting_id)
        if spoken is None:
            raise NothingRecordedError("nothing was said into the room", meeting=meeting_id)
        near = self._near(recorded, place, spoken)
        key = (recorded.recording.id, sequence, len(near))
        made = self._made.get(key)
        if made is None:
            pieces = [(item, await self._meetings.read(spoken, item, AUDIO_TRACK_ID)) for item in near]
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self._executor, self._encode, recorded, place, pieces)
            if spoken.settled:
                self._made[key] = made
                while len(self._made) > self._cached:
                    self._made.popitem(last=False)
        if not made:
            raise SegmentGoneError("the segment is shorter than a frame of sound", sequence=sequence)
        return made

    def _span(self, recorded: Recorded, place: int) -> tuple[int, int]:
        """The stretch of the camera's timeline that is the segment's, in ticks of 48 kHz."""
        rate = recorded.segments[place].sound_rate
        start, end = recorded.sound_span(place)
        return start * _RATE // rate, end * _RATE // rate

    def _frames(self, recorded: Recorded, place: int) -> range:
        return frame_range(self._aac.rate, _RATE, *self._span(recorded, place))

    def _near(self, recorded: Recorded, place: int, spoken: Recorded) -> list[RecordedSegment]:
        """The segments of guidance that are heard in a segment, or in its margins."""
        start, end = self._span(recorded, place)
        margin = margin_ticks(_VOICE, self._aac)
        offset_ns = recorded.segments[place].timeline_offset_ns
        first = (start - margin) * NS_PER_S // _RATE + offset_ns
        last = (end + margin) * NS_PER_S // _RATE + offset_ns
        return [
            item
            for item in spoken.segments
            if item.audio is not None and item.facts.start_utc_ns < last and item.facts.end_utc_ns > first
        ]

    def _encode(self, recorded: Recorded, place: int, pieces: list[tuple[RecordedSegment, bytes]]) -> bytes:
        """In the executor: frames of the camera's grid, from sound moved to where the wall clock says it was."""
        start, end = self._span(recorded, place)
        offset_ns = recorded.segments[place].timeline_offset_ns
        samples: list[Sample] = []
        for segment, data in pieces:
            shift = (segment.timeline_offset_ns - offset_ns) * _RATE // NS_PER_S
            samples += [
                Sample(sample.dts + shift, sample.duration, 0, True, sample.data)
                for sample in read_fragments(data, AUDIO_TRACK_ID)
            ]
        samples.sort(key=lambda sample: sample.dts)
        frames = encode_stretch(_VOICE, samples, start, end, self._aac)[1]
        return fragment(recorded.segments[place].sequence & 0xFFFFFFFF, AUDIO_TRACK_ID, frames) if frames else b""
