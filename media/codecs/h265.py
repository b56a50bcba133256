"""H.265 (ITU-T H.265, ISO/IEC 23008-2): sequence parameter sets, and the RTP payload format of RFC 7798."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from media.codecs.bits import BitReader, unescape
from media.codecs.nal import DROP, FILLER, KEEP, KEY_SLICE, PREFIX, SET, SLICE, NalDepacketizer
from media.errors import BitstreamError
from media.unit import Codec, VideoTrack

NAL_VPS: Final = 32
NAL_SPS: Final = 33
NAL_PPS: Final = 34
NAL_AUD: Final = 35
NAL_FILLER: Final = 38
_AP: Final = 48
_FU: Final = 49


@dataclass(frozen=True, slots=True)
class H265Sps:
    """What is needed of a sequence parameter set. Sizes in pixels, after the conformance window.

    ``profile_tier_level`` are the 12 octets from general_profile_space to general_level_idc.
    """

    id: int
    profile_tier_level: bytes
    temporal_layers: int
    temporal_id_nesting: bool
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int
    reorder_frames: int


def parse_sps(nal: bytes) -> H265Sps:
    """Read a sequence parameter set (7.3.2.2.1) as far as the reordering depth. Raises :class:`BitstreamError`."""
    if len(nal) < 16 or (nal[0] >> 1) & 0x3F != NAL_SPS:
        raise BitstreamError("not an H.265 sequence parameter set")
    payload = unescape(nal[2:])
    reader = BitReader(payload)
    reader.skip(4)
    sub_layers = reader.bits(3)
    nesting = reader.flag()
    profile_tier_level = payload[1:13]
    reader.skip(96)
    _skip_sub_layer_levels(reader, sub_layers)
    sps_id = reader.ue()
    if sps_id > 15:
        raise BitstreamError("sps_seq_parameter_set_id above 15")
    chroma = reader.ue()
    if chroma > 3:
        raise BitstreamError("chroma_format_idc above 3")
    separate_planes = chroma == 3 and reader.flag()
    width, height = reader.ue(), reader.ue()
    if reader.flag():
        left, right, top, bottom = reader.ue(), reader.ue(), reader.ue(), reader.ue()
        width -= (2 if chroma in (1, 2) and not separate_planes else 1) * (left + right)
        height -= (2 if chroma == 1 and not separate_planes else 1) * (top + bottom)
    if not (0 < width <= 16_384 and 0 < height <= 16_384):
        raise BitstreamError("impossible picture size", width=width, height=height)
    luma_depth, chroma_depth = 8 + reader.ue(), 8 + reader.ue()
    if max(luma_depth, chroma_depth) > 16:
        raise BitstreamError("bit depth above 16")
    reader.ue()
    all_layers = reader.flag()
    reorder = 0
    for _ in range(sub_layers + 1 if all_layers else 1):
        reader.ue()
        reorder = reader.ue()
        reader.ue()
    if reorder > 16:
        raise BitstreamError("sps_max_num_reorder_pics above 16")
    return H265Sps(
        sps_id,
        profile_tier_level,
        sub_layers + 1,
        nesting,
        chroma,
        luma_depth,
        chroma_depth,
        width,
        height,
        reorder,
    )


def _skip_sub_layer_levels(reader: BitReader, sub_layers: int) -> None:
    present = [(reader.flag(), reader.flag()) for _ in range(sub_layers)]
    if sub_layers > 0:
        reader.skip(2 * (8 - sub_layers))
    for profile, level in present:
        reader.skip((88 if profile else 0) + (8 if level else 0))


def parameter_sets_from_fmtp(fmtp: Mapping[str, str]) -> list[bytes]:
    """``sprop-vps``, ``sprop-sps``, ``sprop-pps`` (RFC 7798, 7.1); what is not base64 is left out."""
    sets = []
    for name in ("sprop-vps", "sprop-sps", "sprop-pps"):
        for text in fmtp.get(name, "").split(","):
            try:
                nal = base64.b64decode(text.strip() + "==", validate=False)
            except (binascii.Error, ValueError):
                continue
            if nal:
                sets.append(nal)
    return sets


_KINDS: Final = tuple(
    {
        **dict.fromkeys(range(10), SLICE),
        **dict.fromkeys(range(16, 22), KEY_SLICE),
        NAL_VPS: SET,
        NAL_SPS: SET,
        NAL_PPS: SET,
        NAL_AUD: DROP,
        NAL_FILLER: FILLER,
        39: PREFIX,
    }.get(nal_type, KEEP)
    for nal_type in range(64)
)


class H265Depacketizer(NalDepacketizer):
    """RTP payloads of RFC 7798: single NAL units, AP, FU. With ``donl`` they carry decoding order numbers."""

    header_bytes = 2
    kinds = _KINDS
    type_shift = 1
    type_mask = 0x3F

    def __init__(self, sets: Iterable[bytes] = (), *, donl: bool = False) -> None:
        super().__init__(sets)
        self._donl = donl

    def push(self, packet: bytes, start: int, end: int) -> bool:
        """Take one RTP payload; false if it is not understood."""
        if end - start < 3:
            return False
        first = packet[start]
        nal_type = (first >> 1) & 0x3F
        if nal_type == _FU:
            flags = packet[start + 2]
            body = start + 3
            if flags < 0x40:
                return self.continue_fragment(packet, body, end)
            if flags & 0x80:
                body += 2 if self._donl else 0
                if body >= end:
                    return False
                header = bytes(((first & 0x81) | ((flags & 0x3F) << 1), packet[start + 1]))
                prefix = bytes((first, packet[start + 1], flags & 0x3F))
                self.open_fragment(header, prefix, packet, body, end)
            elif not self.continue_fragment(packet, body, end):
                return False
            if flags & 0x40:
                self.close_fragment()
            return True
        if nal_type == _AP:
            return self.push_aggregate(packet, start + (4 if self._donl else 2), end, 1 if self._donl else 0)
        if nal_type < _AP:
            if self._donl:
                if end - start < 5:
                    return False
                nal = packet[start : start + 2] + packet[start + 4 : end]
                self.push_nal(nal, 0, len(nal))
            else:
                self.push_nal(packet, start, end)
            return True
        return False

    def set_key(self, nal: bytes) -> tuple[int, int] | None:
        nal_type = (nal[0] >> 1) & 0x3F
        try:
            if nal_type == NAL_VPS:
                return nal_type, nal[2] >> 4
            if nal_type == NAL_SPS:
                return nal_type, parse_sps(nal).id
            pps_id = BitReader(unescape(nal[2:16])).ue()
        except BitstreamError:
            return None
        return (nal_type, pps_id) if pps_id <= 63 else None

    def is_random_access(self, sei: bytes) -> bool:
        """H.265 marks pictures from which decoding may start by their NAL unit type."""
        return False

    def is_intra_slice(self, slice_start: bytes) -> bool:
        return False

    def make_track(self) -> VideoTrack | None:
        sets = {kind: [nal for (k, _), nal in self.parameter_sets.items() if k == kind] for kind in (32, 33, 34)}
        if not all(sets.values()):
            return None
        parsed = parse_sps(sets[NAL_SPS][-1])
        self.reorder_frames = parsed.reorder_frames
        ordered = (*sets[NAL_VPS], *sets[NAL_SPS], *sets[NAL_PPS])
        return VideoTrack(Codec.H265, ordered, parsed.width, parsed.height)
