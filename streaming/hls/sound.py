"""Sound of a window for players that take AAC only: made while somebody plays, over the whole window at once."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from media.errors import MediaError
from media.fmp4 import Sample, fragment
from media.fmp4_read import read_fragments
from media.transcode import AAC_FRAME, AacGridEncoder, AacSettings, aac_track
from media.unit import AUDIO_TRACK_ID, AudioTrack
from streaming.hls.progress import Progress
from streaming.hls.rendition import Rendition, WindowPart, WindowSegment


@dataclass(frozen=True, slots=True)
class _Step:
    """What the raw rendition has brought: a new segment, parts of it, its end."""

    segment: WindowSegment
    begins: bool
    parts: tuple[WindowPart, ...]
    ends: bool


@dataclass(slots=True)
class _Position:
    msn: int
    parts: int = 0
    begun: bool = False


class SoundDeriver:
    """Turns the raw sound rendition into an AAC one. :meth:`run` is a task of the window.

    Parts have a fixed number of AAC frames, so that all but a segment's last are as long as the part target
    (RFC 8216bis, 4.4.4.9: at least 85 % of it).
    """

    def __init__(
        self, raw: Rendition, out: Rendition, progress: Progress, executor: Executor, settings: AacSettings
    ) -> None:
        self._raw = raw
        self._out = out
        self._progress = progress
        self._executor = executor
        self._settings = settings
        self._frames_per_part = round(out.settings.part_target_s * settings.rate / AAC_FRAME)
        self._position = _Position(0)
        self._encoder: AacGridEncoder | None = None
        self._source: AudioTrack | None = None
        self._pending: list[Sample] = []
        self._fragments = 0
        self.failed = 0

    async def run(self) -> None:
        """Derive until cancelled. Starts with the oldest listed segment."""
        self._out.follow(self._raw)
        listed = self._raw.listed()
        if listed:
            self._position = _Position(listed[0].msn)
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._progress.until(self._has_work)
                steps = self._take()
                job = loop.run_in_executor(self._executor, self._encode, steps)
                try:
                    encoded = await asyncio.shield(job)
                except asyncio.CancelledError:
                    # The thread still holds the encoder.
                    await asyncio.wait([job])
                    raise
                for step, frames in zip(steps, encoded, strict=True):
                    self._apply(step, frames)
                self._progress.advance()
        finally:
            self._close_encoder()

    def _has_work(self) -> bool:
        position = self._position
        segments = self._raw.segments
        if not segments or segments[-1].msn < position.msn:
            return False
        last = segments[-1]
        return last.msn > position.msn or not position.begun or last.complete or len(last.parts) > position.parts

    def _take(self) -> list[_Step]:
        steps = []
        for segment in self._raw.segments:
            if segment.msn < self._position.msn:
                continue
            if segment.msn > self._position.msn:
                self._position = _Position(segment.msn)
            position = self._position
            steps.append(
                _Step(segment, not position.begun, tuple(segment.parts[position.parts :]), ends=segment.complete)
            )
            position.begun = True
            position.parts = len(segment.parts)
            if segment.complete:
                self._position = _Position(segment.msn + 1)
        return steps

    def _encode(self, steps: Sequence[_Step]) -> list[list[Sample]]:
        """In the executor: the frames that each step completes. Sound that cannot be decoded becomes none."""
        out = []
        for step in steps:
            frames: list[Sample] = []
            track = step.segment.track
            if step.begins and (step.segment.discontinuity or track is not self._source):
                self._close_encoder()
            if isinstance(track, AudioTrack):
                for part in step.parts:
                    frames += self._encode_part(track, part)
            out.append(frames)
        return out

    def _encode_part(self, track: AudioTrack, part: WindowPart) -> list[Sample]:
        try:
            if self._encoder is None:
                self._encoder = AacGridEncoder(track, self._settings).__enter__()
                self._source = track
            return self._encoder.push(read_fragments(part.data, AUDIO_TRACK_ID))
        except MediaError:
            self.failed += 1
            self._close_encoder()
            return []

    def _close_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder.__exit__(None, None, None)
        self._encoder = None
        self._source = None

    def _apply(self, step: _Step, frames: Sequence[Sample]) -> None:
        segment = step.segment
        if step.begins:
            if segment.discontinuity:
                self._pending.clear()
            self._out.begin(
                segment.msn,
                init=segment.init,
                track=aac_track(self._settings) if segment.track is not None else None,
                start_utc_ns=segment.start_utc_ns,
                discontinuity=segment.discontinuity,
            )
        self._pending.extend(frames)
        while len(self._pending) >= self._frames_per_part:
            self._part(segment, self._frames_per_part)
        if step.ends:
            if self._pending:
                self._part(segment, len(self._pending))
            self._out.end(segment.duration_s)

    def _part(self, raw: WindowSegment, count: int) -> None:
        frames, self._pending = self._pending[:count], self._pending[count:]
        out = self._out.segments[-1]
        first = frames[0].dts
        if not out.parts and raw.parts and raw.track is not None:
            # The address of time: the grid starts elsewhere than the sound it was made of.
            offset_s = first / self._settings.rate - raw.parts[0].dts / raw.track.clock_rate
            out.start_utc_ns = raw.start_utc_ns + round(offset_s * 1e9)
        self._fragments += 1
        self._out.append(
            WindowPart(
                fragment(self._fragments, AUDIO_TRACK_ID, frames),
                first,
                sum(frame.duration for frame in frames) / self._settings.rate,
                independent=True,
            )
        )
