"""Bounds on how often somebody does something."""

from collections import OrderedDict, deque

from media.clock import Clock
from media.unit import NS_PER_S


class Counted:
    """How often each did something within a span of time. Bounded; who was quiet longest is forgotten first."""

    def __init__(self, clock: Clock, span_s: int, most: int = 10_000) -> None:
        self._clock = clock
        self._span_ns = span_s * NS_PER_S
        self._most = most
        self._times: OrderedDict[str, deque[int]] = OrderedDict()

    def add(self, who: str) -> None:
        """It was done once more."""
        self._times.setdefault(who, deque(maxlen=1000)).append(self._clock.monotonic_ns())
        self._times.move_to_end(who)
        while len(self._times) > self._most:
            self._times.popitem(last=False)

    def count(self, who: str) -> int:
        """How often within the span."""
        times = self._times.get(who)
        if times is None:
            return 0
        limit = self._clock.monotonic_ns() - self._span_ns
        while times and times[0] <= limit:
            times.popleft()
        return len(times)

    def wait_s(self, who: str) -> int:
        """Seconds until the oldest no longer counts."""
        times = self._times.get(who)
        if not times:
            return 0
        return (times[0] + self._span_ns - self._clock.monotonic_ns()) // NS_PER_S + 1
