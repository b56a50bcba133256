"""HE-AAC as cameras signal it, made of AAC-LC: no encoder at hand makes SBR, but decoders look for its signs."""

from collections.abc import Sequence
from dataclasses import replace

from media.unit import AccessUnit, AudioTrack

_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)


def signalled(units: Sequence[AccessUnit]) -> list[AccessUnit]:
    """The same frames, said to be HE-AAC by the configuration (object type 5): the output has twice the core's rate."""
    core = _audio(units[0])
    core_rate, output_rate = _RATES.index(core.clock_rate), _RATES.index(2 * core.clock_rate)
    bits = ((5 << 4 | core_rate) << 4 | core.channels) << 4 | output_rate
    config = ((bits << 5 | 2) << 3) << 7
    track = replace(core, config=config.to_bytes(4, "big"))
    return [replace(unit, track=track) for unit in units]


def hidden(units: Sequence[AccessUnit]) -> list[AccessUnit]:
    """Frames that carry a piece of SBR nobody announced: what decoders take for HE-AAC (EXT_SBR_DATA in a fill
    element behind the sound, ISO/IEC 14496-3, 4.4.2.7 and 4.5.2.8)."""
    core = _audio(units[0])
    track = replace(core, config=core.config[:2])
    return [replace(unit, track=track, data=_with_sbr(unit.data)) for unit in units]


def _with_sbr(frame: bytes) -> bytes:
    bits = "".join(f"{octet:08b}" for octet in frame).rstrip("0")
    assert bits.endswith("111"), "a frame ends with ID_END"
    bits = f"{bits[:-3]}110{2:04b}1101{0:012b}111"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _audio(unit: AccessUnit) -> AudioTrack:
    assert isinstance(unit.track, AudioTrack)
    return unit.track
