"""What passes between the service and a :mod:`media.transcode_worker`: access units, each behind a header.

Numbers are in network order; NAL units lie as in :class:`media.unit.AccessUnit`, each behind a 4-byte length. Parameter
sets go before those of a keyframe, in both directions.
"""

import struct
from dataclasses import dataclass
from typing import Final

from media.codecs.nal import MAX_UNIT_BYTES
from media.unit import Codec

MAX_MESSAGE_BYTES: Final = 2 * MAX_UNIT_BYTES

_CODECS: Final = (Codec.H264, Codec.H265)
_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture on its way to the worker: times as in AccessUnit, ticks of 90 kHz.

    ``silent``: it is needed to decode what follows and is not to be shown. ``anew``: nothing before it counts.
    """

    codec: Codec
    pts: int
    dts: int
    utc_ns: int
    epoch: int
    data: bytes
    silent: bool = False
    anew: bool = False

    HEADER = struct.Struct("!IBBqqqI")

    def pack(self) -> bytes:
        """The message."""
        flags = (1 if self.silent else 0) | (2 if self.anew else 0)
        head = self.HEADER.pack(
            len(self.data), _CODECS.index(self.codec), flags, self.pts, self.dts, self.utc_ns, self.epoch
        )
        return head + self.data

    @classmethod
    def read(cls, head: bytes) -> tuple[int, "Picture"]:
        """The size of the data, and the picture without it. Raises ValueError."""
        size, codec, flags, pts, dts, utc_ns, epoch = cls.HEADER.unpack(head)
        if size > MAX_MESSAGE_BYTES or codec >= len(_CODECS):
            raise ValueError("not a picture")
        return size, cls(_CODECS[codec], pts, dts, utc_ns, epoch, b"", bool(flags & 1), bool(flags & 2))


@dataclass(frozen=True, slots=True)
class Plain:
    """One picture as the worker made it: H.264, constrained baseline. ``sets`` only on keyframes."""

    pts: int
    utc_ns: int
    epoch: int
    keyframe: bool
    width: int
    height: int
    sets: tuple[bytes, ...]
    data: bytes

    HEADER = struct.Struct("!IIBqqIHH")

    def pack(self) -> bytes:
        """The message."""
        sets = b"".join(map(prefixed, self.sets))
        head = self.HEADER.pack(
            len(sets), len(self.data), self.keyframe, self.pts, self.utc_ns, self.epoch, self.width, self.height
        )
        return head + sets + self.data

    @classmethod
    def sizes(cls, head: bytes) -> tuple[int, int]:
        """How many octets of parameter sets and of slices follow a header. Raises ValueError."""
        sets, data = cls.HEADER.unpack(head)[:2]
        if sets + data > MAX_MESSAGE_BYTES:
            raise ValueError("not a picture")
        return sets, data

    @classmethod
    def read(cls, head: bytes, sets: tuple[bytes, ...], data: bytes) -> "Plain":
        """The picture."""
        _, _, keyframe, pts, utc_ns, epoch, width, height = cls.HEADER.unpack(head)
        return cls(pts, utc_ns, epoch, bool(keyframe), width, height, sets, data)


def prefixed(nal: bytes) -> bytes:
    """A NAL unit behind its length."""
    return _LENGTH.pack(len(nal)) + nal
