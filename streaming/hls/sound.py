"""Sound of a window as players take it: AAC, made while somebody plays, over the whole window at once.

AAC of the camera passes as it is, its frames grouped anew: a camera's sound comes as it likes, in bursts or late, while
parts of a playlist are all of one length but for a segment's last (RFC 8216bis, 4.4.4.9). Where frames were lost, or
pause, silence is in their place (:mod:`streaming.hls.steady`); a segment without any sound stays a gap.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from media.codecs.aac import parse_config
from media.errors import MediaError
from media.fmp4 import Sample, fragment
from media.fmp4_read import read_fragments
from media.transcode import AAC_FRAME, AacGridEncoder, AacSettings, aac_track, settings_like, silent_frame
from media.unit import AUDIO_TRACK_ID, NS_PER_S, AudioTrack, Codec, Track
from streaming.hls.progress import Progress
from streaming.hls.rendition import HOLE_S, Rendition, WindowPart, WindowSegment
from streaming.hls.steady import SteadySound


def played_track(track: AudioTrack, settings: AacSettings) -> AudioTrack:
    """What players get of a track: itself, if it is AAC."""
    return track if track.codec is Codec.AAC else aac_track(settings)


def _silence_among(track: AudioTrack) -> bytes:
    """A silent frame; empty where none fits. Blocks. HE-AAC stays as it comes: whether players of fragments take frames
    without SBR among its own is not tried."""
    alike = settings_like(track)
    return b"" if alike is None or parse_config(track.config).extension_rate else silent_frame(alike)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the raw rendition has brought: a new segment, parts of it, its end. ``lost``: what was before it is gone,
    as it was not taken for as long as the window reaches back."""

    segment: WindowSegment
    lost: bool
    begins: bool
    parts: tuple[WindowPart, ...]
    ends: bool


@dataclass(slots=True)
class _Position:
    msn: int
    parts: int = 0
    begun: bool = False


class SoundDeriver:
    """Turns the raw sound rendition into what players get. :meth:`run` is a task of the window.

    A part has as many AAC frames as the part target has room for, so that all but a segment's last are nearly as long
    as that (RFC 8216bis, 4.4.4.9: at least 85 % of it).
    """

    def __init__(
        self, raw: Rendition, out: Rendition, progress: Progress, executor: Executor, settings: AacSettings
    ) -> None:
        self._raw = raw
        self._out = out
        self._progress = progress
        self._executor = executor
        self._settings = settings
        self._position = _Position(0)
        self._encoder: AacGridEncoder | None = None
        self._source: AudioTrack | None = None
        self._pending: list[Sample] = []
        self._pending_ticks = 0
        # Silent frames, by what they fit among; empty for those that none fits.
        self._silences: dict[AudioTrack, bytes] = {}
        self._steady: SteadySound | None = None
        self._heard: AudioTrack | None = None
        self._follows = False
        self._encoding = False
        self._fragments = 0
        self.failed = 0

    def begin(self) -> None:
        """Start with the oldest listed segment. To be called once, before everything else."""
        self._out.follow(self._raw)
        listed = self._raw.listed()
        if listed:
            self._position = _Position(listed[0].msn)
        self.pass_on()

    def pass_on(self) -> None:
        """Take what needs no encoding in at once, so that it comes together with its picture."""
        if self._encoding or not self._has_work():
            return
        if all(self._is_ready(item.track) for item in self._raw.segments if item.msn >= self._position.msn):
            steps = self._take()
            for step, frames in zip(steps, self._encode(steps), strict=True):
                self._apply(step, frames)

    async def run(self) -> None:
        """Derive until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._progress.until(self._has_work)
                steps = self._take()
                self._encoding = True
                job = loop.run_in_executor(self._executor, self._encode, steps)
                try:
                    encoded = await asyncio.shield(job)
                except asyncio.CancelledError:
                    # The thread still holds the encoder.
                    await asyncio.wait([job])
                    raise
                self._encoding = False
                for step, frames in zip(steps, encoded, strict=True):
                    self._apply(step, frames)
                self._progress.advance()
        finally:
            self._close_encoder()

    def _passes(self, track: Track | None) -> bool:
        return not isinstance(track, AudioTrack) or played_track(track, self._settings) is track

    def _is_ready(self, track: Track | None) -> bool:
        return not isinstance(track, AudioTrack) or (self._passes(track) and track in self._silences)

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
            lost = segment.msn > self._position.msn
            if lost:
                self._position = _Position(segment.msn)
            position = self._position
            parts = tuple(segment.parts[position.parts :])
            steps.append(_Step(segment, lost, not position.begun, parts, ends=segment.complete))
            position.begun = True
            position.parts = len(segment.parts)
            if segment.complete:
                self._position = _Position(segment.msn + 1)
        return steps

    def _encode(self, steps: Sequence[_Step]) -> list[list[Sample]]:
        """The frames that each step completes; in the executor, unless all of it passes. Sound that cannot be decoded
        becomes none."""
        out = []
        for step in steps:
            frames: list[Sample] = []
            track = step.segment.track
            if step.begins and (step.lost or step.segment.discontinuity or track is not self._source):
                self._close_encoder()
            if isinstance(track, AudioTrack):
                played = played_track(track, self._settings)
                if played not in self._silences:
                    self._silences[played] = _silence_among(played)
                for part in step.parts:
                    frames += self._encode_part(track, part)
            out.append(frames)
        return out

    def _encode_part(self, track: AudioTrack, part: WindowPart) -> list[Sample]:
        try:
            if self._passes(track):
                return read_fragments(part.data, AUDIO_TRACK_ID)
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
        if step.lost:
            # Numbers go on, and so does the count of discontinuities, by which players match sound and picture.
            self._out.follow(self._raw)
            self._pending, self._pending_ticks = [], 0
        if step.begins:
            self._begin(segment)
        if frames and self._steady is not None and not self._out.segments[-1].parts and not self._pending:
            self._resume(segment, self._steady, frames[0].dts)
        steady = self._steady
        for frame in frames if steady is None else steady.placed(frames, lambda: not self._pending):
            self._group(segment, frame)
        if step.ends:
            self._part(segment)
            if self._steady is None:
                self._out.end(segment.duration_s)
            else:
                early_ns = segment.start_utc_ns - self._out.segments[-1].start_utc_ns
                self._out.end(segment.whole_s + early_ns / NS_PER_S)

    def _begin(self, segment: WindowSegment) -> None:
        """Open the segment of this number, where the one before it ends, so that no time between them is left out."""
        track = played_track(segment.track, self._settings) if isinstance(segment.track, AudioTrack) else None
        start_utc_ns = segment.start_utc_ns
        self._follows = bool(self._out.segments) and track == self._heard and not segment.discontinuity
        if not self._follows:
            silence = self._silences.get(track, b"") if track is not None else b""
            rate = self._rate_of(track)
            self._steady = SteadySound(silence, rate, self._out.settings.target_s * rate) if silence else None
        elif self._steady is not None:
            told_utc_ns = self._out.segments[-1].ends_utc_ns
            if abs(told_utc_ns - start_utc_ns) <= HOLE_S * NS_PER_S:
                start_utc_ns = told_utc_ns
        self._heard = track
        self._out.begin(
            segment.msn,
            init=segment.init,
            track=track,
            start_utc_ns=start_utc_ns,
            discontinuity=segment.discontinuity,
        )

    def _resume(self, raw: WindowSegment, steady: SteadySound, dts: int) -> None:
        """The first sound of a segment: silence before it begins where the segment is told to. What begins a little
        late after a discontinuity begins the segment."""
        late_ns = self._utc_ns(raw, dts) - self._out.segments[-1].start_utc_ns
        if self._follows or late_ns > HOLE_S * NS_PER_S:
            steady.resume(dts - max(0, late_ns) * self._rate // NS_PER_S)

    def _utc_ns(self, raw: WindowSegment, dts: int) -> int:
        """When that tick of what is made is. The grid starts elsewhere than the sound it was made of."""
        assert raw.media_utc_ns is not None
        assert raw.track is not None
        return raw.media_utc_ns + round((dts / self._rate - raw.parts[0].dts / raw.track.clock_rate) * NS_PER_S)

    def _group(self, raw: WindowSegment, frame: Sample) -> None:
        """One more frame; the parts that it completes. Cameras' clocks are uneven, and frames are lost: within a
        fragment time runs on, so a frame lasts until the next one, but no longer than its part may."""
        longest = int(self._out.settings.part_target_s * self._rate + 0.5)
        # The archive has frames that last over a hole behind them.
        frame.duration = min(frame.duration, AAC_FRAME)
        if self._pending:
            before = self._pending[-1]
            step = frame.dts - before.dts
            backwards = step <= 0 and step != before.duration
            if not backwards:
                stretch = min(step - before.duration, longest - self._pending_ticks)
                before.duration += stretch
                self._pending_ticks += stretch
            if backwards or self._pending_ticks + frame.duration > longest:
                self._part(raw)
        self._pending.append(frame)
        self._pending_ticks += frame.duration
        if self._pending_ticks + frame.duration > longest:
            self._part(raw)

    @property
    def _rate(self) -> int:
        return self._rate_of(self._out.segments[-1].track)

    def _rate_of(self, track: Track | None) -> int:
        return track.clock_rate if track is not None else self._settings.rate

    def _part(self, raw: WindowSegment) -> None:
        frames, self._pending = self._pending, []
        ticks, self._pending_ticks = self._pending_ticks, 0
        if not frames:
            return
        out, rate = self._out.segments[-1], self._rate
        first = frames[0].dts
        if not out.parts and raw.media_utc_ns is not None:
            begins_utc_ns = self._utc_ns(raw, first)
            # What is derived fills a hole from where it began, which may be segments ago.
            if abs(begins_utc_ns - out.start_utc_ns) <= HOLE_S * NS_PER_S:
                out.start_utc_ns = begins_utc_ns
        self._fragments += 1
        data = fragment(self._fragments, AUDIO_TRACK_ID, frames)
        self._out.append(WindowPart(data, first, ticks / rate, independent=True))
