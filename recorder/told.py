"""What the log says already: a fault that lasts, or comes and goes, is one line of it and not a thousand."""

from media.clock import Clock
from media.unit import NS_PER_S

CALM_S = 60.0
"""What is over for so many seconds and comes again is news again; before, it is the same fault that flickers."""


class Told:
    """The faults that were met of late. Ask at each meeting: how long a fault is over is counted from the last."""

    def __init__(self, clock: Clock, calm_s: float = CALM_S) -> None:
        self._clock = clock
        self._calm_ns = round(calm_s * NS_PER_S)
        self._met_ns: dict[str, int] = {}

    def is_news(self, fault: str) -> bool:
        """Whether the log does not say so yet."""
        now_ns = self._clock.monotonic_ns()
        before_ns = self._met_ns.get(fault)
        self._met_ns[fault] = now_ns
        return before_ns is None or now_ns - before_ns >= self._calm_ns
