"""What H.264 and H.265 have in common on the wire: NAL units, fragments, access unit boundaries, parameter sets.

A picture's NAL units are collected straight into the form in which they travel on: each behind a 4-byte length.

When a picture ends. RFC 6184 and RFC 7798 put the marker on its last packet, and so do most cameras. Some set it on
every slice, some never, some repeat a timestamp for the next picture. So the marker is believed only after it was right
for three pictures; until then, and for ever after it was wrong, a picture ends where the next one begins: at a new
timestamp, at a NAL unit that may only come first (7.4.1.2.3), or at a slice that begins a picture.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final

from media.errors import BitstreamError
from media.unit import VideoTrack

SLICE: Final = 0
KEY_SLICE: Final = 1
PREFIX: Final = 2
SET: Final = 3
KEEP: Final = 4
DROP: Final = 5
FILLER: Final = 6
"""Kinds of NAL units: slices, slices of pictures from which decoding may start, units that come before a picture's
first slice, parameter sets, other units to keep, units that are not kept and begin a picture, and such as may stand
anywhere in one."""

MAX_UNIT_BYTES: Final = 16 * 1024 * 1024
MAX_PIECES: Final = 32 * 1024
"""Bounds of a picture that is being collected: its octets, and the pieces they lie in, each of which takes memory
however short it is."""

MAX_CARRIED_BYTES: Final = 64 * 1024
MAX_SET_BYTES: Final = 4096
MAX_SETS: Final = 31
"""Of one kind; more do not fit into an avcC (ISO/IEC 14496-15, 5.3.3.1)."""

MAX_JOINED: Final = 64
"""NAL units with start codes between them that are taken out of one."""

_GOOD_MARKERS: Final = 3

_LENGTH: Final = struct.Struct("!I")
_START_CODE: Final = b"\x00\x00\x01"


class Picture:
    """A finished picture: its NAL units, each behind a 4-byte length; ``data`` is empty if it was damaged.

    ``track`` is what the parameter sets before it describe; ``None`` if some are missing.
    """

    __slots__ = ("data", "keyframe", "track")

    def __init__(self, data: bytes, keyframe: bool, track: VideoTrack | None) -> None:
        self.data = data
        self.keyframe = keyframe
        self.track = track


class NalDepacketizer(ABC):
    """Collects one track's NAL units into pictures. The finished ones are in :attr:`ready`; the owner empties it."""

    header_bytes: ClassVar[int]
    kinds: ClassVar[tuple[int, ...]]
    type_shift: ClassVar[int]
    type_mask: ClassVar[int]

    def __init__(self, sets: Iterable[bytes] = ()) -> None:
        self.ready: list[Picture] = []
        self.parameter_sets: dict[tuple[int, int], bytes] = {}
        self.reorder_frames = 0
        self._sets_changed = False
        self._track: VideoTrack | None = None
        self.fields = False
        # The picture so far, piece by piece: put together once, when it is whole.
        self._pieces: list[bytes] = []
        self._size = 0
        self._open = False
        self._has_slice = False
        self._keyframe = False
        self._damaged = False
        self._recovery = False
        # Of the NAL unit that comes in fragments: where its length stands among the pieces, what was there before it.
        self._fragment_at = -1
        self._size_before = 0
        self._fragment_kind = DROP
        self._fragment_prefix = b""
        self._marked = False
        self._good_markers = 0
        self._finished_by_marker = False
        for nal in sets:
            if len(nal) > self.header_bytes and self._kind(nal[0]) == SET:
                self._keep_set(nal)

    @property
    def open(self) -> bool:
        """Whether a picture has been begun."""
        return self._open

    @abstractmethod
    def push(self, packet: bytes, start: int, end: int) -> bool:
        """Take one RTP payload, ``packet[start:end]``; false if it is not understood."""

    def current_track(self) -> VideoTrack | None:
        """The track as of now: a new object only when its parameter sets have changed."""
        if self._sets_changed:
            self._sets_changed = False
            try:
                self._track = self.make_track()
            except BitstreamError:
                self._track = None
        return self._track

    @abstractmethod
    def make_track(self) -> VideoTrack | None:
        """The track the parameter sets describe, once there are enough. Raises BitstreamError if they are broken."""

    @abstractmethod
    def set_key(self, nal: bytes) -> tuple[int, int] | None:
        """(kind, id) of a parameter set; ``None`` if it cannot be read."""

    @abstractmethod
    def is_random_access(self, sei: bytes) -> bool:
        """Whether an SEI says that decoding may start at this picture."""

    @abstractmethod
    def is_intra_slice(self, slice_start: bytes) -> bool:
        """Whether a slice, given its first octets, is coded without reference to other pictures."""

    def marker(self) -> None:
        """The packet just pushed had the marker."""
        if not self._has_slice or self._fragment_at >= 0:
            return
        if self._good_markers >= _GOOD_MARKERS:
            self._finish()
            self._finished_by_marker = True
        else:
            self._marked = True

    def end_picture(self) -> None:
        """The timestamp has changed."""
        if self._marked and self._good_markers >= 0:
            self._good_markers += 1
        self._finish()
        self._finished_by_marker = False

    def lose(self) -> None:
        """Packets are missing before the next one that is pushed."""
        self._finished_by_marker = False
        if self._open:
            self._damaged = True
        else:
            # What came before a picture's first slice may be of one that is lost.
            self._empty()
            self._recovery = False
        if self._fragment_at >= 0:
            self._drop_fragment()

    def reset(self) -> None:
        """Drop what has been begun."""
        self._clear()
        self.ready.clear()

    def _kind(self, first: int) -> int:
        return self.kinds[(first >> self.type_shift) & self.type_mask]

    def push_nal(self, packet: bytes, start: int, end: int) -> None:
        """Take a whole NAL unit."""
        self._fragment_end()
        kind = self._kind(packet[start])
        if kind <= KEY_SLICE:
            self._begin_slice(kind, packet[start : start + 16])
        elif kind != KEEP:
            self._other(kind, packet[start:end])
            return
        self._bound()
        self._add_nal(packet[start:end])

    def push_aggregate(self, packet: bytes, start: int, end: int, extra: int = 0) -> bool:
        """Take NAL units that each stand behind a 16-bit length; ``extra`` octets (DOND) stand before all but the
        first."""
        while start + 2 <= end:
            size = (packet[start] << 8) | packet[start + 1]
            start += 2
            if start + size > end:
                return False
            if size > self.header_bytes:
                self.push_nal(packet, start, start + size)
            start += size + extra
        return True

    @property
    def fragment_prefix(self) -> bytes:
        """How the payload of each middle fragment of the NAL unit being put together begins; empty if there is none."""
        return self._fragment_prefix if self._fragment_at >= 0 else b""

    def open_fragment(self, header: bytes, prefix: bytes, packet: bytes, start: int, end: int) -> None:
        """The first fragment of a NAL unit whose own header is ``header``; middle ones begin with ``prefix``."""
        self._fragment_end()
        self._fragment_prefix = prefix
        kind = self._kind(header[0])
        if kind <= KEY_SLICE:
            self._begin_slice(kind, header + packet[start : start + 16])
        self._open = True
        self._bound()
        self._fragment_kind = kind
        self._fragment_at = len(self._pieces)
        self._size_before = self._size
        # The length is known at the end.
        self._pieces.append(_LENGTH.pack(0))
        self._pieces.append(header)
        self._pieces.append(packet[start:end])
        self._size += 4 + len(header) + end - start

    def continue_fragment(self, packet: bytes, start: int, end: int) -> bool:
        """A further fragment; false if there is nothing for it to go on from."""
        if self._fragment_at < 0:
            self._open = True
            self._damaged = True
            return False
        self._pieces.append(packet[start:end])
        self._size += end - start
        if self._size > MAX_UNIT_BYTES or len(self._pieces) > MAX_PIECES:
            self.lose()
            self._empty()
            return False
        return True

    def continue_fragments(self, bodies: list[bytes], size: int) -> None:
        """Middle fragments, without their prefix, of the NAL unit being put together: ``size`` octets in all."""
        self._pieces.extend(bodies)
        self._size += size
        if self._size > MAX_UNIT_BYTES or len(self._pieces) > MAX_PIECES:
            self.lose()
            self._empty()

    def close_fragment(self) -> None:
        """The fragment just pushed was the last of its NAL unit."""
        at, kind = self._fragment_at, self._fragment_kind
        if kind <= KEY_SLICE or kind == KEEP:
            self._fragment_at = -1
            self._pieces[at] = _LENGTH.pack(self._size - self._size_before - 4)
            return
        nal = b"".join(self._pieces[at + 1 :])
        self._drop_fragment()
        self._other(kind, nal)

    def _fragment_end(self) -> None:
        # Some cameras leave the end bit out; the next NAL unit then ends the fragment.
        if self._fragment_at >= 0:
            self.close_fragment()

    def _drop_fragment(self) -> None:
        del self._pieces[self._fragment_at :]
        self._size = self._size_before
        self._fragment_at = -1

    def _bound(self) -> None:
        """Before a further NAL unit: what is too large to be a picture is given up."""
        if self._size > MAX_UNIT_BYTES or len(self._pieces) > MAX_PIECES:
            self._empty()
            self._damaged = True

    def _empty(self) -> None:
        self._pieces.clear()
        self._size = 0

    def _add_nal(self, nal: bytes) -> None:
        self._pieces.append(_LENGTH.pack(len(nal)))
        self._pieces.append(nal)
        self._size += 4 + len(nal)

    def _begin_slice(self, kind: int, start: bytes) -> None:
        # first_mb_in_slice is 0, and first_slice_segment_in_pic_flag is 1, just where the bit after the header is 1.
        if len(start) > self.header_bytes and start[self.header_bytes] & 0x80:
            if self._has_slice and not self.fields:
                self._finish()
        elif not self._has_slice:
            # The picture's beginning is missing: lost, or sent off too early by a marker that was wrong.
            self._damaged = True
            if self._finished_by_marker:
                self._good_markers = -1
        elif self._marked:
            self._good_markers = -1
        self._open = True
        self._marked = False
        if kind == KEY_SLICE or (self._recovery and not self._has_slice and self.is_intra_slice(start)):
            self._keyframe = True
        self._has_slice = True

    def _other(self, kind: int, nal: bytes) -> None:
        """A unit that is no slice. Some cameras put several NAL units with start codes between them into one."""
        at = nal.find(_START_CODE)
        if at > 0:
            self._joined(nal, at)
        else:
            self._alone(kind, nal)

    def _joined(self, nals: bytes, end: int) -> None:
        """NAL units with start codes between them; the first goes to ``end``. No slice is looked into. One after
        another, and so many at most: they may be as large as a picture and hold nothing else."""
        start = 0
        for _ in range(MAX_JOINED):
            nal = nals[start:end].rstrip(b"\0") if end >= 0 else nals[start:]
            if len(nal) > self.header_bytes:
                kind = self._kind(nal[0])
                if kind <= KEY_SLICE or kind == KEEP:
                    self.push_nal(nals, start, len(nals))
                    return
                self._alone(kind, nal)
            if end < 0:
                return
            start = end + len(_START_CODE)
            end = nals.find(_START_CODE, start)

    def _alone(self, kind: int, nal: bytes) -> None:
        if kind == FILLER:
            return
        if self._has_slice and kind != KEEP:
            if kind == SET and self._is_known(nal):
                # It should begin a new picture, but GStreamer repeats the sets before each slice of a keyframe.
                return
            self._finish()
        if kind == SET:
            self._keep_set(nal)
        elif kind == PREFIX:
            self._recovery = self._recovery or self.is_random_access(nal)
            if self._size + len(nal) <= MAX_CARRIED_BYTES:
                self._add_nal(nal)

    def _is_known(self, nal: bytes) -> bool:
        # Cameras repeat their sets before each keyframe: only a new one is worth reading.
        for known in self.parameter_sets.values():
            if known == nal:
                return True
        return False

    def _keep_set(self, nal: bytes) -> None:
        if len(nal) > MAX_SET_BYTES or self._is_known(nal):
            return
        key = self.set_key(nal)
        if key is None:
            return
        # Taken out first so that the newest set of a kind is the last.
        self.parameter_sets.pop(key, None)
        alike = [known for known in self.parameter_sets if known[0] == key[0]]
        if len(alike) >= MAX_SETS:
            # Some encoders number the sets of each keyframe anew: the newest are those that pictures refer to.
            del self.parameter_sets[alike[0]]
        self.parameter_sets[key] = nal
        self._sets_changed = True

    def _finish(self) -> None:
        if self._fragment_at >= 0:
            self._fragment_end()
        if self._has_slice and not self._damaged:
            self.ready.append(Picture(b"".join(self._pieces), self._keyframe, self.current_track()))
        elif self._has_slice or self._damaged:
            self.ready.append(Picture(b"", False, None))
        elif self._size <= MAX_CARRIED_BYTES:
            # Only SEI so far: it belongs to the picture that follows, whatever its timestamp.
            self._open = False
            return
        self._clear()

    def _clear(self) -> None:
        self._pieces = []
        self._size = 0
        self._open = self._has_slice = self._keyframe = self._damaged = self._recovery = self._marked = False
        self._fragment_at = -1
