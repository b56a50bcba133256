"""The byte stream format of Annex B of H.264 and H.265: NAL units behind start codes."""

import re
from collections.abc import Iterable

START_CODE = b"\x00\x00\x00\x01"
_SPLIT = re.compile(rb"\x00\x00\x01")


def split(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream, without start codes and trailing zeros; octets before the first are dropped."""
    return [nal for part in _SPLIT.split(data)[1:] if (nal := part.rstrip(b"\x00"))]


def join(nals: Iterable[bytes]) -> bytes:
    """A byte stream of the NAL units."""
    return b"".join(START_CODE + nal for nal in nals)
