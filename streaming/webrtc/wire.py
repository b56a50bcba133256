"""How packets of one access unit lie side by side, ready to be protected in place and to leave in few system calls."""

import socket
import struct
from collections.abc import Sequence

SCRATCH_BYTES = 128 * 1024
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
    """Packets laid out with room behind each for ``tag_bytes``. ``packets`` are (offset, size before protection)."""

    __slots__ = ("count", "fits", "packets", "plain", "runs", "size")

    def __init__(self, packets: Sequence[bytes], tag_bytes: int) -> None:
        gap = bytes(tag_bytes)
        parts: list[bytes] = []
        found: list[tuple[int, int]] = []
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
                parts.append(bytes(-at % _ALIGNMENT))
                at += -at % _ALIGNMENT
                start, size = at, length
            parts += (packet, gap)
            found.append((at, len(packet)))
            at += length
            count += 1
        if count:
            runs.append(Run(start, at, size, count))
        self.plain = b"".join(parts)
        self.size = at
        self.count = len(found)
        self.packets = tuple(found)
        self.runs = tuple(runs)
        self.fits = at <= SCRATCH_BYTES
        """Whether it can be protected in place."""
