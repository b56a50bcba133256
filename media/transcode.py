"""Sound for players that take AAC only: a derivative on one global grid, so that stretches made apart join seamlessly.

AAC frame n covers output samples [1024 n, 1024 (n + 1)), counted from the zero of the stream's timeline: that is what a
decoder puts out when it is given packet n after packet n - 1. A frame's window reaches over the next frame as well, so
a stretch is encoded from a margin before its start to a margin past its end, and the margins' frames thrown away.

All of this runs for milliseconds and longer: call it off the event loop, one encoder from one thread at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from types import TracebackType
from typing import Self

import av
import numpy as np

from media.codecs.aac import OBJECT_LC, parse_config
from media.errors import BitstreamError
from media.fmp4 import Sample
from media.sound import Pcm, Resampler, SoundLine
from media.sound_decoder import LAYOUTS, SoundDecoder
from media.unit import AudioTrack, Codec

AAC_FRAME = 1024
MARGIN_FRAMES = 4
MAX_STRETCH_S = 600
_BRIDGE_S = 0.02
_SILENCE = AudioTrack(Codec.PCMA, clock_rate=8_000, channels=1)
# FF_QP2LAMBDA: what FFmpeg's options count a quality of 1 as.
_LAMBDA = 118
_MAX_LIVE_HOLE_S = 2
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


@dataclass(frozen=True, slots=True)
class AacSettings:
    """What is made: sampling rate in Hz, channels (1 or 2), and frames as long as ``quality`` (FFmpeg's scale: 1 is its
    middle) makes them; or, where ``bitrate`` is not 0, so many bits per second.

    Telephone sound takes about 32 kb/s at the quality of here. A bit rate is kept by encoding a frame again and again
    until it fits: up to three times the work."""

    rate: int = 16_000
    channels: int = 1
    bitrate: int = 0
    quality: float = 0.6


def aac_track(settings: AacSettings | None = None) -> AudioTrack:
    """The track that the encoders below produce (AAC-LC); known without encoding anything."""
    settings = settings or AacSettings()
    # AudioSpecificConfig: object type 2, sampling frequency index, channel configuration (ISO/IEC 14496-3, 1.6.2.1).
    config = 2 << 11 | _AAC_RATES.index(settings.rate) << 7 | settings.channels << 3
    return AudioTrack(Codec.AAC, settings.rate, settings.channels, config.to_bytes(2, "big"))


def settings_like(track: AudioTrack) -> AacSettings | None:
    """Settings whose frames fit among those of ``track``: AAC-LC of the same rate and channels, which among HE-AAC's
    are frames without SBR; None if none do."""
    if track.codec is not Codec.AAC or track.clock_rate not in _AAC_RATES or track.channels not in LAYOUTS:
        return None
    try:
        parsed = parse_config(track.config)
    except BitstreamError:
        return None
    alike = (parsed.sample_rate, parsed.channels, parsed.frame_samples) == (track.clock_rate, track.channels, AAC_FRAME)
    return AacSettings(track.clock_rate, track.channels) if alike and parsed.object_type == OBJECT_LC else None


@lru_cache(maxsize=2 * len(_AAC_RATES))
def silent_frame(settings: AacSettings) -> bytes:
    """One AAC frame of silence from the middle of a silent stretch: what stands where frames are missing. Made once."""
    _, frames = encode_stretch(_SILENCE, [], 0, _SILENCE.clock_rate, settings)
    return bytes(frames[len(frames) // 2].data)


def frame_range(rate: int, source_rate: int, start_pts: int, end_pts: int) -> range:
    """The numbers of the grid's frames at ``rate`` Hz that start in [start_pts, end_pts), ticks of ``source_rate``."""
    step = AAC_FRAME * source_rate
    return range(-(-start_pts * rate // step), -(-end_pts * rate // step))


def margin_ticks(source: AudioTrack, settings: AacSettings | None = None) -> int:
    """How much source, in its ticks, a stretch wants before its start and after its end."""
    rate = (settings or AacSettings()).rate
    return -(-(MARGIN_FRAMES + 1) * AAC_FRAME * source.clock_rate // rate)


class _Encoder:
    """PCM on the grid to AAC frames. ``first`` is the number of the first frame it is given."""

    def __init__(self, settings: AacSettings, first: int) -> None:
        context = av.CodecContext.create("aac", "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate = settings.rate
        context.layout = LAYOUTS[settings.channels]
        context.format = "fltp"
        # A quarter of the default search's time and, at these rates, nearer to the original: docs/performance.md.
        context.options = {"aac_coder": "fast"}
        if settings.bitrate:
            context.bit_rate = settings.bitrate
        else:
            context.options |= {"flags": "+qscale", "global_quality": str(round(settings.quality * _LAMBDA))}
        context.time_base = Fraction(1, settings.rate)
        self._context = context
        self._settings = settings
        self._next = first
        self._waiting = np.empty((settings.channels, 0), np.float32)

    def push(self, pcm: Pcm) -> list[Sample]:
        """Take the next samples; the frames that are whole now."""
        self._waiting = np.concatenate((self._waiting, pcm), axis=1)
        whole = self._waiting.shape[1] // AAC_FRAME * AAC_FRAME
        if not whole:
            return []
        # All of them in one piece, which PyAV cuts into the codec's frames: handing each over costs a fifth more.
        block = np.ascontiguousarray(self._waiting[:, :whole])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=LAYOUTS[self._settings.channels])
        frame.sample_rate = self._settings.rate
        frame.pts = self._next * AAC_FRAME
        frame.time_base = Fraction(1, self._settings.rate)
        self._next += whole // AAC_FRAME
        self._waiting = self._waiting[:, whole:].copy()
        return self._samples(self._context.encode(frame))

    def drain(self) -> list[Sample]:
        """Fill the last frame up with silence and give out the rest. Nothing may be pushed afterwards."""
        short = -self._waiting.shape[1] % AAC_FRAME
        out = self.push(np.zeros((self._settings.channels, short), np.float32))
        return out + self._samples(self._context.encode(None))

    @staticmethod
    def _samples(packets: "Iterable[av.Packet[av.AudioStream]]") -> list[Sample]:
        return [Sample(packet.pts, AAC_FRAME, 0, True, bytes(packet)) for packet in packets if packet.pts is not None]


class AacGridEncoder:
    """The running form of :func:`encode_stretch`, for live parts. A context manager; not shared between threads.

    Sound stays within 20 ms of its timestamps: a hole in the source is silence, and past two seconds of it the encoder
    starts anew where sound goes on.
    """

    def __init__(self, source: AudioTrack, settings: AacSettings | None = None) -> None:
        self._source = source
        self._settings = settings or AacSettings()
        self._decoder: SoundDecoder | None = None
        self._chain: tuple[SoundLine, Resampler, _Encoder] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder = None
        self._chain = None

    @property
    def track(self) -> AudioTrack:
        """The AAC track of what comes out."""
        return aac_track(self._settings)

    def push(self, samples: Sequence[Sample]) -> list[Sample]:
        """Take the next source samples; the AAC frames that are whole now (about two frames late).

        Raises BitstreamError for sound that cannot be decoded.
        """
        out: list[Sample] = []
        if self._decoder is None:
            self._decoder = SoundDecoder(self._source, self._settings.channels)
        for start, data in _pieces(self._source, samples):
            for at, pcm in self._decoder.decode(start, data):
                if self._chain is not None and self._is_elsewhere(at, self._chain[0].position):
                    out += self.flush()
                if self._chain is None:
                    self._chain = self._begin(at)
                line, resampler, encoder = self._chain
                out += encoder.push(resampler.push(line.place(at, pcm)))
        return self._from_first(out)

    def flush(self) -> list[Sample]:
        """What is still inside. The encoder may be used on; time then starts anew with the next sample."""
        if self._chain is None:
            return []
        _, resampler, encoder = self._chain
        self._chain = None
        rest = encoder.push(resampler.push(np.zeros((self._settings.channels, resampler.reach), np.float32)))
        return self._from_first(rest + encoder.drain())

    def _is_elsewhere(self, at: int, position: int) -> bool:
        return abs(at - position) > _MAX_LIVE_HOLE_S * self._source.clock_rate

    def _begin(self, at: int) -> tuple[SoundLine, Resampler, _Encoder]:
        # The first frame begins at or before the first sample and is silent up to it.
        rate, settings = self._source.clock_rate, self._settings
        frame = at * settings.rate // (AAC_FRAME * rate)
        chain = _chain_from(frame, self._source, settings)
        self._first = frame * AAC_FRAME
        return chain

    def _from_first(self, samples: list[Sample]) -> list[Sample]:
        # The encoder's own first packet is from before the beginning.
        return [sample for sample in samples if sample.dts >= self._first]


def _chain_from(frame: int, source: AudioTrack, settings: AacSettings) -> tuple[SoundLine, Resampler, _Encoder]:
    """Line, resampler and encoder whose first output is the start of ``frame``."""
    position = -(-frame * AAC_FRAME * source.clock_rate // settings.rate)
    resampler = Resampler(settings.channels, source.clock_rate, settings.rate, position)
    # Where the rates do not divide, the first source sample lies a little after the frame's start.
    lead = resampler.position - frame * AAC_FRAME
    encoder = _Encoder(settings, frame)
    encoder.push(np.zeros((settings.channels, lead), np.float32))
    return SoundLine(settings.channels, position, round(_BRIDGE_S * source.clock_rate)), resampler, encoder


def encode_stretch(
    source: AudioTrack, samples: Sequence[Sample], start_pts: int, end_pts: int, settings: AacSettings | None = None
) -> tuple[AudioTrack, list[Sample]]:
    """AAC frames that start in [start_pts, end_pts), ticks of ``source``: every one of them, silent where no sound is.

    ``samples`` should reach :func:`margin_ticks` beyond both ends, where there is any; what is missing is silence.
    Samples that cannot be decoded count as missing. Raises UnsupportedCodecError; ValueError for more than ten minutes.
    """
    settings = settings or AacSettings()
    if end_pts - start_pts > MAX_STRETCH_S * source.clock_rate:
        raise ValueError("a stretch of more than ten minutes")
    wanted = frame_range(settings.rate, source.clock_rate, start_pts, end_pts)
    if not wanted:
        return aac_track(settings), []
    line, resampler, encoder = _chain_from(wanted.start - MARGIN_FRAMES, source, settings)
    last = -(-(wanted.stop + MARGIN_FRAMES) * AAC_FRAME * source.clock_rate // settings.rate)
    out: list[Sample] = []
    for at, pcm in _decoded(source, samples, settings.channels):
        if at + pcm.shape[1] > line.position and at < last:
            out += encoder.push(resampler.push(line.place(at, pcm[:, : last - at])))
    silence = np.zeros((settings.channels, max(0, last - line.position) + resampler.reach), np.float32)
    out += encoder.push(resampler.push(silence)) + encoder.drain()
    first_dts, end_dts = wanted.start * AAC_FRAME, wanted.stop * AAC_FRAME
    return aac_track(settings), [sample for sample in out if first_dts <= sample.dts < end_dts]


def _decoded(source: AudioTrack, samples: Sequence[Sample], channels: int) -> Iterator[tuple[int, Pcm]]:
    decoder = SoundDecoder(source, channels)
    for at, data in _pieces(source, samples):
        try:
            yield from decoder.decode(at, data)
        except BitstreamError:
            continue


def _pieces(source: AudioTrack, samples: Sequence[Sample]) -> Iterator[tuple[int, bytes | memoryview]]:
    if source.codec in (Codec.PCMA, Codec.PCMU):
        return _joined(samples)
    return ((sample.dts, sample.data) for sample in samples)


def _joined(samples: Sequence[Sample]) -> Iterator[tuple[int, bytes | memoryview]]:
    """G.711 has an octet for each instant: what runs on is decoded in one go, not forty milliseconds at a time."""
    run: list[bytes | memoryview] = []
    start = end = 0
    for sample in samples:
        if run and sample.dts != end:
            yield start, b"".join(run)
            run = []
        if not run:
            start = sample.dts
        run.append(sample.data)
        end = sample.dts + sample.duration
    if run:
        yield start, b"".join(run)
