"""AAC frames of one constant size, so that a file's layout is known before its sound is encoded.

Fill elements (ISO/IEC 14496-3, 4.4.2.7) may stand before the elements that carry sound. Each takes 3 bits of id, 4 bits
of count (8 more for counts from 15) and that many octets; eight of them so end on an octet and the frame behind them
keeps its alignment, bit for bit.
"""

from functools import lru_cache

from media.errors import BitstreamError

MAX_FRAME_BYTES = 768
"""Longest raw_data_block per channel: 6144 bits."""

_ELEMENTS = 8
_HEADERS_BYTES = 7
_ID_FIL = 6
_MAX_COUNT = 269


def padded_size(channels: int) -> int:
    """The size that every frame is brought to."""
    return channels * MAX_FRAME_BYTES + _HEADERS_BYTES


def pad_frame(frame: bytes | memoryview, size: int) -> bytes:
    """``frame`` with fill elements before it, ``size`` octets long. Raises BitstreamError if it cannot be made so."""
    return _padding(size - len(frame)) + frame


@lru_cache(maxsize=4096)
def _padding(wanted: int) -> bytes:
    """Fill elements of ``wanted`` octets."""
    if not _HEADERS_BYTES <= wanted <= _HEADERS_BYTES + _ELEMENTS * (1 + _MAX_COUNT):
        raise BitstreamError("an AAC frame does not fit its constant size", padding=wanted)
    left = wanted - _HEADERS_BYTES
    bits = 0
    length = 0
    for _ in range(_ELEMENTS):
        # A count from 15 costs one octet more; 14 + escape 0 is not used, so that each size has one spelling.
        count = min(left, 14) if left <= 15 else min(left - 1, _MAX_COUNT)
        bits = bits << 7 | _ID_FIL << 4 | min(count, 15)
        length += 7
        if count >= 15:
            bits = bits << 8 | count - 14
            length += 8
            left -= 1
        bits <<= 8 * count
        length += 8 * count
        left -= count
    if left or length != 8 * wanted:
        raise BitstreamError("an AAC frame does not fit its constant size", padding=wanted)
    return bits.to_bytes(wanted, "big")
