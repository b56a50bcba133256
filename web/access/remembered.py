"""What the database said of a token, remembered for a few seconds."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from media.clock import Clock
from media.unit import NS_PER_S

T = TypeVar("T")

_MOST = 10_000
_TRIES = 3


class Remembered(Generic[T]):
    """Answers by key, the oldest dropped beyond 10,000. Used from one event loop.

    Whoever forgets does so when the change is committed. An answer that was on its way meanwhile may be of before it:
    it is asked for once more, and never remembered.
    """

    def __init__(self, clock: Clock, for_s: float) -> None:
        self._clock = clock
        self._for_ns = int(for_s * NS_PER_S)
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._changes = 0

    def find(self, key: str) -> T | None:
        """What is remembered; None if that is nothing, or of too long ago."""
        kept = self._kept.get(key)
        if kept is None or self._clock.monotonic_ns() - kept[1] > self._for_ns:
            return None
        return kept[0]

    async def ask(self, key: str, question: Callable[[], Awaitable[T | None]]) -> T | None:
        """The answer to ``question``, remembered unless it is None. Raises what ``question`` raises."""
        found: T | None = None
        for _ in range(_TRIES):
            changes, asked_ns = self._changes, self._clock.monotonic_ns()
            found = await question()
            if found is None:
                self._kept.pop(key, None)
                return None
            if changes == self._changes:
                self._keep(key, found, asked_ns)
                return found
        return found

    def _keep(self, key: str, found: T, asked_ns: int) -> None:
        self._kept[key] = (found, asked_ns)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def forget(self, key: str) -> None:
        """The answer has changed."""
        self._changes += 1
        self._kept.pop(key, None)

    def forget_where(self, changed: Callable[[T], bool]) -> None:
        """All answers that ``changed`` says so of have."""
        self._changes += 1
        for key in [key for key, (found, _) in self._kept.items() if changed(found)]:
            del self._kept[key]
