"""How many moments each fault strikes at: ``--moments N``; and which: ``--moments-seed S``, to see the same again."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_MOMENTS = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where this folder is named on the command line; otherwise the environment says it."""
    parser.addoption("--moments", type=int, help="random moments each fault strikes at")
    parser.addoption("--moments-seed", type=int, help="the seed that a failed run has printed")


@dataclass(frozen=True)
class Moments:
    """So many moments; each has chance of its own, so that it stays the same whatever the others used up."""

    count: int
    seed: int

    def __iter__(self) -> Iterator[random.Random]:
        for index in range(self.count):
            yield random.Random(f"{self.seed}/{index}")


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> Moments:
    """The moments of one fault; the seed is printed, and so stands beside a failure."""
    count = request.config.getoption("--moments", default=None) or int(os.environ.get("SANHUI_MOMENTS", _MOMENTS))
    seed = request.config.getoption("--moments-seed", default=None) or int(
        os.environ.get("SANHUI_MOMENTS_SEED", 0) or random.SystemRandom().randrange(1, 1 << 31)
    )
    print(f"{count} moments; the same again with --moments {count} --moments-seed {seed}")
    return Moments(count, seed)
