"""Several misbehaviours at once, drawn by number: no crash, no time that runs back, and a file that plays."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from media.unit import NS_PER_S, Codec
from tests.support.camera_simulator import HALL, BadCamera, drifting, keep, looped_hall
from tests.support.invariants import holds, time_never_goes_back
from tests.support.misbehaviour import (
    Change,
    be_away,
    double,
    jitter,
    jump,
    lose,
    mark,
    no_reports,
    read_every,
    report,
    shuffle,
    stall,
    stand_still,
)

SECONDS = 16.0
JUMPS_S = (-50_000.0, -9.0, -0.9, 1.0, 3.0, 60.0, 48_000.0, 500_000.0)


def drawn(chance: random.Random) -> Change:
    """One misbehaviour."""
    at_s, for_s = chance.uniform(1, 10), chance.uniform(0.1, 4)
    index = chance.choice((None, 0, 1))
    every, error_ns = chance.randint(1, 20), chance.randint(-9, 9) * NS_PER_S
    first = chance.randint(5, 200)
    makers: tuple[Callable[[], Change], ...] = (
        lambda: lose(index or 0, range(first, first + 10 * every, every)),
        lambda: be_away(at_s, at_s + for_s, index),
        lambda: double(every),
        lambda: jump(at_s, chance.choice(JUMPS_S), index),
        lambda: stand_still(at_s, at_s + for_s, index),
        lambda: stall(at_s, for_s),
        lambda: mark(lambda number: number % every == 0),
        no_reports,
        lambda: report(lambda since_s, of, true_ns: true_ns + error_ns),
    )
    return chance.choice(makers)()


@pytest.mark.parametrize("seed", range(12))
async def test_a_mixture(seed: int) -> None:
    chance = random.Random(seed)
    udp = chance.random() < 0.5
    settings = replace(HALL, video=chance.choice((Codec.H264, Codec.H265)))
    units = drifting(looped_hall(settings, SECONDS, loop_s=2.0), {1: chance.uniform(-300, 300)})
    changes = [drawn(chance) for _ in range(chance.randint(2, 5))]
    last = shuffle(4) if udp else read_every(0.073)
    kept = await keep(BadCamera(units, (*changes, jitter(0.02), last), udp=udp))
    holds(kept, lasted_s=SECONDS, damaged=True)
    time_never_goes_back(kept)
