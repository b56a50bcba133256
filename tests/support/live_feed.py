"""A live stream fed with encoded units at their own pace, for tests of what reads it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace

from media.clock import Clock, SystemClock
from media.segmenter import SegmenterSettings
from media.stream import LiveStream, StreamId
from media.unit import NS_PER_S, AccessUnit, Gap, GapCause, StreamItem


def looped(units: Sequence[AccessUnit], period_s: float) -> Iterable[AccessUnit]:
    """The units over and over, each round ``period_s`` later than the one before."""
    turn = 0
    while True:
        for unit in units:
            ticks = round(turn * period_s * unit.track.clock_rate)
            later_ns = round(turn * period_s * NS_PER_S)
            yield replace(unit, pts=unit.pts + ticks, dts=unit.dts + ticks, utc_ns=unit.utc_ns + later_ns)
        turn += 1


def later(units: Iterable[AccessUnit], seconds: float, *, epoch: int) -> list[AccessUnit]:
    """The units ``seconds`` later on the timeline, as after a reconnect."""
    return [
        replace(
            unit,
            pts=unit.pts + round(seconds * unit.track.clock_rate),
            dts=unit.dts + round(seconds * unit.track.clock_rate),
            utc_ns=unit.utc_ns + round(seconds * NS_PER_S),
            epoch=epoch,
        )
        for unit in units
    ]


def gap(start_s: float, end_s: float, origin_ns: int) -> Gap:
    """A camera away from ``start_s`` to ``end_s`` of the timeline."""
    return Gap(origin_ns + round(start_s * NS_PER_S), origin_ns + round(end_s * NS_PER_S), GapCause.DISCONNECTED)


@contextlib.asynccontextmanager
async def live_stream(
    items: Iterable[StreamItem],
    *,
    camera: str = "camera",
    clock: Clock | None = None,
    settings: SegmenterSettings | None = None,
    ahead_s: float = 0.0,
) -> AsyncIterator[LiveStream]:
    """A stream that gets ``items`` in real time while inside, the first ``ahead_s`` seconds of them at once."""
    stream = LiveStream(StreamId(camera), clock or SystemClock(), settings or SegmenterSettings(stagger=0))
    task = asyncio.create_task(_feed(stream, items, ahead_s))
    try:
        yield stream
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _feed(stream: LiveStream, items: Iterable[StreamItem], ahead_s: float) -> None:
    loop = asyncio.get_running_loop()
    first: float | None = None
    started = loop.time()
    for item in items:
        if isinstance(item, AccessUnit):
            at = item.dts / item.track.clock_rate
            first = at if first is None else first
            wait = at - first - ahead_s - (loop.time() - started)
            if wait > 0.01:
                await asyncio.sleep(wait)
        stream.publish(item)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; TimeoutError if it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
