"""Reads a transport stream packet by packet and checks what ISO/IEC 13818-1 demands of every multiplexer."""

from dataclasses import dataclass, field
from itertools import pairwise

PMT_PID = 0x1000
CLOCK = 90_000
PCR_LIMIT = CLOCK // 10
"""Clock references at least every 100 ms (ISO/IEC 13818-1, 2.7.2)."""
TABLE_LIMIT = CLOCK // 2
"""PAT and PMT at least every 500 ms, as DVB players count on (ETSI TR 101 290, 1.3 and 1.5)."""
_HOLE = 60 * CLOCK


@dataclass
class Seen:
    """What a transport stream holds. ``problems`` is empty for a good one."""

    problems: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    clock_references: list[int] = field(default_factory=list)
    tables_at: list[int] = field(default_factory=list)
    maps_at: list[int] = field(default_factory=list)
    counters: dict[int, int] = field(default_factory=dict)


def examine(data: bytes) -> Seen:
    """Sync bytes, continuity counters, adaptation fields, and where tables and clock references stand."""
    seen = Seen()
    if len(data) % 188:
        seen.problems.append("not a whole number of packets")
    for number, start in enumerate(range(0, len(data) - 187, 188)):
        packet = data[start : start + 188]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        seen.pids.add(pid)
        has_field, has_payload, counter = packet[3] >> 5 & 1, packet[3] >> 4 & 1, packet[3] & 15
        if packet[0] != 0x47:
            seen.problems.append(f"packet {number}: no sync byte")
        before = seen.counters.get(pid)
        expected = None if before is None else (before + has_payload) & 15
        if expected is not None and counter != expected:
            seen.problems.append(f"packet {number}: counter {counter} of PID {pid:#x}, {expected} expected")
        seen.counters[pid] = counter
        if has_field:
            length = packet[4]
            if length > 183 or (has_payload and length > 182):
                seen.problems.append(f"packet {number}: adaptation field of {length}")
            if length and packet[5] & 0x10:
                base = int.from_bytes(packet[6:10], "big") << 1 | packet[10] >> 7
                seen.clock_references.append(base)
        if pid == PMT_PID:
            seen.maps_at.append(seen.clock_references[-1] if seen.clock_references else -1)
        if pid == 0:
            seen.tables_at.append(seen.clock_references[-1] if seen.clock_references else -1)
    return seen


def problems(data: bytes) -> list[str]:
    """Everything that is wrong with a segment: its packets, and how often clock and tables come. A stretch of more
    than a minute without media is a hole, not a slow clock."""
    seen = examine(data)
    found = list(seen.problems)
    for what, times, limit in (
        ("clock references", seen.clock_references, PCR_LIMIT),
        ("PAT", [time for time in seen.tables_at if time >= 0], TABLE_LIMIT),
        ("PMT", [time for time in seen.maps_at if time >= 0], TABLE_LIMIT),
    ):
        steps = [(after - before) % (1 << 33) for before, after in pairwise(times)]
        widest = max((step for step in steps if step < _HOLE), default=0)
        if widest > limit:
            found.append(f"{what} {widest / CLOCK:.3f} s apart, {limit / CLOCK} s allowed")
    if seen.clock_references and seen.tables_at[:1] != [-1]:
        found.append("no PAT at the beginning")
    return found
