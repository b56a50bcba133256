"""How packets of one access unit lie side by side, ready to be protected in place and to leave in few system calls."""

import itertools
import socket
import struct
from array import array
from collections.abc import Sequence

SCRATCH_BYTES = 128 * 1024
MAX_PACKETS = 512
MAX_SEGMENTS = 48
MAX_RUN_BYTES = 60_000
UDP_SEGMENT = 103
"""Linux 4.18: cut one buffer into datagrams of this size (include/uapi/linux/udp.h)."""

_SIZE = struct.Struct("@H")
_ALIGNMENT = 4

Control = list[tuple[int, int, bytes]]


class Run:
    """Bytes [start, end) that are packets of ``size`` bytes, the last perhaps shorter."""

    __slots__ = ("_control", "count", "end", "size", "start")

    def __init__(self, start: int, end: int, size: int, count: int) -> None:
        self.start = start
        self.end = end
        self.size = size
        self.count = count
        self._control: Control | None = None

    @property
    def control(self) -> Control:
        """What tells the kernel how to cut it."""
        if self._control is None:
            self._control = [(socket.IPPROTO_UDP, UDP_SEGMENT, _SIZE.pack(self.size))]
        return self._control


class Wire:
    """Packets laid out with room behind each for ``tag_bytes``. ``offsets`` say where each begins, ``lengths`` how long
    it is before protection, as C's ``int`` one behind the other, ``gaps`` what comes between them; ``room`` is what it
    takes, as much for all wires with the same ``offsets``."""

    __slots__ = ("count", "fits", "gaps", "lengths", "offsets", "plain", "room", "runs", "size")

    def __init__(self, packets: Sequence[bytes], tag_bytes: int) -> None:
        lengths = array("i", map(len, packets))
        self.count = len(lengths)
        self.lengths = lengths.tobytes()
        self.offsets: tuple[int, ...]
        self.runs: tuple[Run, ...]
        if _is_one_run(lengths, tag_bytes):
            step = lengths[0] + tag_bytes
            self.room = step * self.count
            self.size = self.room - lengths[0] + lengths[-1]
            self.offsets = tuple(range(0, self.room, step))
            self.runs = (Run(0, self.size, step, self.count),)
            self.gaps: tuple[bytes, ...] = (bytes(tag_bytes),) * self.count
        else:
            self._cut(lengths, tag_bytes)
        self.plain = self.laid(packets)
        self.fits = self.room <= SCRATCH_BYTES and self.count <= MAX_PACKETS
        """Whether it can be protected in place."""

    def _cut(self, lengths: Sequence[int], tag_bytes: int) -> None:
        gaps: list[bytes] = []
        offsets: list[int] = []
        runs: list[Run] = []
        at = start = count = size = 0
        for bare in lengths:
            length = bare + tag_bytes
            # Only the last packet of a run may be shorter, and libsrtp wants packets at multiples of four octets.
            if count and (
                count >= MAX_SEGMENTS
                or at + length - start > MAX_RUN_BYTES
                or length > size
                or size % _ALIGNMENT
                or (at - start) % size
            ):
                runs.append(Run(start, at, size, count))
                count = 0
            if not count:
                spare = -at % _ALIGNMENT
                if offsets:
                    gaps[-1] += bytes(spare)
                at += spare
                start, size = at, length
            gaps.append(bytes(tag_bytes))
            offsets.append(at)
            at += length
            count += 1
        if count:
            runs.append(Run(start, at, size, count))
        self.gaps = tuple(gaps)
        self.size = at
        # The last one may be as long as any.
        self.room = offsets[-1] + max(lengths) + tag_bytes if offsets else 0
        self.offsets = tuple(offsets)
        self.runs = tuple(runs)

    def laid(self, packets: Sequence[bytes]) -> bytes:
        """Other packets of the same sizes, laid out likewise."""
        return b"".join(itertools.chain.from_iterable(zip(packets, self.gaps, strict=True)))

    def single(self) -> tuple[Run, ...]:
        """Each packet as a run of its own, for where the kernel cannot cut."""
        return tuple(
            Run(at, min(at + run.size, run.end), run.size, 1)
            for run in self.runs
            for at in range(run.start, run.end, run.size)
        )


def _is_one_run(lengths: "array[int]", tag_bytes: int) -> bool:
    """Whether all packets but the last, which may be shorter, have one size: most pictures are so."""
    count = len(lengths)
    if count < 2:
        return count == 1
    first, last = lengths[0], lengths[-1]
    step = first + tag_bytes
    return (
        last <= first
        and step % _ALIGNMENT == 0
        and count <= MAX_SEGMENTS
        and step * count <= MAX_RUN_BYTES
        and lengths.count(first) >= count - (last < first)
    )
