"""Where everything of a recording is in one MP4: its tracks' sample tables and the chunks of its ``mdat``, in order.

Players keep their clock by the sound, by counting what they have played: a hole in it, be it between segments or a
single lost frame, is filled with silence to the nearest frame, and never left to the times of samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from media.fmp4 import init_segment
from media.transcode import AAC_FRAME, AacSettings, aac_track
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID
from recorder.aac_padding import padded_size
from recorder.errors import ExportError
from recorder.mp4 import TrackLayout, sample_entries
from recorder.recorded import Recorded, RecordedSegment
from recorder.sample_table import SampleTable
from recorder.stretched_sound import StretchedSound

_SAME_LIFE_NS = 100_000_000
_LONGEST_HOLE_NS = 12 * 3600 * NS_PER_S
"""No meeting is so long: past it a clock was wrong, as where it was set back, and the hole is none."""
_LONG_FRAME = AAC_FRAME * 3 // 2


class ChunkKind(Enum):
    """What a chunk holds: samples as they are recorded, sound that is made, or silence."""

    VIDEO = "video"
    SOUND = "sound"
    DERIVED = "derived"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class MediaChunk:
    """A stretch of ``mdat``: one track's samples of one segment, or ``size`` octets of silence.

    Recorded samples are those behind the first ``skip`` of the segment's ``of`` octets.
    """

    offset: int
    size: int
    kind: ChunkKind
    place: int
    skip: int = 0
    of: int = 0


class SoundMode(Enum):
    """What becomes of the sound."""

    NONE = "none"
    PASSED = "passed"
    DERIVED = "derived"


@dataclass(slots=True)
class Layout:
    """Fills tracks and chunks, segment by segment. Pure computation: run it off the event loop.

    ``silence`` is a silent frame of AAC as ``aac`` says; empty where none can be made for the camera's own.
    """

    recorded: Recorded
    places: range
    tables: Mapping[tuple[int, int], SampleTable]
    mode: SoundMode
    sound: StretchedSound
    aac: AacSettings
    silence: bytes
    chunks: list[MediaChunk] = field(default_factory=list)
    size: int = 0
    video: TrackLayout | None = None
    audio: TrackLayout | None = None
    _video_end: int = 0
    _audio_begin: int = 0
    _audio_end: int = 0

    def fill(self) -> None:
        """All segments in order."""
        first = self.recorded.segments[self.places.start]
        zero_ns = min(first.start_ns, first.sound_start * NS_PER_S // first.sound_rate)
        shift_ns = -zero_ns
        offset_ns = first.timeline_offset_ns
        for place in self.places:
            segment = self.recorded.segments[place]
            if abs(segment.timeline_offset_ns - offset_ns) > _SAME_LIFE_NS and not self.recorded.joins[place]:
                # The stream began anew: its timeline has another zero. The wall clock says how much time went by.
                shift_ns += segment.timeline_offset_ns - offset_ns
                offset_ns = segment.timeline_offset_ns
            before = self.recorded.segments[place - 1].facts.end_utc_ns
            hole_ns = segment.facts.start_utc_ns - before if place > self.places.start else 0
            if not self.recorded.joins[place] and not -NS_PER_S < hole_ns <= _LONGEST_HOLE_NS:
                shift_ns -= hole_ns
            self._add_video(segment, place, shift_ns)
            if self.mode is SoundMode.PASSED:
                self._add_passed(segment, place, shift_ns)
            elif self.mode is SoundMode.DERIVED:
                self._add_derived(place, self.sound.frame_numbers(place), shift_ns)

    def _chunk(self, size: int, kind: ChunkKind, place: int, skip: int = 0, of: int = 0) -> int:
        offset = self.size
        self.chunks.append(MediaChunk(offset, size, kind, place, skip, of))
        self.size += size
        return offset

    def _add_video(self, segment: RecordedSegment, place: int, shift_ns: int) -> None:
        table = self.tables.get((segment.sequence, VIDEO_TRACK_ID))
        track = segment.period.video
        if table is None or track is None or not len(table):
            return
        out = self.video
        if out is None:
            out = self.video = TrackLayout(VIDEO_TRACK_ID, b"vide", track.clock_rate)
        if track.clock_rate != out.timescale:
            raise ExportError("pictures with different clocks cannot go into one file")
        dts = _begin(out, table.dts + _ticks(shift_ns, out.timescale), self._video_end)
        out.width, out.height = max(out.width, track.width), max(out.height, track.height)
        first = len(out.sizes)
        out.durations.extend(table.durations)
        out.cts_offsets.extend(table.cts_offsets)
        out.sizes.extend(table.sizes)
        out.keyframes.extend(first + 1 + index for index, key in enumerate(table.keyframes) if key)
        self._video_end = dts + sum(table.durations)
        size = sum(table.sizes)
        offset = self._chunk(size, ChunkKind.VIDEO, place, of=size)
        out.chunks.append((offset, len(table), _entry_index(out, segment.period.init[VIDEO_TRACK_ID])))

    def _add_passed(self, segment: RecordedSegment, place: int, shift_ns: int) -> None:
        table = self.tables.get((segment.sequence, AUDIO_TRACK_ID))
        track = segment.period.audio
        if table is None or track is None or not len(table):
            return
        out = self.audio
        if out is None:
            out = self.audio = TrackLayout(AUDIO_TRACK_ID, b"soun", track.clock_rate)
        entry = _entry_index(out, segment.period.init[AUDIO_TRACK_ID])
        start, skip, of = table.dts + _ticks(shift_ns, out.timescale), 0, sum(table.sizes)
        for run in _runs(table.durations) if self.silence else [range(len(table))]:
            begin = self._sound_goes_on(out, start, place, entry)
            sizes, durations = table.sizes[run.start : run.stop], list(table.durations[run.start : run.stop])
            start += sum(durations)
            if run.stop < len(table):
                durations[-1] = AAC_FRAME
            out.durations.extend(durations)
            out.cts_offsets.extend([0] * len(run))
            out.sizes.extend(sizes)
            self._audio_end = begin + sum(durations)
            size = sum(sizes)
            out.chunks.append((self._chunk(size, ChunkKind.SOUND, place, skip, of), len(run), entry))
            skip += size

    def _add_derived(self, place: int, numbers: range, shift_ns: int) -> None:
        if not numbers:
            return
        out = self.audio
        if out is None:
            out = self.audio = TrackLayout(AUDIO_TRACK_ID, b"soun", self.aac.rate)
        entry = _entry_index(out, init_segment([aac_track(self.aac)]))
        start = numbers.start * AAC_FRAME + _ticks(shift_ns, out.timescale)
        begin = self._sound_goes_on(out, start, place, entry)
        self._frames(out, ChunkKind.DERIVED, place, entry, len(numbers), padded_size(self.aac.channels))
        self._audio_end = begin + len(numbers) * AAC_FRAME

    def _sound_goes_on(self, out: TrackLayout, start: int, place: int, entry: int) -> int:
        """Fill what is missing before ``start``; where the sound that comes there begins in the file."""
        missing = start - self._audio_end
        if not out.sizes:
            self._audio_begin = start
        elif self.silence and 2 * missing >= AAC_FRAME:
            # So many that whoever counts frames is nearest to the time that it is.
            behind = start - self._audio_begin - len(out.sizes) * AAC_FRAME
            count = min(max(0, round(behind / AAC_FRAME)), 1 + (missing - 1) // AAC_FRAME)
            if count:
                self._frames(out, ChunkKind.SILENCE, place, entry, count, len(self.silence))
                out.durations[-1] = missing - AAC_FRAME * (count - 1)
                self._audio_end = start
        return _begin(out, start, self._audio_end)

    def _frames(self, out: TrackLayout, kind: ChunkKind, place: int, entry: int, count: int, size: int) -> None:
        """So many frames that are made, of one size."""
        out.chunks.append((self._chunk(count * size, kind, place), count, entry))
        out.durations.extend([AAC_FRAME] * count)
        out.cts_offsets.extend([0] * count)
        out.sizes.extend([size] * count)


def _runs(durations: Sequence[int]) -> Iterator[range]:
    """Frames that follow each other: a frame that lasts longer than one stands before some that were lost."""
    first = 0
    if max(durations) >= _LONG_FRAME:
        for place in range(len(durations) - 1):
            if durations[place] >= _LONG_FRAME:
                yield range(first, place + 1)
                first = place + 1
    yield range(first, len(durations))


def _ticks(ns: int, rate: int) -> int:
    return (ns * rate + NS_PER_S // 2) // NS_PER_S


def _begin(out: TrackLayout, start: int, end: int) -> int:
    """Make the track's last sample last until ``start``; where that is before its ``end``, start there."""
    if not out.durations:
        out.shift = max(0, start)
        return start
    if start > end:
        out.durations[-1] += start - end
    return max(start, end)


def _entry_index(out: TrackLayout, init: bytes) -> int:
    (entry,) = sample_entries(init)
    if entry not in out.entries:
        out.entries.append(entry)
    return out.entries.index(entry) + 1
