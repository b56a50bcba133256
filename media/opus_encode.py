"""Any sound to Opus for WebRTC (RFC 6716, RFC 7587): 20 ms packets on the stream's own timeline, with little delay.

Packet n covers samples [960 n - 312, 960 (n + 1) - 312) of the 48 kHz timeline: 312 samples are the encoder's
look-ahead, so that a player that puts a decoder's output where the timestamp says hears every sound at its time.

Runs for milliseconds: call it off the event loop, one encoder from one thread at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from media.codecs.opus import OPUS_CLOCK_RATE
from media.errors import BitstreamError
from media.sound import Pcm, Resampler, SoundLine
from media.sound_decoder import LAYOUTS, SoundDecoder
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec

OPUS_FRAME = 960
"""Samples at 48 kHz in a packet: 20 ms, what browsers use and every receiver takes."""

_BRIDGE_S = 0.02
# A longer hole is not filled: receivers conceal it by themselves, and silence made late would only delay what follows.
_MAX_HOLE_S = 0.1


@dataclass(frozen=True, slots=True)
class OpusSettings:
    """``bitrate`` in bits per second; ``complexity`` 0 to 10; ``loss_percent`` is what in-band FEC is laid out for."""

    channels: int = 1
    bitrate: int = 32_000
    complexity: int = 5
    loss_percent: int = 5


def opus_track(settings: OpusSettings | None = None) -> AudioTrack:
    """The track that the encoder below produces."""
    return AudioTrack(Codec.OPUS, OPUS_CLOCK_RATE, (settings or OpusSettings()).channels)


class _Chain:
    """From decoded pieces to packets, from one grid frame on: line, resampler, encoder."""

    def __init__(self, at: int, rate: int, settings: OpusSettings, track: AudioTrack) -> None:
        self._settings = settings
        self._track = track
        frame = at * OPUS_CLOCK_RATE // (OPUS_FRAME * rate)
        position = -(-frame * OPUS_FRAME * rate // OPUS_CLOCK_RATE)
        self.line = SoundLine(settings.channels, position, round(_BRIDGE_S * rate))
        self._resampler = Resampler(settings.channels, rate, OPUS_CLOCK_RATE, position)
        # Where the rates do not divide, the first source sample lies a little after the frame's start.
        lead = self._resampler.position - frame * OPUS_FRAME
        self._waiting = np.zeros((settings.channels, lead), np.float32)
        self._next = frame * OPUS_FRAME
        self._context = _encoder(settings)

    def push(self, at: int, piece: Pcm) -> list[tuple[int, bytes]]:
        """Take the next piece; (pts, packet) of what is whole now."""
        return self._encode(self._resampler.push(self.line.place(at, piece)))

    def drain(self) -> list[tuple[int, bytes]]:
        """The rest, filled up with silence."""
        channels = self._settings.channels
        rest = self._resampler.push(np.zeros((channels, self._resampler.reach), np.float32))
        out = self._encode(rest)
        if self._waiting.shape[1]:
            out += self._encode(np.zeros((channels, -self._waiting.shape[1] % OPUS_FRAME), np.float32))
        return out

    def _encode(self, pcm: Pcm) -> list[tuple[int, bytes]]:
        waiting = np.concatenate((self._waiting, pcm), axis=1)
        out: list[tuple[int, bytes]] = []
        used = 0
        layout = LAYOUTS[self._settings.channels]
        while used + OPUS_FRAME <= waiting.shape[1]:
            block = np.clip(waiting[:, used : used + OPUS_FRAME].T.reshape(1, -1), -1, 1)
            frame = av.AudioFrame.from_ndarray((block * 32_767).astype(np.int16), format="s16", layout=layout)
            frame.sample_rate = OPUS_CLOCK_RATE
            frame.pts = self._next
            frame.time_base = Fraction(1, OPUS_CLOCK_RATE)
            out += [(packet.pts, bytes(packet)) for packet in self._context.encode(frame) if packet.pts is not None]
            self._next += OPUS_FRAME
            used += OPUS_FRAME
        self._waiting = waiting[:, used:]
        return out


def _encoder(settings: OpusSettings) -> av.AudioCodecContext:
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate = OPUS_CLOCK_RATE
    context.layout = LAYOUTS[settings.channels]
    context.format = "s16"
    context.bit_rate = settings.bitrate
    context.time_base = Fraction(1, OPUS_CLOCK_RATE)
    context.options = {
        "application": "voip",
        "frame_duration": "20",
        "compression_level": str(settings.complexity),
        "fec": "1",
        "packet_loss": str(settings.loss_percent),
    }
    context.open()
    return context


class OpusEncoder:
    """Sound units of one stream, of whatever codec and however they change, to Opus units of the same timeline.

    Adds at most one packet's length, the look-ahead of 6.5 ms and the resampler's 2 ms to the source's own delay. A
    hole of up to 20 ms is bridged, up to 100 ms silent; past that, and at a new epoch or track, packets begin anew
    where sound goes on. Not shared between threads.
    """

    def __init__(self, settings: OpusSettings | None = None) -> None:
        self.broken = 0
        self._settings = settings or OpusSettings()
        self._track = opus_track(self._settings)
        self._decoder: SoundDecoder | None = None
        self._chain: _Chain | None = None
        self._source: AccessUnit | None = None

    def push(self, units: Sequence[AccessUnit]) -> list[AccessUnit]:
        """Take the next sound units; the Opus units that are whole now. Units that cannot be decoded count as missing
        (see :attr:`broken`). Raises UnsupportedCodecError for a track that is no sound."""
        out: list[AccessUnit] = []
        for unit in units:
            before = self._source
            if before is not None and (unit.track != before.track or unit.epoch != before.epoch):
                out += self.flush()
                self._decoder = None
            self._source = unit
            out += self._take(unit)
        return out

    def flush(self) -> list[AccessUnit]:
        """What is still inside. The encoder may be used on."""
        chain, self._chain = self._chain, None
        return self._units(chain.drain()) if chain is not None else []

    def _take(self, unit: AccessUnit) -> list[AccessUnit]:
        if not isinstance(unit.track, AudioTrack):
            return []
        rate = unit.track.clock_rate
        if self._decoder is None:
            self._decoder = SoundDecoder(unit.track, self._settings.channels)
        out: list[AccessUnit] = []
        try:
            for at, piece in self._decoder.decode(unit.dts, unit.data):
                if self._chain is not None and abs(at - self._chain.line.position) > _MAX_HOLE_S * rate:
                    out += self.flush()
                if self._chain is None:
                    self._chain = _Chain(at, rate, self._settings, self._track)
                out += self._units(self._chain.push(at, piece))
        except BitstreamError:
            self.broken += 1
        return out

    def _units(self, packets: Iterable[tuple[int, bytes]]) -> list[AccessUnit]:
        source = self._source
        assert source is not None
        zero_utc_ns = source.utc_ns - source.pts * NS_PER_S // source.track.clock_rate
        return [
            AccessUnit(
                self._track,
                pts,
                pts,
                zero_utc_ns + pts * NS_PER_S // OPUS_CLOCK_RATE,
                data,
                duration=OPUS_FRAME,
                epoch=source.epoch,
            )
            for pts, data in packets
        ]
