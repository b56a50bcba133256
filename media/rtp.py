"""RTP packets (RFC 3550, section 5.1): header, sequence numbers, and putting packets back in order."""

import struct
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("!BBHII")
"""First octet, marker and payload type, sequence number, timestamp, SSRC."""

INTERLEAVED_HEADER_BYTES: Final = 4
"""What stands before a packet in an RTSP connection: a dollar sign, channel, length (RFC 2326, 10.12)."""

PLAIN_HEADER: Final = 0x80
"""First octet of a packet of version 2 without padding, extension or CSRC: its payload begins at octet 12."""

MAX_DROPOUT: Final = 3000
"""Sequence numbers ahead by more than this are a restart, not a loss (RFC 3550, A.1)."""

MAX_MISORDER: Final = 100
"""Sequence numbers behind by more than this are a restart, not a late packet (RFC 3550, A.1)."""


class RtpHeader(NamedTuple):
    """A packet's header fields; the payload is ``packet[start:end]``."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    start: int
    end: int


def payload_bounds(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the payload of the packet ``data[start:end]`` begins and ends; ``None`` if that is not RTP version 2 or
    contradicts its own length."""
    if end - start < 12:
        return None
    first = data[start]
    if first & 0xC0 != 0x80:
        return None
    start += 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > end:
            return None
        start += 4 + 4 * ((data[start + 2] << 8) | data[start + 3])
    if first & 0x20:
        if start >= end or data[end - 1] == 0:
            return None
        end -= data[end - 1]
    return (start, end) if start <= end else None


def parse_header(packet: bytes) -> RtpHeader | None:
    """The whole header, or ``None`` if this is no RTP packet."""
    bounds = payload_bounds(packet, 0, len(packet))
    if bounds is None:
        return None
    _, second, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
    return RtpHeader(second >= 0x80, second & 0x7F, sequence, timestamp, ssrc, *bounds)


def signed_delta32(newer: int, older: int) -> int:
    """``newer - older`` of two 32-bit counters that wrap, in [-2^31, 2^31)."""
    return ((newer - older + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def signed_delta16(newer: int, older: int) -> int:
    """``newer - older`` of two 16-bit counters that wrap, in [-2^15, 2^15)."""
    return ((newer - older + 0x8000) & 0xFFFF) - 0x8000


class ReorderBuffer:
    """Packets that came too early, waiting for the one that is due. Bounded in number and time.

    The owner keeps the expected number; the buffer only stores. ``max_wait_ns`` is how long a missing packet is waited
    for.
    """

    def __init__(self, max_packets: int = 64, max_wait_ns: int = 150_000_000) -> None:
        self._max_packets = max_packets
        self._max_wait_ns = max_wait_ns
        self._packets: dict[int, tuple[bytes, int]] = {}

    def __len__(self) -> int:
        return len(self._packets)

    def insert(self, sequence: int, packet: bytes, arrival_ns: int) -> bool:
        """Keep the packet; false if it is there already."""
        if sequence in self._packets:
            return False
        self._packets[sequence] = (packet, arrival_ns)
        return True

    def take(self, sequence: int) -> tuple[bytes, int] | None:
        """Remove and return packet ``sequence`` with its arrival time, if it is there."""
        return self._packets.pop(sequence, None)

    def overdue(self, now_ns: int) -> bool:
        """Whether the missing packet has been waited for long enough."""
        if not self._packets:
            return False
        if len(self._packets) >= self._max_packets:
            return True
        oldest = min(arrival for _, arrival in self._packets.values())
        return now_ns - oldest > self._max_wait_ns

    def next_after(self, expected: int) -> int:
        """The number of the first waiting packet, counted from ``expected``. The buffer must not be empty."""
        return min(self._packets, key=lambda sequence: (sequence - expected) & 0xFFFF)

    def clear(self) -> None:
        """Forget everything."""
        self._packets.clear()
