"""A fault is said once, however long it lasts and however often it comes and goes."""

from recorder.told import CALM_S, Told
from tests.support.clocks import FakeClock


def test_a_fault_that_lasts_is_news_once_and_again_after_it_was_over_for_a_minute() -> None:
    clock = FakeClock()
    told = Told(clock)
    assert told.is_news("database-away")
    for _ in range(100):
        clock.advance(CALM_S - 1)
        assert not told.is_news("database-away")
    assert told.is_news("disk-full")
    clock.advance(CALM_S)
    assert told.is_news("database-away")
