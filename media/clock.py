"""Time as a dependency: every class that needs a clock is handed one, so tests own time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of now. Neither blocks."""

    def utc_ns(self) -> int:
        """Wall clock, Unix nanoseconds."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never steps, nanoseconds from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clocks."""

    def utc_ns(self) -> int:
        """Wall clock, Unix nanoseconds."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """The machine's monotonic clock, nanoseconds."""
        return time.monotonic_ns()


def uptime_ns() -> int:
    """For how long this machine has been up, asleep or not, nanoseconds (clock_gettime(2), ``CLOCK_BOOTTIME``). Where
    it does not say, what its monotonic clock shows: that counts from the start nearly everywhere."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()
