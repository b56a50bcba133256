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
    """Bytes [start, end) that are packets of ``size`` bytes, the last perhaps shorter. ``control`` tells the kernel."""

    __slots__ = ("control", "count", "end", "size", "start")

    def __init__(self, start: int, end: int, size: int, count: int) -> None:
        self.start = start
        self.end = end
        self.size = size
        self.count = count
        self.control: Control = [(socket.IPPROTO_UDP, UDP_SEGMENT, _SIZE.pack(size))]


class Wire:
    """Packets laid out with room behind each for ``tag_bytes``. ``offsets`` say where each begins, ``lengths`` how long
    it is before protection, as C's ``int`` one behind the other, ``gaps`` what comes between them."""

    __slots__ = ("count", "fits", "gaps", "lengths", "offsets", "plain", "runs", "size")

    def __init__(self, packets: Sequence[bytes], tag_bytes: int) -> None:
        gaps: list[bytes] = []
        offsets: list[int] = []
        runs: list[Run] = []
        at = start = count = size = 0
        for packet in packets:
            length = len(packet) + tag_bytes
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
        self.plain = self.laid(packets)
        self.size = at
        self.count = len(offsets)
        self.offsets = tuple(offsets)
        self.lengths = array("i", map(len, packets)).tobytes()
        self.runs = tuple(runs)
        self.fits = at <= SCRATCH_BYTES and self.count <= MAX_PACKETS
        """Whether it can be protected in place."""

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
