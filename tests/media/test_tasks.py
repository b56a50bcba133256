"""How long a task rests that failed, and what is looked at again and again until something is over."""

import asyncio

import pytest

from media.tasks import looked_after, pause_after


def rests(worked_s: float, times: int) -> list[float]:
    pauses = [0.0]
    for _ in range(times):
        pauses.append(pause_after(pauses[-1], worked_s=worked_s))
    return pauses[1:]


def test_what_fails_at_once_is_tried_ever_less_often() -> None:
    assert rests(0.0, 7) == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


@pytest.mark.parametrize("worked_s", [0.3, 1.0, 4.0])
def test_what_works_for_a_while_is_not_away_for_longer_than_that(worked_s: float) -> None:
    assert sum(rests(worked_s, 60)) <= 60 * worked_s


def test_a_long_rest_is_forgotten_once_it_worked() -> None:
    assert pause_after(5.0, worked_s=6.0) == pytest.approx(0.2)


async def test_what_is_looked_after_is_looked_at_until_it_is_over() -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            over.set_result(None)

    async with asyncio.timeout(10):
        await looked_after(over, look, 0.001)
    await asyncio.sleep(0.02)
    assert looks == 3


async def test_what_a_look_raises_ends_the_looking() -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10):
            await looked_after(over, look, 0.001)
    await asyncio.sleep(0.02)
    assert looks == 1
    # Nothing is left of it on what it waited for.
    over.set_result(None)


async def test_who_no_longer_waits_is_not_looked_for() -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await looked_after(over, look, 0.001)
    seen = looks
    await asyncio.sleep(0.02)
    assert looks == seen > 0
