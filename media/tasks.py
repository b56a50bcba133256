"""Tasks that last as long as their service: a fault of ours must not end one in silence."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from media.clock import Clock
from media.unit import NS_PER_S

_log = logging.getLogger(__name__)

_MAX_KINDS = 200
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
"""What fails is cheap to begin anew, and what it is there for should not wait."""


class Failures:
    """What has failed of late and was started anew. Owned by one event loop.

    A failure of the same kind is logged once in ``memory_s`` seconds, with its traceback; :attr:`recent` holds as long.
    """

    def __init__(self, clock: Clock, memory_s: float = 3600.0) -> None:
        self._clock = clock
        self._memory_ns = int(memory_s * NS_PER_S)
        self._seen: dict[tuple[str, str], int] = {}
        self.count = 0

    @property
    def recent(self) -> bool:
        """Whether something failed within ``memory_s``."""
        now_ns = self._clock.monotonic_ns()
        return any(now_ns - seen_ns < self._memory_ns for seen_ns in self._seen.values())

    def note(self, name: str, error: BaseException, detail: str = "") -> None:
        """``name`` failed. ``detail`` (which one of many) is for the log."""
        self.count += 1
        now_ns = self._clock.monotonic_ns()
        kind = (name, type(error).__name__)
        seen_ns = self._seen.pop(kind, None)
        if seen_ns is None or now_ns - seen_ns >= self._memory_ns:
            _log.error("%s failed and is started anew %s", name, detail, exc_info=error)
        self._seen[kind] = now_ns
        if len(self._seen) > _MAX_KINDS:
            del self._seen[next(iter(self._seen))]


async def lasting(name: str, work: Callable[[], Awaitable[None]], failures: Failures) -> None:
    """Run ``work`` until it ends by itself or is cancelled; on any exception, note it and begin again, after pauses
    that double up to some seconds while it works no longer than it had rested."""
    loop = asyncio.get_running_loop()
    pause_s, begun_s = 0.0, loop.time()
    while True:
        try:
            # Within: nothing here may end without being noted.
            await asyncio.sleep(pause_s)
            begun_s = loop.time()
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it was, the service needs this task
            failures.note(name, error)
        else:
            return
        pause_s = pause_after(pause_s, worked_s=loop.time() - begun_s)


def pause_after(rested_s: float, *, worked_s: float) -> float:
    """Seconds to rest before work that failed begins anew. It doubles while the work lasts no longer than the rest
    before it: what fails at once is not tried in a hurry, and what mostly works is away for half of the time at most.
    """
    if worked_s > max(rested_s, _FIRST_PAUSE_S):
        return _FIRST_PAUSE_S
    return min(max(_FIRST_PAUSE_S, rested_s * 2), _LONGEST_PAUSE_S)


@contextlib.asynccontextmanager
async def kept_running(name: str, work: Callable[[], Awaitable[None]], failures: Failures) -> AsyncIterator[None]:
    """Run ``work`` as :func:`lasting` does, in a task of that name, for as long as the context is open."""
    task = asyncio.create_task(lasting(name, work, failures), name=name)
    try:
        yield
    finally:
        await cancelled(task)


async def looked_after(over: "asyncio.Future[None]", look: Callable[[], None], every_s: float) -> None:
    """Until ``over`` is done, call ``look`` every ``every_s`` seconds. Raises what that raises, and calls no more.

    For what each of a county's cameras needs once a second: a task that woke up for each look, to wait anew, would take
    several times as long.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    timer: asyncio.TimerHandle

    def tick() -> None:
        nonlocal timer
        try:
            look()
        except Exception as error:  # noqa: BLE001 - raised to who waits
            if not ended.done():
                ended.set_exception(error)
        else:
            timer = loop.call_later(every_s, tick)

    def finish(_over: "asyncio.Future[None]") -> None:
        if not ended.done():
            ended.set_result(None)

    timer = loop.call_later(every_s, tick)
    over.add_done_callback(finish)
    try:
        await ended
    finally:
        over.remove_done_callback(finish)
        timer.cancel()


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel ``task`` and wait until it has ended, however it does."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
