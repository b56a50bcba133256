"""Who may speak into a room: one at a time, county before town, nobody by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.unit import NS_PER_S
from streaming.talk import EndReason, Floor, Rank, Talker, TalkSettings
from streaming.talk_errors import TalkBusyError, TalkUnknownError

COUNTY = Talker("u1", "王敏", "县委组织部", Rank.COUNTY)
SECOND_COUNTY = Talker("u2", "赵刚", "县委组织部", Rank.COUNTY)
TOWN = Talker("u3", "李强", "城关镇党委", Rank.TOWN)
OTHER_TOWN = Talker("u4", "孙丽", "城关镇党委", Rank.TOWN)


def s(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def waits(floor: Floor, talker: Talker, at_s: float) -> int:
    """Ask in vain; the place in the queue."""
    with pytest.raises(TalkBusyError) as caught:
        floor.request(talker, s(at_s))
    assert caught.value.params["speaker"]
    return int(caught.value.params["place"])


def holder(floor: Floor) -> str | None:
    return floor.holding.talker.id if floor.holding is not None else None


def speaks(floor: Floor, talker: Talker, from_s: float, to_s: float, *, voice: bool = True) -> None:
    at = from_s
    while at < to_s:
        floor.heard(talker.id, s(at), voice=voice)
        at += 0.5


def test_one_at_a_time_and_the_next_one_follows() -> None:
    floor = Floor()
    assert floor.request(TOWN, s(0)) is None
    assert waits(floor, OTHER_TOWN, 1) == 1
    assert waits(floor, OTHER_TOWN, 2) == 1
    speaks(floor, TOWN, 0, 5)
    ended = floor.release(TOWN.id, s(5))
    assert ended is not None
    assert (ended.talker, ended.since_ns, ended.until_ns) == (TOWN, s(0), s(5))
    assert (ended.reason, ended.spoke) == (EndReason.RELEASED, True)
    assert holder(floor) == OTHER_TOWN.id
    assert floor.queue == ()
    # Asking again, as the page does on seeing that it is its turn, changes nothing.
    assert floor.request(OTHER_TOWN, s(5.2)) is None


def test_county_before_town() -> None:
    floor = Floor()
    floor.request(TOWN, s(0))
    assert waits(floor, OTHER_TOWN, 1) == 1
    ended = floor.request(COUNTY, s(2))
    assert ended is not None
    assert (ended.talker, ended.reason) == (TOWN, EndReason.SUPERIOR)
    # Equals wait; the interrupted one is before their equals, behind the county.
    assert waits(floor, SECOND_COUNTY, 3) == 1
    assert [item.talker.id for item in floor.queue] == [SECOND_COUNTY.id, TOWN.id, OTHER_TOWN.id]
    floor.release(COUNTY.id, s(4))
    floor.release(SECOND_COUNTY.id, s(5))
    assert holder(floor) == TOWN.id


def test_who_vanishes_is_silent_or_speaks_too_long_loses_the_floor() -> None:
    settings = TalkSettings(vanished_s=5, silent_s=10, long_s=60, longest_s=300, asks_again_s=1000)
    floor = Floor(settings)
    floor.request(TOWN, s(0))
    assert floor.tick(s(4.9)) == []
    (ended,) = floor.tick(s(5))
    assert (ended.reason, ended.spoke) == (EndReason.VANISHED, False)
    assert holder(floor) is None
    floor.request(TOWN, s(10))
    speaks(floor, TOWN, 10, 12)
    speaks(floor, TOWN, 12, 30, voice=False)
    (ended,) = floor.tick(s(22))
    assert (ended.reason, ended.spoke) == (EndReason.SILENT, True)
    floor.request(TOWN, s(100))
    speaks(floor, TOWN, 100, 170)
    assert floor.tick(s(170)) == []
    waits(floor, OTHER_TOWN, 170)
    (ended,) = floor.tick(s(170))
    assert ended.reason is EndReason.TOO_LONG
    assert holder(floor) == OTHER_TOWN.id
    speaks(floor, OTHER_TOWN, 170, 470)
    assert [item.reason for item in floor.tick(s(470))] == [EndReason.TOO_LONG]


def test_a_closed_page_does_not_wait_for_ever() -> None:
    floor = Floor(TalkSettings(asks_again_s=30, vanished_s=5))
    floor.request(TOWN, s(0))
    waits(floor, OTHER_TOWN, 0)
    speaks(floor, TOWN, 0, 29)
    floor.tick(s(29))
    assert len(floor.queue) == 1
    speaks(floor, TOWN, 29, 31)
    floor.tick(s(31))
    assert floor.queue == ()
    # One who waits, gets the floor and says nothing passes it on.
    waits(floor, OTHER_TOWN, 32)
    floor.release(TOWN.id, s(33))
    assert holder(floor) == OTHER_TOWN.id
    assert [item.reason for item in floor.tick(s(38))] == [EndReason.VANISHED]


def test_leaving_the_queue_and_the_meetings_end() -> None:
    floor = Floor(TalkSettings(max_queue=1))
    floor.request(TOWN, s(0))
    assert waits(floor, OTHER_TOWN, 1) == 1
    assert waits(floor, Talker("u5", "钱", "镇", Rank.TOWN), 1) == 0
    assert floor.release(OTHER_TOWN.id, s(2)) is None
    with pytest.raises(TalkUnknownError):
        floor.release(OTHER_TOWN.id, s(2))
    ended = floor.close(s(3))
    assert ended is not None
    assert ended.reason is EndReason.CLOSED
    assert floor.close(s(4)) is None


PEOPLE = (COUNTY, SECOND_COUNTY, TOWN, OTHER_TOWN)


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "leave", "hear", "tick"]), st.sampled_from(PEOPLE), st.floats(0, 40)))
)
def test_whatever_happens_one_holds_the_floor_and_nobody_is_lost(steps: list[tuple[str, Talker, float]]) -> None:
    floor, at_s = Floor(), 0.0
    for what, talker, later_s in steps:
        at_s += later_s
        before = holder(floor)
        try:
            if what == "ask":
                floor.request(talker, s(at_s))
                assert holder(floor) == talker.id
            elif what == "leave":
                floor.release(talker.id, s(at_s))
            elif what == "hear":
                floor.heard(talker.id, s(at_s), voice=True)
            else:
                floor.tick(s(at_s))
        except (TalkBusyError, TalkUnknownError):
            assert holder(floor) == before
        waiting = [item.talker.id for item in floor.queue]
        assert len(set(waiting)) == len(waiting)
        assert holder(floor) not in waiting
        ranks = [item.talker.rank for item in floor.queue]
        assert ranks == sorted(ranks, reverse=True)
        if holder(floor) is None:
            assert not waiting
