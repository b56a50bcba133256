"""One writer, many bounded readers: a slow reader loses its own items, never the writer's time."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """How much a reader may fall behind: ``max_bytes`` of media and ``max_items`` entries."""

    max_bytes: int = 16 * 1024 * 1024
    max_items: int = 2_000


class Reader(Generic[T]):
    """One reader's queue. Owned by the fanout until taken; the reading task calls only :meth:`take` and the counters.

    On overflow everything queued is thrown away and the queue stays shut until an item on which a reader may start
    (a keyframe, say) comes by.
    """

    def __init__(self, name: str, limits: ReaderLimits, starts_here: Callable[[T], bool]) -> None:
        self.name = name
        self.overflows = 0
        self._limits = limits
        self._starts_here = starts_here
        self._items: deque[T] = deque()
        self._bytes = 0
        self._waiting_for_start = False
        self._ended = False
        self._wakeup: asyncio.Future[None] | None = None
        self._late_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def queued_bytes(self) -> int:
        """Media bytes waiting to be taken."""
        return self._bytes

    @property
    def queued_items(self) -> int:
        """Entries waiting to be taken."""
        return len(self._items)

    async def take(self, within_s: float | None = None) -> list[T]:
        """Everything queued, in order, waiting for at least one item; an empty list once the stream has ended. Raises
        TimeoutError if none comes for ``within_s`` seconds, which a reader says the same each time."""
        while not self._items:
            if self._ended:
                return []
            loop = asyncio.get_running_loop()
            self._wakeup = loop.create_future()
            self._late_at_s = math.inf if within_s is None else loop.time() + within_s
            if within_s is not None and self._timer is None:
                self._timer = loop.call_at(self._late_at_s, self._look_for_lateness, loop)
            try:
                await self._wakeup
            finally:
                self._wakeup = None
        items = list(self._items)
        self._items.clear()
        self._bytes = 0
        return items

    def _look_for_lateness(self, loop: asyncio.AbstractEventLoop) -> None:
        # One timer for many takes: to set one for each would cost more than the taking.
        self._timer = None
        if self._wakeup is None or self._wakeup.done() or self._late_at_s == math.inf:
            return
        if loop.time() < self._late_at_s:
            self._timer = loop.call_at(self._late_at_s, self._look_for_lateness, loop)
        else:
            self._wakeup.set_exception(TimeoutError())

    def offer(self, item: T, size: int) -> None:
        """Queue an item of ``size`` bytes, or drop to the next start. Called by the fanout only."""
        if self._waiting_for_start:
            if not self._starts_here(item):
                return
            self._waiting_for_start = False
        if self._bytes + size > self._limits.max_bytes or len(self._items) >= self._limits.max_items:
            self.overflows += 1
            self._items.clear()
            self._bytes = 0
            if not self._starts_here(item):
                self._waiting_for_start = True
                return
        self._items.append(item)
        self._bytes += size
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def end(self) -> None:
        """No more will come. Called by the fanout only."""
        self._ended = True
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def close(self) -> None:
        """Nobody reads here any more. Called by the fanout only."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Fanout(Generic[T]):
    """Hands each published item to every reader. Used from one event loop only; publishing never waits."""

    def __init__(self, size_of: Callable[[T], int], starts_here: Callable[[T], bool]) -> None:
        self._size_of = size_of
        self._starts_here = starts_here
        self._readers: list[Reader[T]] = []
        self._overflows_of_the_gone = 0
        self._ended = False

    @property
    def readers(self) -> tuple[Reader[T], ...]:
        """The readers now open."""
        return tuple(self._readers)

    @property
    def overflows(self) -> int:
        """How often readers have fallen behind, those that have gone with them: it never becomes less."""
        return self._overflows_of_the_gone + sum(reader.overflows for reader in self._readers)

    def publish(self, item: T) -> None:
        """Give ``item`` to every reader at once."""
        if not self._readers:
            return
        size = self._size_of(item)
        for reader in self._readers:
            reader.offer(item, size)

    @contextmanager
    def reader(self, name: str, limits: ReaderLimits | None = None) -> Iterator[Reader[T]]:
        """Open a reader that gets all that is published from now on, and before it what :meth:`catch_up` gives it."""
        reader = Reader[T](name, limits or ReaderLimits(), self._starts_here)
        if self._ended:
            reader.end()
        self._readers.append(reader)
        try:
            yield reader
        finally:
            self._readers.remove(reader)
            self._overflows_of_the_gone += reader.overflows
            reader.close()

    def catch_up(self, reader: Reader[T], backlog: Iterable[T]) -> None:
        """Give a reader that was just opened what came before it: a cached GOP, say. It is no argument of
        :meth:`reader`, which would keep it for as long as the reader is open."""
        for item in backlog:
            reader.offer(item, self._size_of(item))

    def end(self) -> None:
        """Let every reader finish what it has and stop."""
        self._ended = True
        for reader in self._readers:
            reader.end()
