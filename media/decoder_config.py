"""What a decoder must know before the first sample: the configuration records inside sample entries, both ways.

avcC and hvcC (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1), esds (ISO/IEC 14496-1, 7.2.6), dOps (Opus in ISOBMFF, 4.3.2).
"""

from dataclasses import dataclass

from media.codecs.bits import BitReader, unescape
from media.codecs.h264 import HIGH_PROFILES
from media.errors import BitstreamError, ContainerError

_MAX_CONFIG = 1 << 16
_HEVC_VPS, _HEVC_SPS, _HEVC_PPS = 32, 33, 34
_AVC_SPS, _AVC_PPS = 7, 8


def _first(nals: tuple[bytes, ...], kind: int, mask: int, shift: int, name: str) -> bytes:
    for nal in nals:
        if nal and (nal[0] >> shift) & mask == kind:
            return nal
    raise BitstreamError(f"no {name} among the parameter sets")


def avc_kind(nal: bytes) -> int:
    """nal_unit_type of H.264."""
    return nal[0] & 0x1F if nal else -1


def hevc_kind(nal: bytes) -> int:
    """nal_unit_type of H.265."""
    return (nal[0] >> 1) & 0x3F if nal else -1


def avc_profile(nals: tuple[bytes, ...]) -> bytes:
    """profile_idc, constraint flags and level_idc of the first SPS, three bytes. Raises BitstreamError."""
    sps = _first(nals, _AVC_SPS, 0x1F, 0, "SPS")
    if len(sps) < 4:
        raise BitstreamError("SPS is cut short")
    return sps[1:4]


def write_avcc(nals: tuple[bytes, ...]) -> bytes:
    """AVCDecoderConfigurationRecord with 4-byte NAL lengths. Raises BitstreamError."""
    profile = avc_profile(nals)
    sps = [nal for nal in nals if avc_kind(nal) == _AVC_SPS]
    pps = [nal for nal in nals if avc_kind(nal) == _AVC_PPS]
    if len(sps) > 31 or len(pps) > 255 or any(len(nal) >= _MAX_CONFIG for nal in nals):
        raise BitstreamError("too many or too long parameter sets")
    out = bytearray((1, *profile, 0xFF, 0xE0 | len(sps)))
    for nal in sps:
        out += len(nal).to_bytes(2, "big") + nal
    out.append(len(pps))
    for nal in pps:
        out += len(nal).to_bytes(2, "big") + nal
    if profile[0] in HIGH_PROFILES:
        bits = BitReader(unescape(sps[0])[4:])
        bits.ue()
        chroma = bits.ue()
        if chroma == 3:
            bits.skip(1)
        luma_depth, chroma_depth = bits.ue(), bits.ue()
        out += bytes((0xFC | chroma & 3, 0xF8 | luma_depth & 7, 0xF8 | chroma_depth & 7, 0))
    return bytes(out)


def read_avcc(record: bytes) -> tuple[bytes, ...]:
    """The parameter sets of an AVCDecoderConfigurationRecord. Raises ContainerError."""
    if len(record) < 7 or record[0] != 1:
        raise ContainerError("avcC is not an AVCDecoderConfigurationRecord")
    if record[4] & 3 != 3:
        raise ContainerError("NAL lengths of other than 4 bytes")
    nals: list[bytes] = []
    position = _read_nals(record, 6, record[5] & 0x1F, nals)
    if position >= len(record):
        raise ContainerError("avcC is cut short")
    _read_nals(record, position + 1, record[position], nals)
    return tuple(nals)


def _read_nals(record: bytes, position: int, count: int, into: list[bytes]) -> int:
    for _ in range(count):
        length = int.from_bytes(record[position : position + 2], "big")
        end = position + 2 + length
        if position + 2 > len(record) or end > len(record):
            raise ContainerError("a parameter set is cut short")
        into.append(record[position + 2 : end])
        position = end
    return position


@dataclass(frozen=True, slots=True)
class HevcProfile:
    """profile_tier_level() of an SPS (ISO/IEC 23008-2, 7.3.3) and what follows it that hvcC repeats."""

    space: int
    tier: int
    profile: int
    compatibility: int
    constraints: bytes
    level: int
    temporal_layers: int
    temporal_nested: bool
    chroma_format: int
    luma_depth_minus8: int
    chroma_depth_minus8: int


def hevc_profile(nals: tuple[bytes, ...]) -> HevcProfile:
    """Read the first SPS. Raises BitstreamError."""
    bits = BitReader(unescape(_first(nals, _HEVC_SPS, 0x3F, 1, "SPS"))[2:])
    bits.skip(4)
    max_sub_layers_minus1 = bits.bits(3)
    nested = bits.flag()
    space, tier, profile = bits.bits(2), bits.bits(1), bits.bits(5)
    compatibility = bits.bits(32)
    constraints = bits.bits(48).to_bytes(6, "big")
    level = bits.bits(8)
    present = [(bits.bits(1), bits.bits(1)) for _ in range(max_sub_layers_minus1)]
    if max_sub_layers_minus1:
        bits.skip(2 * (8 - max_sub_layers_minus1))
    for has_profile, has_level in present:
        bits.skip(88 * has_profile + 8 * has_level)
    bits.ue()
    chroma = bits.ue()
    if chroma == 3:
        bits.skip(1)
    bits.ue()
    bits.ue()
    if bits.flag():
        for _ in range(4):
            bits.ue()
    return HevcProfile(
        space=space,
        tier=tier,
        profile=profile,
        compatibility=compatibility,
        constraints=constraints,
        level=level,
        temporal_layers=max_sub_layers_minus1 + 1,
        temporal_nested=nested,
        chroma_format=chroma,
        luma_depth_minus8=bits.ue(),
        chroma_depth_minus8=bits.ue(),
    )


def write_hvcc(nals: tuple[bytes, ...]) -> bytes:
    """HEVCDecoderConfigurationRecord for ``hvc1``: all parameter sets are in it. Raises BitstreamError."""
    head = hevc_profile(nals)
    out = bytearray((1, head.space << 6 | head.tier << 5 | head.profile))
    out += head.compatibility.to_bytes(4, "big") + head.constraints
    out.append(head.level)
    out += b"\xf0\x00\xfc"  # min_spatial_segmentation_idc and parallelismType unknown
    out += bytes(
        (0xFC | head.chroma_format & 3, 0xF8 | head.luma_depth_minus8 & 7, 0xF8 | head.chroma_depth_minus8 & 7)
    )
    out += b"\x00\x00"  # avgFrameRate unknown
    out.append((head.temporal_layers & 7) << 3 | head.temporal_nested << 2 | 3)
    arrays = []
    for kind in (_HEVC_VPS, _HEVC_SPS, _HEVC_PPS):
        members = [nal for nal in nals if hevc_kind(nal) == kind]
        if any(len(nal) >= _MAX_CONFIG for nal in members):
            raise BitstreamError("a parameter set is too long")
        if members:
            body = b"".join(len(nal).to_bytes(2, "big") + nal for nal in members)
            arrays.append(bytes((0x80 | kind,)) + len(members).to_bytes(2, "big") + body)
    out.append(len(arrays))
    return bytes(out) + b"".join(arrays)


def read_hvcc(record: bytes) -> tuple[bytes, ...]:
    """The parameter sets of an HEVCDecoderConfigurationRecord. Raises ContainerError."""
    if len(record) < 23 or record[0] != 1:
        raise ContainerError("hvcC is not an HEVCDecoderConfigurationRecord")
    if record[21] & 3 != 3:
        raise ContainerError("NAL lengths of other than 4 bytes")
    nals: list[bytes] = []
    position = 23
    for _ in range(record[22]):
        if position + 3 > len(record):
            raise ContainerError("hvcC is cut short")
        count = int.from_bytes(record[position + 1 : position + 3], "big")
        position = _read_nals(record, position + 3, count, nals)
    return tuple(nals)


def hevc_codec_string(nals: tuple[bytes, ...]) -> str:
    """``hvc1.…`` (ISO/IEC 14496-15, annex E.3). Raises BitstreamError."""
    head = hevc_profile(nals)
    reversed_compatibility = int(f"{head.compatibility:032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in head.constraints.rstrip(b"\0"))
    space = ("", "A", "B", "C")[head.space]
    tier = "H" if head.tier else "L"
    return f"hvc1.{space}{head.profile}.{reversed_compatibility:X}.{tier}{head.level}{constraints}"


def _descriptor(tag: int, body: bytes) -> bytes:
    """An MPEG-4 descriptor; the size is written in four bytes of seven bits, as most writers do."""
    size = len(body)
    return bytes((tag, 0x80 | size >> 21 & 0x7F, 0x80 | size >> 14 & 0x7F, 0x80 | size >> 7 & 0x7F, size & 0x7F)) + body


def write_esds(config: bytes) -> bytes:
    """ES_Descriptor that carries an AudioSpecificConfig."""
    decoder = b"\x40\x15" + bytes(11) + _descriptor(5, config)
    return _descriptor(3, b"\0\0\0" + _descriptor(4, decoder) + _descriptor(6, b"\x02"))


def read_esds(body: bytes) -> bytes:
    """The AudioSpecificConfig of an ES_Descriptor. Raises ContainerError."""
    body = _take_descriptor(body, 3)
    if len(body) < 3:
        raise ContainerError("ES_Descriptor is cut short")
    flags = body[2]
    skip = 3 + (2 if flags & 0x80 else 0)
    if flags & 0x40:
        if skip >= len(body):
            raise ContainerError("ES_Descriptor is cut short")
        skip += 1 + body[skip]
    skip += 2 if flags & 0x20 else 0
    decoder = _take_descriptor(body[skip:], 4)
    if len(decoder) < 13 or decoder[0] != 0x40:
        raise ContainerError("esds does not describe MPEG-4 audio")
    return _take_descriptor(decoder[13:], 5)


def _take_descriptor(body: bytes, tag: int) -> bytes:
    if not body or body[0] != tag:
        raise ContainerError(f"descriptor {tag} is missing")
    size = 0
    for position in range(1, min(len(body), 5)):
        size = size << 7 | body[position] & 0x7F
        if not body[position] & 0x80:
            if position + 1 + size > len(body):
                break
            return body[position + 1 : position + 1 + size]
    raise ContainerError(f"descriptor {tag} is cut short")


def aac_object_type(config: bytes) -> int:
    """audioObjectType of an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1). Raises BitstreamError."""
    if len(config) < 2:
        raise BitstreamError("AudioSpecificConfig is cut short")
    kind = config[0] >> 3
    return 32 + ((config[0] & 7) << 3 | config[1] >> 5) if kind == 31 else kind


def write_dops(channels: int, pre_skip: int = 0) -> bytes:
    """OpusSpecificBox body; channel mapping family 0, so mono or stereo."""
    return bytes((0, channels)) + pre_skip.to_bytes(2, "big") + (48_000).to_bytes(4, "big") + b"\0\0\0"
