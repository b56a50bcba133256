"""Waiting for state: a condition that is looked at again after each change, so no wake-up can be missed."""

import asyncio
from collections.abc import Callable


class Progress:
    """Used from one event loop. Whoever changes the state calls :meth:`advance`; others wait for a predicate on it."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def advance(self) -> None:
        """The state has changed. Wakes those for whom it is now as they want it."""
        for waiter, predicate in tuple(self._waiters.items()):
            try:
                holds = predicate()
            except Exception:  # noqa: BLE001 - it looks again itself, and the fault is its own, not ours
                holds = True
            if holds and not waiter.done():
                waiter.set_result(None)

    async def until(self, predicate: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until ``predicate`` holds; False if it did not within ``timeout_s`` seconds."""
        if predicate():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                while not predicate():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters[waiter] = predicate
                    try:
                        await waiter
                    finally:
                        # Who gives up while nothing changes, a camera that is away for days, must leave nothing behind.
                        self._waiters.pop(waiter, None)
        except TimeoutError:
            return False
        return True
