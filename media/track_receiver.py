"""One track's RTP: sequence numbers, loss, reports, and what its packets make up."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from media.rtcp import ReceptionReport, SenderReport
from media.rtp import MAX_DROPOUT, MAX_MISORDER, PLAIN_HEADER, ReorderBuffer, payload_bounds, signed_delta16
from media.timeline import TrackTimeline
from media.unit import NS_PER_S, Gap, GapCause, StreamItem, Track

HOLE_NS: Final = 2 * NS_PER_S
"""Time without media that is put on record although no packet is missing."""

TOLD_AGAIN_NS: Final = 5 * NS_PER_S
"""Where a medium stays away, what is missing is told in stretches of this length."""

_ADOPT_AFTER: Final = 25


@dataclass(slots=True)
class TrackCounters:
    """What one track has seen since the session began. Times in nanoseconds."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    malformed: int = 0
    units: int = 0
    damaged_units: int = 0
    clock_jumps: int = 0
    jitter_ns: int = 0
    clock_offset_ns: int | None = None
    """Camera's wall clock minus ours; ``None`` before its first RTCP sender report."""


class Unstamped:
    """A unit, or a damaged one (empty ``data``), that has no place on the timeline yet.

    ``packets`` are missing before it; ``gap`` is the cause of that.
    """

    __slots__ = ("data", "duration", "gap", "keyframe", "packets", "ticks", "track")

    def __init__(
        self,
        ticks: int,
        data: bytes,
        keyframe: bool,
        duration: int,
        track: Track,
        gap: GapCause | None,
        packets: int,
    ) -> None:
        self.ticks = ticks
        self.data = data
        self.keyframe = keyframe
        self.duration = duration
        self.track = track
        self.gap = gap
        self.packets = packets


class TrackReceiver(ABC):
    """What sound and picture have in common. Owned by one StreamReceiver."""

    def __init__(
        self, kind: str, payload_type: int, clock_rate: int, timeline: TrackTimeline, *, reorder: bool
    ) -> None:
        self.counters = TrackCounters()
        self.timeline = timeline
        self._kind = kind
        self._rate = clock_rate
        self._plain = payload_type
        self._marked = payload_type | 0x80
        self._reorder = ReorderBuffer() if reorder else None
        self._ssrc = -1
        self._candidate: tuple[int, int] | None = None
        self._first_packet = b""
        self._first_arrival_ns = 0
        self._strangers = 0
        self._expected = -1
        self._cycles = 0
        self._first_extended = 0
        self._received_before = 0
        self._reported_expected = 0
        self._reported_received = 0
        self._last_report: SenderReport | None = None
        self._last_report_ns = 0
        self._delay_ns: int | None = None
        self._lost_now = 0
        self._gap: GapCause | None = None
        self._last_end_ns: int | None = None
        self._units_seen = -1
        self._seen_utc_ns = 0
        self.out: list[Unstamped] = []

    @property
    @abstractmethod
    def track(self) -> Track | None:
        """The track, as far as it is known."""

    @property
    def newest_utc_ns(self) -> int | None:
        """How far the track's media has come, gaps told included; ``None`` before its first unit."""
        return self._last_end_ns

    def silent_until(self, utc_ns: int, *, at_end: bool) -> Gap | None:
        """What is missing where nothing has come for a while up to ``utc_ns``, and others went on; the next unit tells
        the rest, or, ``at_end`` of the session, this. Sound that has never come may be none at all, but a picture is
        due from the session's beginning."""
        # What lags behind the others, and comes all the same, is not missing.
        if self._units_seen != self.counters.units:
            self._units_seen, self._seen_utc_ns = self.counters.units, utc_ns
        if utc_ns - self._seen_utc_ns <= HOLE_NS and not at_end:
            return None
        start = self._last_end_ns
        if start is None and self._kind == "video":
            start = self.timeline.session.begun_utc_ns
        least_ns = HOLE_NS
        if self._gap is GapCause.SILENT:
            least_ns = 0 if at_end else TOLD_AGAIN_NS
        if start is None or utc_ns - start <= least_ns:
            return None
        self._last_end_ns = utc_ns
        self._gap = self._gap or GapCause.SILENT
        return Gap(start, utc_ns, GapCause.SILENT, 0, self._kind)

    @abstractmethod
    def _payload(self, data: bytes, start: int, end: int, marker: bool, timestamp: int, arrival_ns: int) -> None:
        """Take the next payload in order, ``data[start:end]``; what it completes goes to :attr:`out`."""

    @abstractmethod
    def _lose(self) -> None:
        """Packets are missing before the next payload."""

    @abstractmethod
    def _restart_clock(self) -> None:
        """Another source, with timestamps of its own, begins."""

    @abstractmethod
    def ticks_at(self, timestamp: int) -> int | None:
        """The unwrapped ticks of an RTP timestamp."""

    @abstractmethod
    def finish(self) -> None:
        """The session ends: what is complete goes to :attr:`out`."""

    def rtp(self, data: bytes, start: int, end: int, arrival_ns: int) -> None:
        """Take one packet, ``data[start:end]``; what it completes goes to :attr:`out`."""
        counters = self.counters
        if end - start >= 12 and data[start] == PLAIN_HEADER:
            body, stop = start + 12, end
        elif (bounds := payload_bounds(data, start, end)) is not None:
            body, stop = bounds
        else:
            counters.malformed += 1
            return
        second = data[start + 1]
        sequence = data[start + 2] << 8 | data[start + 3]
        timestamp = data[start + 4] << 24 | data[start + 5] << 16 | data[start + 6] << 8 | data[start + 7]
        ssrc = data[start + 8] << 24 | data[start + 9] << 16 | data[start + 10] << 8 | data[start + 11]
        if second != self._plain and second != self._marked and not self._adopt_payload_type(second):
            return
        if sequence != self._expected or ssrc != self._ssrc:
            if not self._out_of_order(data[start:end], sequence, ssrc, arrival_ns):
                return
        self._expected = expected = (sequence + 1) & 0xFFFF
        if expected == 0:
            self._cycles += 0x10000
        counters.packets += 1
        counters.bytes += stop - start
        self._payload(data, body, stop, second >= 0x80, timestamp, arrival_ns)
        # In so many words: of an object that may be None, a compiled "if" asks only whether it is there.
        if self._reorder is not None and len(self._reorder):
            self._drain(arrival_ns)

    def _count(self, packets: int, size: int) -> None:
        """So many packets in order, of so many octets in all, have been taken at once."""
        self.counters.packets += packets
        self.counters.bytes += size
        expected = self._expected + packets
        if expected > 0xFFFF:
            self._cycles += 0x10000
        self._expected = expected & 0xFFFF

    def _adopt_payload_type(self, second: int) -> bool:
        """Some cameras number their payload otherwise than they described it; comfort noise and the like is rare."""
        self.counters.malformed += 1
        if self._ssrc != -1:
            return False
        self._strangers += 1
        if self._strangers < _ADOPT_AFTER:
            return False
        self._plain = second & 0x7F
        self._marked = self._plain | 0x80
        return True

    def _out_of_order(self, packet: bytes, sequence: int, ssrc: int, arrival_ns: int) -> bool:
        """A packet that is not the expected one. True if it is to be taken now."""
        if ssrc != self._ssrc:
            return self._change_source(packet, sequence, ssrc, arrival_ns)
        ahead = signed_delta16(sequence, self._expected)
        if -MAX_MISORDER <= ahead < 0:
            self.counters.duplicated += 1
            return False
        if not 0 < ahead <= MAX_DROPOUT:
            # RFC 3550 A.1: a restart is believed when the next packet confirms it, at once on a reliable transport.
            if self._reorder is None:
                self._begin(sequence, ssrc)
                self._missing(1)
                return True
            if self._candidate != (ssrc, sequence):
                self._suppose(packet, sequence, ssrc, arrival_ns)
                return False
            self._missing(1)
            self._begin_with_supposed(sequence, ssrc)
            return True
        if self._reorder is None:
            self._missing(ahead)
            self._skip_to(sequence)
            return True
        if not self._reorder.insert(sequence, packet, arrival_ns):
            self.counters.duplicated += 1
        elif self._reorder.overdue(arrival_ns):
            self._release()
        return False

    def _change_source(self, packet: bytes, sequence: int, ssrc: int, arrival_ns: int) -> bool:
        """The first source, or another: the latter is believed at its second packet in a row."""
        if self._ssrc == -1:
            self._begin(sequence, ssrc)
            return True
        if self._candidate != (ssrc, sequence):
            self._suppose(packet, sequence, ssrc, arrival_ns)
            self.counters.malformed += 1
            return False
        self.counters.malformed -= 1
        self._restart_clock()
        self._last_report = None
        self._missing(1)
        self._begin_with_supposed(sequence, ssrc)
        return True

    def _suppose(self, packet: bytes, sequence: int, ssrc: int, arrival_ns: int) -> None:
        """Perhaps something new begins with this packet; the next one tells."""
        self._candidate = (ssrc, (sequence + 1) & 0xFFFF)
        self._first_packet, self._first_arrival_ns = packet, arrival_ns

    def _begin_with_supposed(self, sequence: int, ssrc: int) -> None:
        """It did begin: what it began with may be what all the rest builds on."""
        self._begin((sequence - 1) & 0xFFFF, ssrc)
        first, self._first_packet = self._first_packet, b""
        self.rtp(first, 0, len(first), self._first_arrival_ns)

    def _begin(self, sequence: int, ssrc: int) -> None:
        self._ssrc = ssrc
        self._candidate = None
        self._expected = sequence
        self._cycles = 0
        self._first_extended = sequence
        self._reported_expected = self._reported_received = 0
        self._received_before = self.counters.packets
        if self._reorder is not None:
            self._reorder.clear()

    def _missing(self, packets: int) -> None:
        self.counters.lost += packets
        self._lost_now += packets
        self._gap = self._gap or GapCause.PACKETS_LOST
        self._lose()

    def _skip_to(self, sequence: int) -> None:
        if sequence < self._expected:
            self._cycles += 0x10000
        self._expected = sequence

    def _release(self) -> None:
        """Give up waiting: go on with the first packet that is there."""
        assert self._reorder is not None
        sequence = self._reorder.next_after(self._expected)
        self._missing(signed_delta16(sequence, self._expected))
        self._skip_to(sequence)
        self._take_waiting()

    def _drain(self, arrival_ns: int) -> None:
        assert self._reorder is not None
        self.counters.reordered += self._take_waiting()
        if len(self._reorder) and self._reorder.overdue(arrival_ns):
            self._release()

    def _take_waiting(self) -> int:
        """Take all waiting packets that are now due, without recursion."""
        reorder, self._reorder = self._reorder, None
        assert reorder is not None
        taken = 0
        while (waiting := reorder.take(self._expected)) is not None:
            packet, arrival_ns = waiting
            self.rtp(packet, 0, len(packet), arrival_ns)
            taken += 1
        self._reorder = reorder
        return taken

    def release_all(self) -> None:
        """The session ends: packets that wait for those before them wait no longer."""
        while self._reorder is not None and len(self._reorder):
            self._release()

    def sender_report(self, report: SenderReport, arrival_ns: int) -> None:
        """Take a sender report of this track's source."""
        if self._ssrc not in (-1, report.ssrc):
            return
        self._last_report, self._last_report_ns = report, arrival_ns
        ticks = self.ticks_at(report.rtp_timestamp)
        if ticks is not None and report.utc_ns:
            self.timeline.sender_report(report.utc_ns, ticks)

    def reception_report(self, now_ns: int) -> ReceptionReport | None:
        """What a receiver report says about this track (RFC 3550, A.3); ``None`` before the first packet."""
        if self._ssrc == -1:
            return None
        highest = self._cycles + ((self._expected - 1) & 0xFFFF) - (0x10000 if self._expected == 0 else 0)
        expected = max(0, highest - self._first_extended + 1)
        received = self.counters.packets - self._received_before
        expected_now = expected - self._reported_expected
        lost_now = expected_now - (received - self._reported_received)
        self._reported_expected, self._reported_received = expected, received
        fraction = min(255, (lost_now << 8) // expected_now) if expected_now > 0 and lost_now > 0 else 0
        last_sr = delay = 0
        if self._last_report is not None:
            last_sr = self._last_report.ntp_middle
            delay = max(0, now_ns - self._last_report_ns) * 65536 // NS_PER_S
        jitter = self.counters.jitter_ns * self._rate // NS_PER_S
        return ReceptionReport(self._ssrc, fraction, expected - received, highest, jitter, last_sr, delay)

    def _observe(self, ticks: int, arrival_ns: int) -> None:
        """Arrival of a unit, for the timeline and the jitter (RFC 3550, 6.4.1, taken once a unit)."""
        self.timeline.observe(ticks, arrival_ns)
        delay = arrival_ns - ticks * NS_PER_S // self._rate
        if self._delay_ns is not None:
            self.counters.jitter_ns += (abs(delay - self._delay_ns) - self.counters.jitter_ns) >> 4
        self._delay_ns = delay

    def _jump(self) -> None:
        """RTP time was not believed."""
        self.counters.clock_jumps += 1
        self.timeline.forget_reports()
        self._gap = GapCause.CLOCK_JUMP

    def _first_observed(self, started: bool) -> None:
        """A report that came before the first unit can be used now."""
        if not started and self._last_report is not None:
            self.sender_report(self._last_report, self._last_report_ns)

    def _emit(self, ticks: int, data: bytes, keyframe: bool, duration: int, track: Track) -> None:
        self.out.append(Unstamped(ticks, data, keyframe, duration, track, self._gap, self._lost_now))
        self._gap = None
        self._lost_now = 0

    @abstractmethod
    def stamp(self, unit: Unstamped, origin_ns: int, epoch: int, after_ns: int) -> Sequence[StreamItem]:
        """Give the unit its place on the timeline; before it, what is missing."""

    def _place(self, unit: Unstamped, origin_ns: int) -> tuple[int, int]:
        """(pts on the RTP clock's rate, its UTC). Notes on the unit whether the timeline steps before it."""
        if not self.timeline.anchored:
            self.timeline.anchor()
        elif self.timeline.step():
            self.counters.clock_jumps += 1
            unit.gap = unit.gap or GapCause.CLOCK_JUMP
        pts = self.timeline.pts(unit.ticks)
        return pts, origin_ns + pts * NS_PER_S // self._rate

    def _gap_before(self, unit: Unstamped, utc_ns: int) -> Gap | None:
        cause = unit.gap
        start = self._last_end_ns
        if start is None:
            return self._late_beginning(utc_ns)
        if cause is None:
            if utc_ns - start <= HOLE_NS:
                return None
            cause = GapCause.SILENT
        elif cause is GapCause.SILENT and utc_ns <= start:
            return None
        return Gap(start, max(start, utc_ns), cause, unit.packets, self._kind)

    def _late_beginning(self, utc_ns: int) -> Gap | None:
        """What is missing before the track's first unit: a keyframe may be long in coming."""
        session = self.timeline.session
        begun = session.begun_utc_ns
        if begun is None:
            session.begun_utc_ns = utc_ns
        elif self._kind == "video" and utc_ns - begun > HOLE_NS:
            return Gap(begun, utc_ns, GapCause.SILENT, 0, self._kind)
        return None
