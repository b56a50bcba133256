"""A talker's voice in what a camera's loudspeaker takes: G.711 as a rule, AAC where there is nothing else.

Runs for a millisecond or so a packet: call it off the event loop, one encoder from one thread at a time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from media.errors import BitstreamError, UnsupportedCodecError
from media.fmp4 import Sample
from media.sound import Pcm, Resampler, SoundLine, decode_alaw, decode_mulaw
from media.sound_decoder import SoundDecoder
from media.transcode import AacGridEncoder, AacSettings, aac_track
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec

PACKET_S = 0.02
"""Length of a G.711 packet (RFC 3551, 4.2)."""

_BRIDGE_S = 0.02
_MAX_HOLE_S = 0.2
_AAC_BITRATE = 32_000


def _nearest(decoded: Pcm) -> NDArray[np.uint8]:
    """For each 16-bit value, from -32768 on, the code whose value is nearest (ITU-T G.711)."""
    values = decoded.astype(np.float64) * 32_768
    order = np.argsort(values, kind="stable")
    edges = (values[order][1:] + values[order][:-1]) / 2
    return order[np.searchsorted(edges, np.arange(-32_768, 32_768))].astype(np.uint8)


_CODES = bytes(range(256))
_ALAW, _MULAW = _nearest(decode_alaw(_CODES)), _nearest(decode_mulaw(_CODES))


def encode_g711(codec: Codec, pcm: Pcm) -> bytes:
    """Samples between -1 and 1, shape (n,), as octets of PCMA or PCMU."""
    table = _ALAW if codec is Codec.PCMA else _MULAW
    index = np.clip(np.rint(pcm * 32_768), -32_768, 32_767).astype(np.int32) + 32_768
    return table[index].tobytes()


def speaker_track(codec: Codec, rate: int, channels: int = 1) -> AudioTrack:
    """The track to send to a loudspeaker that takes ``codec`` at ``rate`` Hz. Raises UnsupportedCodecError."""
    if codec in (Codec.PCMA, Codec.PCMU):
        return AudioTrack(codec, rate, channels)
    if codec is not Codec.AAC or channels > 2:
        raise UnsupportedCodecError("not a codec for loudspeakers", codec=str(codec))
    try:
        return aac_track(AacSettings(rate, channels, _AAC_BITRATE))
    except ValueError:
        raise UnsupportedCodecError("not a sampling rate of AAC", codec=str(codec)) from None


class SpeakerEncoder:
    """Sound units of a talk, of whatever codec, to units of ``target`` on the same timeline.

    Holes up to 20 ms are bridged, up to 200 ms silent; after a longer one sound begins anew. Not shared by threads.
    """

    def __init__(self, target: AudioTrack) -> None:
        self.broken = 0
        self._target = target
        self._decoder: SoundDecoder | None = None
        self._source: AccessUnit | None = None
        self._chain: tuple[SoundLine, Resampler] | None = None
        self._waiting = np.empty((1, 0), np.float32)
        self._next = 0
        self._aac: AacGridEncoder | None = None

    def push(self, units: Sequence[AccessUnit]) -> list[AccessUnit]:
        """Take the next units; what is whole now. Units that cannot be decoded are left out and counted."""
        out: list[AccessUnit] = []
        for unit in units:
            before, self._source = self._source, unit
            if before is None or unit.track != before.track or unit.epoch != before.epoch:
                self._decoder = self._chain = self._aac = None
            try:
                out += self._aac_units(unit) if self._target.codec is Codec.AAC else self._g711_units(unit)
            except BitstreamError:
                self.broken += 1
        return out

    def _g711_units(self, unit: AccessUnit) -> list[AccessUnit]:
        assert isinstance(unit.track, AudioTrack)
        source_rate, rate = unit.track.clock_rate, self._target.clock_rate
        if self._decoder is None:
            self._decoder = SoundDecoder(unit.track, 1)
        out: list[AccessUnit] = []
        for at, piece in self._decoder.decode(unit.dts, unit.data):
            if self._chain is not None and abs(at - self._chain[0].position) > _MAX_HOLE_S * source_rate:
                self._chain = None
            if self._chain is None:
                self._chain = SoundLine(1, at, round(_BRIDGE_S * source_rate)), Resampler(1, source_rate, rate, at)
                self._next = self._chain[1].position
                self._waiting = np.empty((1, 0), np.float32)
            line, resampler = self._chain
            self._waiting = np.concatenate((self._waiting, resampler.push(line.place(at, piece))), axis=1)
            out += self._cut(unit)
        return out

    def _cut(self, unit: AccessUnit) -> list[AccessUnit]:
        step = round(PACKET_S * self._target.clock_rate)
        out = []
        while self._waiting.shape[1] >= step:
            octets = encode_g711(self._target.codec, self._waiting[0, :step])
            out.append(self._unit(unit, self._next, octets, step))
            self._waiting = self._waiting[:, step:]
            self._next += step
        return out

    def _aac_units(self, unit: AccessUnit) -> list[AccessUnit]:
        assert isinstance(unit.track, AudioTrack)
        if self._aac is None:
            settings = AacSettings(self._target.clock_rate, self._target.channels, _AAC_BITRATE)
            self._aac = AacGridEncoder(unit.track, settings)
        made = self._aac.push([Sample(unit.dts, unit.duration, 0, True, unit.data)])
        return [self._unit(unit, sample.dts, bytes(sample.data), sample.duration) for sample in made]

    def _unit(self, source: AccessUnit, pts: int, data: bytes, duration: int) -> AccessUnit:
        rate = self._target.clock_rate
        utc_ns = source.utc_ns + pts * NS_PER_S // rate - source.pts * NS_PER_S // source.track.clock_rate
        return AccessUnit(self._target, pts, pts, utc_ns, data, duration=duration, epoch=source.epoch)
