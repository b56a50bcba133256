"""A clock that goes only when a test says so."""

from media.unit import NS_PER_S


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
