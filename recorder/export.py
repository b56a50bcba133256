"""A recording as one progressive MP4, laid out before a byte of media is read, and made while it is sent.

Pictures are the camera's own. A change of codec or of parameter sets is another sample entry. In a gap the last
picture stands and there is silence, so that the file's time is the meeting's time. AAC of the camera passes as it is;
other sound is derived as AAC frames of constant size (see :mod:`recorder.aac_padding`), so that the length of the
file, its index and the place of every byte are known beforehand: a broken download goes on anywhere.
"""

import asyncio
import contextlib
import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import version

from media.fmp4_read import media_payload
from media.transcode import AacSettings, settings_like, silent_frame
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, Codec
from recorder.errors import ExportError, NothingRecordedError
from recorder.mp4 import file_type, media_head, movie
from recorder.mp4_layout import ChunkKind, Layout, MediaChunk, SoundMode
from recorder.playback import Playback
from recorder.recorded import Recorded
from recorder.run_reader import RunReader
from recorder.sample_table_loading import load_tables
from recorder.stretched_sound import STRETCH_SEGMENTS, StretchedSound, StretchReader, settings_for

_AHEAD = 6


@dataclass(frozen=True, slots=True)
class Mp4:
    """One progressive MP4 that is laid out but not yet made. ``etag`` is strong, with its quotes."""

    size: int
    etag: str
    head: bytes
    recorded: Recorded
    chunks: Sequence[MediaChunk]
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
        ahead: deque[tuple[MediaChunk, asyncio.Task[bytes]]] = deque()
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

    async def _make(self, chunk: MediaChunk, source: RunReader, sound: StretchReader) -> bytes:
        if chunk.kind is ChunkKind.SILENCE:
            return self.silence * (chunk.size // len(self.silence))
        if chunk.kind is ChunkKind.DERIVED:
            return await sound.read(chunk.place)
        tracks = await source.read(chunk.place)
        track_id = VIDEO_TRACK_ID if chunk.kind is ChunkKind.VIDEO else AUDIO_TRACK_ID
        data = media_payload(tracks.get(track_id, b""))
        if len(data) != chunk.of:
            raise ExportError("a segment is not as long as its index says")
        return data if chunk.size == chunk.of else data[chunk.skip : chunk.skip + chunk.size]


class Mp4Export:
    """Lays recordings out. Keeps the newest few layouts, for downloads that go on."""

    def __init__(self, playback: Playback, executor: Executor, cached: int = 4) -> None:
        self._playback = playback
        self._executor = executor
        self._cached = cached
        self._known: dict[tuple[str, int, int, str], Mp4] = {}

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
        mode, made = _sound_mode(recorded, places)
        tables = await load_tables(
            self._playback.meetings, self._executor, recorded, places, sound=mode is SoundMode.PASSED
        )
        loop = asyncio.get_running_loop()
        aac = made or settings_for(recorded, places)
        sound = StretchedSound(self._playback.meetings, self._executor, recorded, places, aac)
        silence = await loop.run_in_executor(self._executor, silent_frame, made) if made is not None else b""
        layout = Layout(recorded, places, tables, mode, sound, aac, silence)
        return await loop.run_in_executor(self._executor, self._finish, layout)

    def _finish(self, layout: Layout) -> Mp4:
        layout.fill()
        tracks = [track for track in (layout.video, layout.audio) if track is not None]
        if not tracks:
            raise ExportError("there is neither picture nor sound in this span")
        created_s = layout.recorded.segments[layout.places.start].facts.start_utc_ns // NS_PER_S
        opening = file_type()
        media = media_head(layout.size)
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

    def _etag(self, layout: Layout, head: bytes) -> str:
        """Equal for equal bytes: the index, the hashes of what is recorded, and who encodes the sound."""
        digest = hashlib.sha256(head)
        for place in layout.places:
            for item in layout.recorded.segments[place].facts.ranges:
                digest.update(bytes.fromhex(item.sha256))
        digest.update(f"{layout.mode.value} {layout.aac} by {STRETCH_SEGMENTS} av {version('av')}".encode())
        digest.update(layout.silence)
        return f'"{digest.hexdigest()[:40]}"'


def _sound_mode(recorded: Recorded, places: range) -> tuple[SoundMode, AacSettings | None]:
    """What becomes of the sound, and how silence beside it is made. AAC passes if there is only one kind of it, and
    nothing to be filled that cannot be; anything else is derived."""
    segments = recorded.segments[places.start : places.stop]
    sounding = [segment.period.audio for segment in segments if segment.period.audio is not None]
    if not sounding:
        return SoundMode.NONE, None
    first = sounding[0]
    alike = all((t.codec, t.config, t.clock_rate) == (first.codec, first.config, first.clock_rate) for t in sounding)
    if first.codec is Codec.AAC and alike:
        silence = settings_like(first)
        if silence is not None or all(recorded.joins[place] for place in places[1:]):
            return SoundMode.PASSED, silence
    return SoundMode.DERIVED, settings_for(recorded, places)
