"""H.264 (ITU-T H.264, ISO/IEC 14496-10): sequence parameter sets, and the RTP payload format of RFC 6184."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from media.codecs.bits import BitReader, unescape
from media.codecs.nal import DROP, FILLER, KEEP, KEY_SLICE, PREFIX, SET, SLICE, NalDepacketizer
from media.errors import BitstreamError
from media.unit import Codec, VideoTrack

NAL_IDR: Final = 5
NAL_SEI: Final = 6
NAL_SPS: Final = 7
NAL_PPS: Final = 8
NAL_AUD: Final = 9
NAL_FILLER: Final = 12
_STAP_A: Final = 24
_FU_A: Final = 28

_RECOVERY_POINT: Final = 6
_MAX_MESSAGES: Final = 32
_EXTENDED_SAR: Final = 255

HIGH_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose SPS and avcC carry chroma format and bit depths (ISO/IEC 14496-10, 7.3.2.1.1)."""


@dataclass(frozen=True, slots=True)
class H264Sps:
    """What is needed of a sequence parameter set. Sizes in pixels, after cropping.

    ``reorder_frames`` is how many pictures may come before one in decoding order and follow it in output order, or
    ``None`` where the set does not say. ``fields`` is true if pictures may be coded as two fields.
    """

    id: int
    profile_idc: int
    constraint_flags: int
    level_idc: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int
    reorder_frames: int | None
    fields: bool


def parse_sps(nal: bytes) -> H264Sps:
    """Read a sequence parameter set (7.3.2.1.1). Raises :class:`BitstreamError`."""
    if len(nal) < 4 or nal[0] & 0x1F != NAL_SPS:
        raise BitstreamError("not an H.264 sequence parameter set")
    reader = BitReader(unescape(nal[1:]))
    profile_idc, constraint_flags, level_idc = reader.bits(8), reader.bits(8), reader.bits(8)
    sps_id = reader.ue()
    if sps_id > 31:
        raise BitstreamError("seq_parameter_set_id above 31")
    chroma, luma_depth, chroma_depth = _sample_format(reader) if profile_idc in HIGH_PROFILES else (1, 8, 8)
    reader.ue()
    order_type = _order_type(reader)
    reader.ue()
    reader.skip(1)
    width_mbs, height_units = reader.ue() + 1, reader.ue() + 1
    frames_only = reader.flag()
    if not frames_only:
        reader.skip(1)
    reader.skip(1)
    left = right = top = bottom = 0
    if reader.flag():
        left, right, top, bottom = reader.ue(), reader.ue(), reader.ue(), reader.ue()
    crop_x = 2 if chroma in (1, 2) else 1
    crop_y = (2 if chroma == 1 else 1) * (1 if frames_only else 2)
    width = width_mbs * 16 - crop_x * (left + right)
    height = height_units * 16 * (1 if frames_only else 2) - crop_y * (top + bottom)
    if not (0 < width <= 16_384 and 0 < height <= 16_384):
        raise BitstreamError("impossible picture size", width=width, height=height)
    reorder = _reorder_frames(reader) if reader.flag() else None
    if order_type == 2 or profile_idc == 66:
        reorder = 0
    return H264Sps(
        sps_id,
        profile_idc,
        constraint_flags,
        level_idc,
        chroma,
        luma_depth,
        chroma_depth,
        width,
        height,
        reorder,
        not frames_only,
    )


def _sample_format(reader: BitReader) -> tuple[int, int, int]:
    """chroma_format_idc and the bit depths of luma and chroma; the scaling lists behind them are passed over."""
    chroma = reader.ue()
    if chroma > 3:
        raise BitstreamError("chroma_format_idc above 3")
    if chroma == 3:
        reader.skip(1)
    luma_depth, chroma_depth = 8 + reader.ue(), 8 + reader.ue()
    if max(luma_depth, chroma_depth) > 14:
        raise BitstreamError("bit depth above 14")
    reader.skip(1)
    if reader.flag():
        for index in range(8 if chroma != 3 else 12):
            if reader.flag():
                _skip_scaling_list(reader, 16 if index < 6 else 64)
    return chroma, luma_depth, chroma_depth


def _order_type(reader: BitReader) -> int:
    """pic_order_cnt_type; what belongs to it is passed over."""
    order_type = reader.ue()
    if order_type == 0:
        reader.ue()
    elif order_type == 1:
        reader.skip(1)
        reader.se()
        reader.se()
        cycle = reader.ue()
        if cycle > 255:
            raise BitstreamError("num_ref_frames_in_pic_order_cnt_cycle above 255")
        for _ in range(cycle):
            reader.se()
    return order_type


def _skip_scaling_list(reader: BitReader, size: int) -> None:
    last = next_scale = 8
    for _ in range(size):
        if next_scale != 0:
            next_scale = (last + reader.se()) % 256
        last = last if next_scale == 0 else next_scale


def _reorder_frames(reader: BitReader) -> int | None:
    """max_num_reorder_frames of the VUI (Annex E.1.1), if it is there and readable."""
    try:
        if reader.flag() and reader.bits(8) == _EXTENDED_SAR:
            reader.skip(32)
        if reader.flag():
            reader.skip(1)
        if reader.flag():
            reader.skip(4)
            if reader.flag():
                reader.skip(24)
        if reader.flag():
            reader.ue()
            reader.ue()
        if reader.flag():
            reader.skip(65)
        nal_hrd = reader.flag()
        if nal_hrd:
            _skip_hrd(reader)
        vcl_hrd = reader.flag()
        if vcl_hrd:
            _skip_hrd(reader)
        if nal_hrd or vcl_hrd:
            reader.skip(1)
        reader.skip(1)
        if not reader.flag():
            return None
        reader.skip(1)
        for _ in range(4):
            reader.ue()
        frames = reader.ue()
    except BitstreamError:
        # Some cameras cut the VUI short; the picture size before it is still good.
        return None
    return frames if frames <= 16 else None


def _skip_hrd(reader: BitReader) -> None:
    count = reader.ue() + 1
    if count > 32:
        raise BitstreamError("cpb_cnt_minus1 above 31")
    reader.skip(8)
    for _ in range(count):
        reader.ue()
        reader.ue()
        reader.skip(1)
    reader.skip(20)


def parameter_sets_from_fmtp(fmtp: Mapping[str, str]) -> list[bytes]:
    """``sprop-parameter-sets`` (RFC 6184, 8.1); what is not base64 is left out."""
    sets = []
    for text in fmtp.get("sprop-parameter-sets", "").split(","):
        try:
            nal = base64.b64decode(text.strip() + "==", validate=False)
        except (binascii.Error, ValueError):
            continue
        if nal:
            sets.append(nal)
    return sets


def _set_key(nal: bytes) -> tuple[int, int] | None:
    """(NAL unit type, set id) of a parameter set."""
    nal_type = nal[0] & 0x1F
    try:
        if nal_type == NAL_SPS:
            return nal_type, parse_sps(nal).id
        pps_id = BitReader(unescape(nal[1:16])).ue()
    except BitstreamError:
        return None
    return (nal_type, pps_id) if pps_id <= 255 else None


_KINDS: Final = tuple(
    {
        **dict.fromkeys((1, 2, 3, 4), SLICE),
        NAL_IDR: KEY_SLICE,
        NAL_SEI: PREFIX,
        NAL_SPS: SET,
        NAL_PPS: SET,
        NAL_AUD: DROP,
        NAL_FILLER: FILLER,
    }.get(nal_type, KEEP)
    for nal_type in range(32)
)


_OCTETS: Final = tuple(bytes((value,)) for value in range(256))


def _sei_number(messages: bytes, at: int) -> tuple[int, int]:
    """The type or size of an SEI message (7.3.2.3.1) at a place, and where what follows begins."""
    value = 0
    while at < len(messages) and messages[at] == 0xFF:
        value += 255
        at += 1
    return (value + messages[at], at + 1) if at < len(messages) else (value, at)


class H264Depacketizer(NalDepacketizer):
    """RTP payloads of packetization modes 0 and 1: single NAL units, STAP-A, FU-A."""

    header_bytes = 1
    kinds = _KINDS
    type_shift = 0
    type_mask = 0x1F

    def push(self, packet: bytes, start: int, end: int) -> bool:
        """Take one RTP payload; false if it is not understood."""
        if end - start < 2:
            return False
        first = packet[start]
        nal_type = first & 0x1F
        if nal_type == _FU_A:
            indicator = packet[start + 1]
            if indicator < 0x40:
                return self.continue_fragment(packet, start + 2, end)
            if indicator & 0x80:
                if end - start < 3:
                    return False
                nal_type = indicator & 0x1F
                prefix = packet[start : start + 1] + _OCTETS[nal_type]
                self.open_fragment(_OCTETS[(first & 0xE0) | nal_type], prefix, packet, start + 2, end)
            elif not self.continue_fragment(packet, start + 2, end):
                return False
            if indicator & 0x40:
                self.close_fragment()
            return True
        if nal_type == _STAP_A:
            return self.push_aggregate(packet, start + 1, end)
        if 1 <= nal_type <= 23:
            self.push_nal(packet, start, end)
            return True
        return False

    def set_key(self, nal: bytes) -> tuple[int, int] | None:
        return _set_key(nal)

    def is_random_access(self, sei: bytes) -> bool:
        """A recovery point with recovery_frame_cnt 0 (D.1.8), alone or among other messages (7.3.2.3.1): an I picture
        from which decoding may start."""
        if len(sei) > 3 and sei[1] == _RECOVERY_POINT:
            return bool(sei[3] & 0x80)
        messages = unescape(sei[1:])
        at, end = 0, len(messages)
        for _ in range(_MAX_MESSAGES):
            kind, at = _sei_number(messages, at)
            size, at = _sei_number(messages, at)
            if at >= end:
                return False
            if kind == _RECOVERY_POINT:
                return bool(messages[at] & 0x80)
            at += size
        return False

    def is_intra_slice(self, slice_start: bytes) -> bool:
        reader = BitReader(unescape(slice_start[1:]))
        try:
            reader.ue()
            return reader.ue() in (2, 4, 7, 9)
        except BitstreamError:
            return False

    def make_track(self) -> VideoTrack | None:
        sets = self.parameter_sets
        sps = [nal for (kind, _), nal in sets.items() if kind == NAL_SPS]
        pps = [nal for (kind, _), nal in sets.items() if kind == NAL_PPS]
        if not sps or not pps:
            return None
        parsed = parse_sps(sps[-1])
        self.fields = parsed.fields
        self.reorder_frames = parsed.reorder_frames or 0
        return VideoTrack(Codec.H264, (*sps, *pps), parsed.width, parsed.height)
