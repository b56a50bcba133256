"""Sound of a recording as AAC for one file, made in long stretches while the file is sent.

A player that jumps about gets its sound segment by segment (:mod:`recorder.sound`). Who takes all of it gets it eight
segments at a time: margins, a quarter of the work there, are a twenty-fifth here. How a recording is cut into
stretches follows from its index alone, so that any range of the file is the same bytes every time.
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

from media.fmp4_read import read_fragments
from media.transcode import AAC_FRAME, AacSettings, encode_stretch, frame_range, margin_ticks
from media.unit import AUDIO_TRACK_ID, AudioTrack, Codec
from recorder.aac_padding import pad_frame, padded_size
from recorder.recorded import Recorded, RecordedMeetings
from recorder.run_reader import RunReader

STRETCH_SEGMENTS = 8
_STRETCH_S = 60
_STRETCHES_KEPT = 3
_NARROW_HZ = 8_000
_SILENCE = AudioTrack(Codec.PCMA, clock_rate=8_000, channels=1)


def settings_for(recorded: Recorded, places: range) -> AacSettings:
    """How these segments' sound is made into AAC: telephone sound stays at 8 kHz, and as all frames are brought to one
    size anyway, none is encoded again and again until it fits a bit rate. Both together are a third of the work and
    nearer to the original (docs/performance.md)."""
    audio = {segment.period.audio for segment in recorded.segments[places.start : places.stop]}
    rates = [track.clock_rate for track in audio if track is not None]
    wide = any(rate > _NARROW_HZ for rate in rates)
    return AacSettings(quality=1) if wide else AacSettings(rate=_NARROW_HZ, quality=1)


def stretches_of(recorded: Recorded, places: range) -> Sequence[range]:
    """``places`` in stretches of segments that run on from each other."""
    found: list[range] = []
    first = places.start
    for place in places[1:]:
        begins, (_, ends) = recorded.sound_span(first)[0], recorded.sound_span(place)
        too_long = ends - begins > _STRETCH_S * recorded.segments[place].sound_rate
        if place - first >= STRETCH_SEGMENTS or not recorded.joins[place] or too_long:
            found.append(range(first, place))
            first = place
    if first < places.stop:
        found.append(range(first, places.stop))
    return found


class StretchedSound:
    """The sound of one file; :meth:`reader` makes it."""

    def __init__(
        self,
        meetings: RecordedMeetings,
        executor: Executor,
        recorded: Recorded,
        places: range,
        settings: AacSettings,
    ) -> None:
        self.settings = settings
        self.recorded = recorded
        self.stretches = stretches_of(recorded, places)
        self.meetings = meetings
        self.executor = executor

    def frame_numbers(self, place: int) -> range:
        """Which frames of the grid belong to a segment; known without encoding."""
        start, end = self.recorded.sound_span(place)
        return frame_range(self.settings.rate, self.recorded.segments[place].sound_rate, start, end)

    def reader(self, source: RunReader) -> "StretchReader":
        """Makes the sound for somebody who reads the file from ``source``."""
        return StretchReader(self, source)


class StretchReader:
    """Sound of segments that are asked for in order. While all of the file is read, the next stretch is made meanwhile.

    Keeps the newest three stretches, about 0.2 MiB each, and those that are being made. Close it when done.
    """

    def __init__(self, sound: StretchedSound, source: RunReader) -> None:
        self._sound = sound
        self._source = source
        self._made: OrderedDict[int, asyncio.Task[Mapping[int, bytes]]] = OrderedDict()

    async def read(self, place: int) -> bytes:
        """Frames of a segment, each of the constant size. Raises MediaError, SegmentGoneError, StorageError members."""
        stretches = self._sound.stretches
        number = bisect_right(stretches, place, key=lambda stretch: stretch.start) - 1
        task = self._start(number)
        if self._source.reads_on and number + 1 < len(stretches):
            self._start(number + 1)
        return (await task)[place]

    async def close(self) -> None:
        """Give up what is being made."""
        tasks = list(self._made.values())
        self._made.clear()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, number: int) -> "asyncio.Task[Mapping[int, bytes]]":
        task = self._made.get(number)
        if task is None:
            task = asyncio.create_task(self._make(self._sound.stretches[number]), name="stretch of sound")
            self._made[number] = task
        self._made.move_to_end(number)
        # Only what is made goes: short stretches of a camera that comes and goes are waited for several at a time.
        spare = [other for other, made in self._made.items() if made.done() and other != number]
        for other in spare[: max(0, len(self._made) - _STRETCHES_KEPT)]:
            del self._made[other]
        return task

    async def _make(self, stretch: range) -> Mapping[int, bytes]:
        recorded = self._sound.recorded
        source = recorded.segments[stretch.start].period.audio or _SILENCE
        margin = margin_ticks(source, self._sound.settings)
        before = recorded.beside(stretch, margin)
        pieces = [await self._octets(place, behind=place < stretch.start) for place in before]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._sound.executor, self._encode, source, pieces, stretch)

    async def _octets(self, place: int, *, behind: bool) -> bytes:
        if self._source.reads_on and not behind:
            # Its picture is wanted next anyway.
            return (await self._source.read(place)).get(AUDIO_TRACK_ID, b"")
        recorded = self._sound.recorded
        return await self._sound.meetings.read(recorded, recorded.segments[place], AUDIO_TRACK_ID)

    def _encode(self, source: AudioTrack, pieces: Sequence[bytes], stretch: range) -> Mapping[int, bytes]:
        settings, recorded = self._sound.settings, self._sound.recorded
        start, end = recorded.sound_span(stretch.start)[0], recorded.sound_span(stretch.stop - 1)[1]
        samples = [sample for piece in pieces for sample in read_fragments(piece, AUDIO_TRACK_ID)]
        frames = encode_stretch(source, samples, start, end, settings)[1]
        # Nothing may depend on what an encoder happened to give: the file's layout was promised by frame_numbers.
        if [frame.dts // AAC_FRAME for frame in frames] != list(
            frame_range(settings.rate, source.clock_rate, start, end)
        ):
            raise RuntimeError("derived sound does not fit its grid")
        size = padded_size(settings.channels)
        padded = [pad_frame(frame.data, size) for frame in frames]
        made = {}
        at = 0
        for place in stretch:
            count = len(self._sound.frame_numbers(place))
            made[place] = b"".join(padded[at : at + count])
            at += count
        return made
