"""A recording as one progressive MP4, laid out before a byte of media is read, and made while it is sent.

Pictures are the camera's own. A change of codec or of parameter sets is another sample entry. In a gap the last
picture stands and there is silence, so that the file's time is the meeting's time. AAC of the camera passes as it is;
other sound is derived as AAC frames of constant size (see :mod:`recorder.aac_padding`), so that the length of the
file, its index and the place of every byte are known beforehand: a broken download goes on anywhere.
"""

import asyncio
import contextlib
import hashlib
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import version

from media.fmp4 import init_segment
from media.fmp4_read import media_payload
from media.transcode import AAC_FRAME, AacSettings, aac_track, encode_stretch
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AudioTrack, Codec
from recorder.aac_padding import padded_size
from recorder.errors import ExportError, NothingRecordedError
from recorder.mp4 import TrackLayout, file_type, movie, sample_entries
from recorder.playback import Playback
from recorder.recorded import Recorded, RecordedSegment
from recorder.run_reader import RunReader
from recorder.sample_table import SampleTable
from recorder.sample_tables import load_tables
from recorder.stretched_sound import STRETCH_SEGMENTS, StretchedSound, StretchReader, settings_for

_SAME_LIFE_NS = 100_000_000
_LONGEST_HOLE_NS = 12 * 3600 * NS_PER_S
"""No meeting is so long: past it a clock was wrong, as where it was set back, and the hole is none."""
_AHEAD = 6
_SILENCE = AudioTrack(Codec.PCMA, clock_rate=8_000, channels=1)


class _Kind(Enum):
    VIDEO = "video"
    SOUND = "sound"
    DERIVED = "derived"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A stretch of ``mdat``: one track's samples of one segment, or ``size`` octets of silence."""

    offset: int
    size: int
    kind: _Kind
    place: int


class SoundMode(Enum):
    """What becomes of the sound."""

    NONE = "none"
    PASSED = "passed"
    DERIVED = "derived"


@dataclass(slots=True)
class _Layout:
    """Fills tracks and chunks, segment by segment. Pure computation: run it off the event loop."""

    recorded: Recorded
    places: range
    tables: Mapping[tuple[int, int], SampleTable]
    mode: SoundMode
    sound: StretchedSound
    silence: bytes
    chunks: list[_Chunk] = field(default_factory=list)
    size: int = 0
    video: TrackLayout | None = None
    audio: TrackLayout | None = None
    _video_end: int = 0
    _audio_end: int = 0

    @property
    def aac(self) -> AacSettings:
        """What derived sound is."""
        return self.sound.settings

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

    def _chunk(self, size: int, kind: _Kind, place: int) -> int:
        offset = self.size
        self.chunks.append(_Chunk(offset, size, kind, place))
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
        offset = self._chunk(sum(table.sizes), _Kind.VIDEO, place)
        out.chunks.append((offset, len(table), _entry_index(out, segment.period.init[VIDEO_TRACK_ID])))

    def _add_passed(self, segment: RecordedSegment, place: int, shift_ns: int) -> None:
        table = self.tables.get((segment.sequence, AUDIO_TRACK_ID))
        track = segment.period.audio
        if table is None or track is None or not len(table):
            return
        out = self.audio
        if out is None:
            out = self.audio = TrackLayout(AUDIO_TRACK_ID, b"soun", track.clock_rate)
        dts = _begin(out, table.dts + _ticks(shift_ns, out.timescale), self._audio_end)
        out.durations.extend(table.durations)
        out.cts_offsets.extend([0] * len(table))
        out.sizes.extend(table.sizes)
        self._audio_end = dts + sum(table.durations)
        offset = self._chunk(sum(table.sizes), _Kind.SOUND, place)
        out.chunks.append((offset, len(table), _entry_index(out, segment.period.init[AUDIO_TRACK_ID])))

    def _add_derived(self, place: int, numbers: range, shift_ns: int) -> None:
        if not numbers:
            return
        out = self.audio
        if out is None:
            out = self.audio = TrackLayout(AUDIO_TRACK_ID, b"soun", self.aac.rate)
        entry = _entry_index(out, init_segment([aac_track(self.aac)]))
        start = numbers.start * AAC_FRAME + _ticks(shift_ns, out.timescale)
        silent = (start - self._audio_end) // AAC_FRAME if out.sizes else 0
        if silent > 0:
            # Players keep their clock by the sound: a hole in it is filled, not skipped.
            offset = self._chunk(silent * len(self.silence), _Kind.SILENCE, place)
            out.chunks.append((offset, silent, entry))
            self._derived(out, silent, len(self.silence))
            self._audio_end += silent * AAC_FRAME
        start = _begin(out, start, self._audio_end)
        size = padded_size(self.aac.channels)
        offset = self._chunk(len(numbers) * size, _Kind.DERIVED, place)
        out.chunks.append((offset, len(numbers), entry))
        self._derived(out, len(numbers), size)
        self._audio_end = start + len(numbers) * AAC_FRAME

    @staticmethod
    def _derived(out: TrackLayout, count: int, size: int) -> None:
        out.durations.extend([AAC_FRAME] * count)
        out.cts_offsets.extend([0] * count)
        out.sizes.extend([size] * count)


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


@dataclass(frozen=True, slots=True)
class Mp4:
    """One progressive MP4 that is laid out but not yet made. ``etag`` is strong, with its quotes."""

    size: int
    etag: str
    head: bytes
    recorded: Recorded
    chunks: Sequence[_Chunk]
    silence: bytes
    sound: StretchedSound
    start_utc_ns: int

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes [start, end) of the file, made as they are asked for, a few segments ahead.

        Raises SegmentGoneError, StorageError or MediaError members where the recording cannot be read.
        """
        stop = self.size if end is None else min(end, self.size)
        if start < min(stop, len(self.head)):
            yield self.head[start:stop]
        base = len(self.head)
        position = max(start, base)
        index = max(0, bisect_right(self.chunks, position - base, key=lambda chunk: chunk.offset) - 1)
        ahead: deque[tuple[_Chunk, asyncio.Task[bytes]]] = deque()
        source = RunReader(self.sound.meetings, self.recorded)
        sound = self.sound.reader(source)
        try:
            while position < stop:
                while len(ahead) <= _AHEAD and index < len(self.chunks) and base + self.chunks[index].offset < stop:
                    chunk = self.chunks[index]
                    ahead.append((chunk, asyncio.create_task(self._make(chunk, source, sound), name="mp4 chunk")))
                    index += 1
                chunk, task = ahead[0]
                data = await task
                ahead.popleft()
                first = position - base - chunk.offset
                # A copy only of what is cut at the ends of a range.
                piece = (
                    data
                    if not first and stop - base >= chunk.offset + chunk.size
                    else data[first : stop - base - chunk.offset]
                )
                position += len(piece)
                yield piece
        finally:
            for _, task in ahead:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)
            await sound.close()
            await source.close()

    async def _make(self, chunk: _Chunk, source: RunReader, sound: StretchReader) -> bytes:
        if chunk.kind is _Kind.SILENCE:
            return self.silence * (chunk.size // len(self.silence))
        if chunk.kind is _Kind.DERIVED:
            return await sound.read(chunk.place)
        tracks = await source.read(chunk.place)
        track_id = VIDEO_TRACK_ID if chunk.kind is _Kind.VIDEO else AUDIO_TRACK_ID
        data = media_payload(tracks.get(track_id, b""))
        if len(data) != chunk.size:
            raise ExportError("a segment is not as long as its index says")
        return data


class Mp4Export:
    """Lays recordings out. Keeps the newest few layouts, for downloads that go on."""

    def __init__(self, playback: Playback, executor: Executor, cached: int = 4) -> None:
        self._playback = playback
        self._executor = executor
        self._cached = cached
        self._known: dict[tuple[str, int, int, str], Mp4] = {}
        self._silence: dict[AacSettings, bytes] = {}

    async def open(
        self,
        meeting_id: str,
        start_utc_ns: int | None = None,
        end_utc_ns: int | None = None,
        *,
        camera_id: str | None = None,
    ) -> Mp4:
        """The meeting's recording so far, or the segments that overlap [start, end), as one file.

        Raises NothingRecordedError, ExportError, SegmentGoneError, StorageError members.
        """
        recorded = await self._playback.meetings.load(meeting_id, camera_id=camera_id)
        places = recorded.span(start_utc_ns, end_utc_ns)
        if not places:
            raise NothingRecordedError("nothing is recorded in this span", meeting=meeting_id)
        last = recorded.segments[places.stop - 1].facts
        key = (recorded.recording.id, places.start, places.stop, last.chain)
        known = self._known.pop(key, None)
        if known is None:
            known = await self._lay_out(recorded, places)
        self._known[key] = known
        while len(self._known) > self._cached:
            del self._known[next(iter(self._known))]
        return known

    async def _lay_out(self, recorded: Recorded, places: range) -> Mp4:
        mode = _sound_mode(recorded, places)
        tables = await load_tables(
            self._playback.meetings, self._executor, recorded, places, sound=mode is SoundMode.PASSED
        )
        loop = asyncio.get_running_loop()
        aac = settings_for(recorded, places)
        if aac not in self._silence and mode is SoundMode.DERIVED:
            self._silence[aac] = await loop.run_in_executor(self._executor, _silent_frame, aac)
        sound = StretchedSound(self._playback.meetings, self._executor, recorded, places, aac)
        layout = _Layout(recorded, places, tables, mode, sound, self._silence.get(aac, b""))
        return await loop.run_in_executor(self._executor, self._finish, layout)

    def _finish(self, layout: _Layout) -> Mp4:
        layout.fill()
        tracks = [track for track in (layout.video, layout.audio) if track is not None]
        if not tracks:
            raise ExportError("there is neither picture nor sound in this span")
        created_s = layout.recorded.segments[layout.places.start].facts.start_utc_ns // NS_PER_S
        opening = file_type()
        media = struct.pack(">I4s", 8 + layout.size, b"mdat")
        if layout.size + 8 >= 1 << 32:
            media = struct.pack(">I4sQ", 1, b"mdat", 16 + layout.size)
        offset = len(opening) + len(movie(tracks, 0, created_s)) + len(media)
        head = opening + movie(tracks, offset, created_s) + media
        return Mp4(
            size=len(head) + layout.size,
            etag=self._etag(layout, head),
            head=head,
            recorded=layout.recorded,
            chunks=layout.chunks,
            silence=layout.silence,
            sound=layout.sound,
            start_utc_ns=layout.recorded.segments[layout.places.start].facts.start_utc_ns,
        )

    def _etag(self, layout: _Layout, head: bytes) -> str:
        """Equal for equal bytes: the index, the hashes of what is recorded, and who encodes the sound."""
        digest = hashlib.sha256(head)
        for place in layout.places:
            for item in layout.recorded.segments[place].facts.ranges:
                digest.update(bytes.fromhex(item.sha256))
        digest.update(f"{layout.mode.value} {layout.aac} by {STRETCH_SEGMENTS} av {version('av')}".encode())
        return f'"{digest.hexdigest()[:40]}"'


def _sound_mode(recorded: Recorded, places: range) -> SoundMode:
    """AAC passes if there is only one kind of it; anything else is derived."""
    tracks = [recorded.segments[place].period.audio for place in places]
    sounding = [track for track in tracks if track is not None]
    if not sounding:
        return SoundMode.NONE
    first = sounding[0]
    alike = all((t.codec, t.config, t.clock_rate) == (first.codec, first.config, first.clock_rate) for t in sounding)
    return SoundMode.PASSED if first.codec is Codec.AAC and alike else SoundMode.DERIVED


def _silent_frame(aac: AacSettings) -> bytes:
    """One AAC frame of silence from the middle of a silent stretch. Blocks."""
    _, frames = encode_stretch(_SILENCE, [], 0, _SILENCE.clock_rate, aac)
    return bytes(frames[len(frames) // 2].data)
