"""Reads a transport stream packet by packet and checks what ISO/IEC 13818-1 demands of every multiplexer."""

from dataclasses import dataclass, field


@dataclass
class Seen:
    """What a transport stream holds. ``problems`` is empty for a good one."""

    problems: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    clock_references: list[int] = field(default_factory=list)
    tables_at: list[int] = field(default_factory=list)
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
        if pid == 0:
            seen.tables_at.append(seen.clock_references[-1] if seen.clock_references else -1)
    return seen
