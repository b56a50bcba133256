"""How long a task rests that failed."""

import pytest

from media.tasks import pause_after


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
