"""Sound of recordings as AAC, derived segment by segment: each one made apart, all of them joining without a seam."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor

from media.fmp4 import Sample
from media.fmp4_read import read_fragments
from media.transcode import AAC_FRAME, AacSettings, encode_stretch, frame_range, margin_ticks
from media.unit import AUDIO_TRACK_ID, AudioTrack, Codec
from recorder.recorded import Recorded, RecordedMeetings

_SILENCE = AudioTrack(Codec.PCMA, clock_rate=8_000, channels=1)


class RecordedSound:
    """AAC frames of recorded segments. The same segment always gives the same frames: what it is encoded from, its
    neighbours' edges included, never changes. Keeps the newest ``cached`` segments' frames."""

    def __init__(
        self, meetings: RecordedMeetings, executor: Executor, settings: AacSettings | None = None, cached: int = 64
    ) -> None:
        self.settings = settings or AacSettings()
        self._meetings = meetings
        self._executor = executor
        self._cached = cached
        self._made: OrderedDict[tuple[str, int], asyncio.Task[list[Sample]]] = OrderedDict()

    def frame_numbers(self, recorded: Recorded, place: int) -> range:
        """Which frames of the grid belong to a segment; known without encoding."""
        start, end = recorded.sound_span(place)
        return frame_range(self.settings.rate, recorded.segments[place].sound_rate, start, end)

    def duration_s(self, recorded: Recorded, place: int) -> float:
        """Seconds of derived sound in a segment."""
        return len(self.frame_numbers(recorded, place)) * AAC_FRAME / self.settings.rate

    async def frames(self, recorded: Recorded, place: int) -> list[Sample]:
        """The AAC frames of a segment, silence where nothing was recorded. Raises MediaError or StorageError."""
        key = (recorded.recording.id, recorded.segments[place].sequence)
        task = self._made.get(key)
        if task is None:
            task = asyncio.create_task(self._make(recorded, place), name="recorded sound")
            self._made[key] = task
            task.add_done_callback(lambda done: self._drop_failed(key, done))
            while len(self._made) > self._cached:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        # Shielded: one viewer who leaves must not cancel what others wait for.
        return await asyncio.shield(task)

    def _drop_failed(self, key: tuple[str, int], task: "asyncio.Task[list[Sample]]") -> None:
        """A store that was away for a moment must not spoil a segment for as long as it is cached."""
        if (task.cancelled() or task.exception() is not None) and self._made.get(key) is task:
            del self._made[key]

    async def _make(self, recorded: Recorded, place: int) -> list[Sample]:
        segment = recorded.segments[place]
        source = segment.period.audio or _SILENCE
        start, end = recorded.sound_span(place)
        pieces = [
            await self._meetings.read(recorded, recorded.segments[near], AUDIO_TRACK_ID)
            for near in recorded.beside(range(place, place + 1), margin_ticks(source, self.settings))
        ]
        loop = asyncio.get_running_loop()
        frames = await loop.run_in_executor(self._executor, self._encode, source, pieces, start, end)
        # Nothing may depend on what an encoder happened to give: layouts were promised by frame_numbers.
        numbers = frame_range(self.settings.rate, source.clock_rate, start, end)
        if [frame.dts // AAC_FRAME for frame in frames] != list(numbers):
            raise RuntimeError("derived sound does not fit its grid")
        return frames

    def _encode(self, source: AudioTrack, pieces: Sequence[bytes], start: int, end: int) -> list[Sample]:
        samples = [sample for piece in pieces for sample in read_fragments(piece, AUDIO_TRACK_ID)]
        return encode_stretch(source, samples, start, end, self.settings)[1]
