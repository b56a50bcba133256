"""A clock that goes only when a test says so, and an event loop that skips the time in which nothing happens."""

import asyncio

from media.unit import NS_PER_S

_GRACE_S = 0.0002


class FakeClock:
    """Both readings move together, by :meth:`advance` alone."""

    def __init__(self, utc_ns: int = 1_800_000_000 * NS_PER_S) -> None:
        self._utc_ns = utc_ns
        self._monotonic_ns = NS_PER_S

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._utc_ns += round(seconds * NS_PER_S)
        self._monotonic_ns += round(seconds * NS_PER_S)

    def utc_ns(self) -> int:
        """Wall clock, Unix nanoseconds."""
        return self._utc_ns

    def monotonic_ns(self) -> int:
        """Monotonic clock, nanoseconds."""
        return self._monotonic_ns


class SkippingLoop(asyncio.SelectorEventLoop):
    """A week passes in seconds: where everything waits for a timer, and no socket has news, its time is now. Also a
    clock (media.clock.Clock)."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped_s = 0.0
        self._began_s = super().time()

    def time(self) -> float:
        """Seconds, those skipped among them."""
        return super().time() + self._skipped_s

    def utc_ns(self) -> int:
        """Wall clock, Unix nanoseconds."""
        return 1_800_000_000 * NS_PER_S + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds since the loop was made."""
        return round((self.time() - self._began_s) * NS_PER_S)

    def _run_once(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        first = min((timer.when() for timer in timers if not timer.cancelled()), default=None)
        if not self._ready and first is not None:  # type: ignore[attr-defined]
            # The loop's own pipe is always there; where there is more, news may be on its way.
            sockets = len(self._selector.get_map()) > 1  # type: ignore[attr-defined]
            if not self._selector.select(_GRACE_S if sockets else 0):  # type: ignore[attr-defined]
                self._skipped_s += max(0.0, first - self.time())
        super()._run_once()  # type: ignore[misc]
