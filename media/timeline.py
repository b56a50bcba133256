"""From RTP ticks to the stream's timeline, which follows the wall clock.

Per track, RTP timestamps are unwrapped to ticks that never jump (:class:`TickCounter`). Ticks become pts by an offset
that is slewed, never stepped, towards where the wall clock says it should be (:class:`TrackTimeline`):

* RTCP sender reports say which ticks of sound and picture belong together, and when that was by the camera's clock.
* If the camera's clock agrees with ours to within a second it is believed; if not (a year off, say) our clock wins and
  the difference is reported.
* Without usable reports the arrival of packets decides. A packet can come late but never early, so the earliest
  arrivals count.

All of a session's tracks share one :class:`SessionClock`, so that sound and picture stay aligned even by a camera clock
that is wrong.
"""

from collections import deque
from typing import Final

from media.rtp import signed_delta32
from media.unit import NS_PER_S

CREDIBLE_OFFSET_NS: Final = NS_PER_S
"""A camera's wall clock is believed up to this distance from ours."""

JUMP_NS: Final = 2 * NS_PER_S
"""RTP time that runs ahead of arrival by more than this at once has jumped."""

BACKWARD_NS: Final = NS_PER_S
"""RTP time that goes back by more than this has jumped; less may be pictures in decoding order."""

STANDSTILL_NS: Final = NS_PER_S // 2
"""RTP time that shows the same for this long while pictures come has stopped."""

ODD_NS: Final = NS_PER_S // 2
"""RTP time of sound that is this far from arrival, and goes otherwise than the sound lasts, is not believed."""

STEP_NS: Final = 3 * NS_PER_S
"""Media that comes later than it should by more than this for a whole window is moved at once, on record."""

_BUCKET_NS: Final = 5 * NS_PER_S
_BUCKETS: Final = 6
_DEAD_BAND_NS: Final = 15_000_000
_SLEWED_NS: Final = 2_000_000
_SLEW_DIVISOR: Final = 256
_FAST_SLEW_DIVISOR: Final = 32
_FAST_SLEW_NS: Final = 60_000_000
_MAX_BEHIND: Final = 17
_ODD_UNITS: Final = 5
_CONTRADICTIONS: Final = 4
_REPORT_TOLERANCE_NS: Final = NS_PER_S
_SEPARATE_NS: Final = 60_000_000


Ticks = tuple[int, bool]
"""Unwrapped RTP time, and whether the camera's RTP clock was not believed."""


class TickCounter:
    """Unwraps one track's RTP timestamps and bridges what no clock does by the time that really passed.

    ``decoding_order`` allows small steps back: pictures come in decoding order, with timestamps of presentation.
    """

    def __init__(self, clock_rate: int, *, decoding_order: bool) -> None:
        self._rate = clock_rate
        self._backward = -(clock_rate * BACKWARD_NS // NS_PER_S) if decoding_order else 0
        self._max_behind = _MAX_BEHIND if decoding_order else 0
        self._started = False
        self._restarted = False
        self._timestamp = 0
        self._value = 0
        self._newest = 0
        self._behind = 0
        self._arrival_ns = 0
        self._changed_ns = 0
        self._lead_ns = 0
        self._standing = False
        self._repeats = 0
        # Of units in a row whose time goes otherwise than they last, evenly: by what, how many, how far from arrival.
        self._odd_delta = 0
        self._odd_units = 0
        self._odd_ns = 0
        self._counting = False

    @property
    def started(self) -> bool:
        """Whether a first timestamp has come."""
        return self._started

    def ticks_at(self, timestamp: int) -> int | None:
        """The unwrapped value of a timestamp near the newest one; ``None`` before the first packet, and where the
        camera's timestamps mean nothing."""
        if not self._started or self._counting:
            return None
        return self._value + signed_delta32(timestamp, self._timestamp)

    def restart(self) -> None:
        """A new source with a clock of its own begins: bridge to its first timestamp by arrival."""
        self._restarted = self._started

    def advance(self, timestamp: int, arrival_ns: int, due: int = 0) -> Ticks:
        """Take the timestamp of the next unit, whose first packet came at ``arrival_ns``. ``due``: how many ticks after
        the one before it should be, by what that one lasts; 0 if nothing says so."""
        if not self._started:
            self._started = True
            self._timestamp, self._arrival_ns, self._changed_ns = timestamp, arrival_ns, arrival_ns
            return 0, False
        delta = signed_delta32(timestamp, self._timestamp)
        elapsed_ns = arrival_ns - self._arrival_ns
        self._arrival_ns = arrival_ns
        self._timestamp = timestamp
        if self._restarted:
            self._restarted = self._counting = False
            self._odd_units = 0
            return self._bridge(elapsed_ns)
        if due:
            if self._counting:
                self._value = self._newest = self._newest + due
                return self._value, False
            if delta == due:
                self._odd_units = 0
            elif self._is_odd(delta, due, elapsed_ns):
                return self._count(delta, due)
        if delta == 0:
            return self._repeated(elapsed_ns)
        self._changed_ns, self._repeats, self._standing = arrival_ns, 0, False
        # How far this medium has run ahead of real time since its beginning; less than zero after a stall.
        lead_ns = self._lead_ns + delta * NS_PER_S // self._rate - elapsed_ns
        if delta < self._backward or lead_ns - max(self._lead_ns, 0) > JUMP_NS:
            return self._bridge(elapsed_ns)
        value = self._value + delta
        if value <= self._newest:
            self._behind += 1
            if self._behind > self._max_behind:
                return self._bridge(elapsed_ns)
        else:
            self._newest = value
            self._behind = 0
        self._value = value
        self._lead_ns = lead_ns
        return value, False

    def _is_odd(self, delta: int, due: int, elapsed_ns: int) -> bool:
        """Whether timestamps have gone otherwise than sound lasts, evenly, and far from arrival: not so where sound is
        left out, and the timestamps tell of it."""
        way = 1 if 4 * delta > 5 * due else -1 if 5 * delta < 4 * due else 0
        if way == 0 or self._odd_units == 0 or abs(delta - self._odd_delta) > 2:
            self._odd_delta, self._odd_units, self._odd_ns = delta, 0, 0
        if way == 0:
            return False
        self._odd_units += 1
        self._odd_ns += delta * NS_PER_S // self._rate - elapsed_ns
        return self._odd_units >= _ODD_UNITS and self._odd_ns * way > ODD_NS

    def _count(self, delta: int, due: int) -> Ticks:
        """From now on the sound's own length is its clock: some cameras stamp it in the picture's ticks, or not at
        all."""
        self._counting = True
        late = 0 if self._standing else -self._odd_ns * self._rate // NS_PER_S
        self._value = self._newest = max(self._newest + due, self._value + delta + late if late > 0 else 0)
        return self._value, True

    def _repeated(self, elapsed_ns: int) -> Ticks:
        """The same timestamp again, for another unit. A clock that stands is replaced by the time that passes."""
        self._repeats += 1
        self._lead_ns -= elapsed_ns
        if self._standing:
            return self._bridge(elapsed_ns)[0], False
        if self._repeats >= 3 and self._arrival_ns - self._changed_ns > STANDSTILL_NS:
            self._standing = True
            return self._bridge(self._arrival_ns - self._changed_ns)
        return self._value, False

    def _bridge(self, elapsed_ns: int) -> Ticks:
        ticks = max(1, elapsed_ns * self._rate // NS_PER_S)
        self._value = max(self._newest, self._value) + ticks
        self._newest = self._value
        self._behind = 0
        self._lead_ns = 0
        return self._value, True


class SessionClock:
    """A camera's wall clock against ours, from all tracks' sender reports. All in nanoseconds.

    Each track tells its *camera delay*: the least (arrival by our clock - time by the camera's clock) it has seen.
    """

    def __init__(self) -> None:
        self.begun_utc_ns: int | None = None
        """Wall clock of the session's first unit of any track; ``None`` before it."""
        self._delays: dict[int, int] = {}
        self._begun: dict[int, int] = {}
        self._credible: set[int] = set()
        self._separate = False

    def credible(self, track: int) -> bool:
        """Whether this track's reports are believed as they are."""
        return track in self._credible

    def report(self, track: int, delay_ns: int | None, *, settled: bool = False) -> None:
        """A track's newest camera delay, or ``None`` where it has no usable sender report, or one that does not go on
        from those before. ``settled``: it was seen for long enough to be told from chance."""
        if delay_ns is None:
            self._delays.pop(track, None)
            self._begun.pop(track, None)
            return
        self._delays[track] = delay_ns
        if settled:
            self._begun.setdefault(track, delay_ns)

    def correction_ns(self, track: int) -> int | None:
        """What to add to the camera's time to get ours; ``None`` if this track's reports cannot be used."""
        own = self._delays.get(track)
        if own is None:
            return None
        # One clock for all tracks that agreed on what it shows: then sound and picture stay together. Where they did
        # not agree, the camera has a clock for each and only arrival relates them.
        begun = self._begun.get(track, own)
        agreed = [
            (delay, self._begun.get(other, delay))
            for other, delay in self._delays.items()
            if abs(self._begun.get(other, delay) - begun) <= _REPORT_TOLERANCE_NS
        ]
        # So it has where they agreed at first and drift apart: then the delays of each change by another amount. From
        # then on arrival keeps each where it was with the others, and for good: going back and forth would shake time.
        self._separate = self._separate or any(
            abs(delay - first - (own - begun)) > _SEPARATE_NS for delay, first in agreed
        )
        least = min(first for _, first in agreed) if self._separate else min(delay for delay, _ in agreed)
        drift = own - begun if self._separate else 0
        # A little later to disbelieve than to believe, so that a clock at the limit does not go back and forth.
        limit = CREDIBLE_OFFSET_NS * 3 // 2 if track in self._credible else CREDIBLE_OFFSET_NS
        if abs(least) <= limit:
            self._credible.add(track)
            return drift
        self._credible.discard(track)
        return least + drift


class TrackTimeline:
    """Maps one track's ticks to pts in ticks of the same rate, counted from the stream's origin."""

    def __init__(self, number: int, clock_rate: int, session: SessionClock, origin_utc_ns: int) -> None:
        self.session = session
        self._number = number
        self._rate = clock_rate
        self._origin_ns = origin_utc_ns
        self._report: int | None = None
        self._unconfirmed: int | None = None
        self._contradictions = 0
        self._bucket_min: int | None = None
        self._bucket_end_ns = 0
        self._minima: deque[int] = deque(maxlen=_BUCKETS)
        self._offset: int | None = None
        self._target = 0
        self._slewing = False
        self._late = False
        self._last_ticks = 0

    @property
    def anchored(self) -> bool:
        """Whether pts are being given out."""
        return self._offset is not None

    @property
    def synchronized(self) -> bool:
        """Whether the camera's own clock says when this track's media was taken."""
        return self._report is not None and self.session.credible(self._number)

    @property
    def camera_offset_ns(self) -> int | None:
        """The camera's wall clock minus ours."""
        if self._report is None or (delay := self._delay_ns()) is None:
            return None
        return self._report - delay

    def sender_report(self, camera_utc_ns: int, ticks: int) -> None:
        """The camera's clock showed ``camera_utc_ns`` at ``ticks``.

        A report that contradicts the one before by more than a second is used only when a second one confirms it; where
        each contradicts all others, the clock stands or means nothing, and none is used any more.
        """
        if self._contradictions >= _CONTRADICTIONS:
            return
        report = camera_utc_ns - ticks * NS_PER_S // self._rate
        if self._report is not None and abs(report - self._report) > _REPORT_TOLERANCE_NS:
            if self._unconfirmed is None or abs(report - self._unconfirmed) > _REPORT_TOLERANCE_NS:
                self._unconfirmed = report
                self._contradictions += 1
                if self._contradictions >= _CONTRADICTIONS:
                    self.forget_reports()
                    self._retarget()
                return
            self.session.report(self._number, None)
        self._report, self._unconfirmed = report, None
        self._contradictions = 0
        self._retarget()

    def forget_reports(self) -> None:
        """RTP time has jumped: what the reports before said does not hold any more."""
        self._report = self._unconfirmed = None
        self.session.report(self._number, None)

    def observe(self, ticks: int, arrival_ns: int) -> None:
        """A unit of ``ticks`` began to arrive at ``arrival_ns``."""
        delay = arrival_ns - ticks * NS_PER_S // self._rate
        if self._bucket_min is None:
            self._bucket_end_ns = arrival_ns + _BUCKET_NS
            self._bucket_min = delay
            return
        if delay < self._bucket_min:
            self._bucket_min = delay
        if arrival_ns >= self._bucket_end_ns:
            self._minima.append(self._bucket_min)
            self._bucket_min = delay
            self._bucket_end_ns = arrival_ns + _BUCKET_NS
            self._retarget()

    def anchor(self) -> None:
        """Fix where ticks lie on the timeline, by all that is known now. Needs one observation."""
        self._retarget()
        self._offset = self._target

    def pts(self, ticks: int) -> int:
        """The place of ``ticks`` on the timeline. Slews by 1/256 of the time that passed, by 1/32 while sound and
        picture may be so far apart that a person notices (60 ms)."""
        offset = self._offset
        if offset is None:
            raise RuntimeError("the track is not anchored yet")
        if self._slewing and (passed := ticks - self._last_ticks) > 0:
            error = self._target - offset
            far = abs(error) * NS_PER_S > _FAST_SLEW_NS * self._rate
            most = max(1, passed // (_FAST_SLEW_DIVISOR if far else _SLEW_DIVISOR))
            offset += max(-most, min(most, error))
            self._offset = offset
            if abs(self._target - offset) * NS_PER_S < _SLEWED_NS * self._rate:
                self._slewing = False
        self._last_ticks = ticks
        return ticks + offset

    def step(self) -> bool:
        """Move on at once if media has come too late for a whole window, by more than should be slewed.

        True if it did: then something is missing, or the camera's RTP clock has stood still.
        """
        if not self._late:
            return False
        self._offset = self._target
        self._slewing = self._late = False
        return True

    def _delay_ns(self) -> int | None:
        if self._bucket_min is None:
            return min(self._minima) if self._minima else None
        return min(self._bucket_min, *self._minima) if self._minima else self._bucket_min

    def _retarget(self) -> None:
        delay = self._delay_ns()
        if delay is None:
            return
        utc_at_zero = delay
        if self._report is not None:
            settled = len(self._minima) == _BUCKETS
            self.session.report(self._number, delay - self._report, settled=settled)
            correction = self.session.correction_ns(self._number)
            if correction is not None:
                utc_at_zero = self._report + correction
        self._target = (utc_at_zero - self._origin_ns) * self._rate // NS_PER_S
        if self._offset is not None:
            error_ns = (self._target - self._offset) * NS_PER_S // self._rate
            self._slewing = self._slewing or abs(error_ns) > _DEAD_BAND_NS
            self._late = error_ns > STEP_NS
