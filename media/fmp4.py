"""Fragmented MP4, writing side: init segments and one-track fragments (ISO/IEC 14496-12, 14496-15, CMAF 23000-19).

Every fragment is one ``moof`` + ``mdat`` of one track, with ``default-base-is-moof`` and a 64-bit ``tfdt``. Samples are
named relative to the fragment alone, so fragments may be joined, dropped and served in any grouping.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from media.unit import Track

Buffer = bytes | memoryview


@dataclass(slots=True)
class Sample:
    """One sample of a track. ``dts``, ``duration`` and ``cts_offset`` (= pts - dts, may be negative) are ticks of the
    track's clock rate. ``data`` read from a fragment is a view into the buffer that was given to the reader."""

    dts: int
    duration: int
    cts_offset: int
    keyframe: bool
    data: Buffer

    @property
    def pts(self) -> int:
        """Presentation time in ticks."""
        return self.dts + self.cts_offset


def init_segment(tracks: Sequence[Track]) -> bytes:
    """``ftyp`` + ``moov`` for these tracks, in this order. Raises UnsupportedCodecError or BitstreamError."""
    raise NotImplementedError


def fragment(sequence: int, track_id: int, samples: Sequence[Sample]) -> bytes:
    """``moof`` + ``mdat`` of at least one sample. Decode times are the first sample's dts plus the durations before;
    the caller sees to it that they agree with each sample's dts."""
    raise NotImplementedError


def codec_string(track: Track) -> str:
    """The ``codecs`` parameter of RFC 6381 for this track, such as ``avc1.4d401f`` or ``mp4a.40.2``."""
    raise NotImplementedError
