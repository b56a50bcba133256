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
