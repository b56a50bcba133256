"""A reader's queue: what is taken, and what is said when nothing comes."""

import asyncio

import pytest

from media.fanout import Fanout


async def test_nothing_for_a_while_is_said_as_often_as_it_happens_and_loses_nothing() -> None:
    fanout: Fanout[int] = Fanout(lambda _: 1, lambda _: True)
    with fanout.reader("patient") as reader:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await reader.take(0.02)
        fanout.publish(1)
        assert await reader.take(0.02) == [1]
        asyncio.get_running_loop().call_soon(fanout.publish, 2)
        assert await reader.take(60) == [2]
        fanout.end()
        assert await reader.take(0.02) == []


async def test_what_comes_now_and_then_puts_the_limit_off() -> None:
    fanout: Fanout[int] = Fanout(lambda _: 1, lambda _: True)
    loop = asyncio.get_running_loop()
    with fanout.reader("patient") as reader:
        begun = loop.time()
        for number in range(10):
            loop.call_later(0.05, fanout.publish, number)
            assert await reader.take(0.4) == [number]
        assert loop.time() - begun > 0.4, "longer than the limit in all, and never without anything for so long"
        with pytest.raises(TimeoutError):
            await reader.take(0.4)
        assert loop.time() - begun > 0.9


async def test_a_reader_that_waits_for_ever_is_not_bound_by_a_limit_of_before() -> None:
    fanout: Fanout[int] = Fanout(lambda _: 1, lambda _: True)
    with fanout.reader("patient") as reader:
        fanout.publish(1)
        await reader.take(0.02)
        asyncio.get_running_loop().call_soon(fanout.publish, 2)
        await reader.take(0.02)
        asyncio.get_running_loop().call_later(0.1, fanout.publish, 3)
        assert await reader.take() == [3]


async def test_a_task_that_stops_waiting_leaves_nothing_behind() -> None:
    fanout: Fanout[int] = Fanout(lambda _: 1, lambda _: True)
    with fanout.reader("patient") as reader:
        waiting = asyncio.create_task(reader.take(0.02))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.05)
        fanout.publish(1)
        assert await reader.take(0.02) == [1]
