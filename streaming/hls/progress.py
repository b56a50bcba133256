"""Waiting for state: a condition that is looked at again after each change, so no wake-up can be missed."""

import asyncio
from collections.abc import Callable


class Progress:
    """Used from one event loop. Whoever changes the state calls :meth:`advance`; others wait for a predicate on it."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def advance(self) -> None:
        """The state has changed."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, predicate: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until ``predicate`` holds; False if it did not within ``timeout_s`` seconds."""
        if predicate():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                while not predicate():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters[waiter] = None
                    try:
                        await waiter
                    finally:
                        # Who gives up while nothing changes, a camera that is away for days, must leave nothing behind.
                        self._waiters.pop(waiter, None)
        except TimeoutError:
            return False
        return True
