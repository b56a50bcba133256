"""Topics: numbers, memory, and subscribers that fall behind."""

from datetime import UTC, datetime

import pytest

from tests.web.conftest import ShiftedClock
from web.api.schemas.events import Beat, StoryChanged
from web.live.events_hub import MEMORY, Hub, Outbox, Subscription
from web.messages import Catalog, load_catalogs

CHINESE = load_catalogs().of("zh-CN")
HERE = "village-east"


def story(_: Catalog, topic: str, number: str) -> StoryChanged:
    return StoryChanged(topic=topic, id=number)


class Reader:
    """A page that reads what it is sent."""

    def __init__(self, hub: Hub, topic: str = "t", after: str | None = None, outbox: Outbox | None = None) -> None:
        self.outbox = outbox or Outbox()
        self.subscription = Subscription(self.outbox, CHINESE, lambda organization: organization == HERE, "u")
        self.resumed = hub.subscribe(topic, self.subscription, after)

    async def ids(self, count: int) -> list[str]:
        texts = [await self.outbox.take() for _ in range(count)]
        return [StoryChanged.model_validate_json(text or "").id for text in texts]


def published(hub: Hub, count: int, organization: str | None = None) -> list[str]:
    """Ids of events that were published just now."""
    found = []
    for _ in range(count):
        hub.publish("t", story, organization)
        found.append(hub.newest_id)
    return found


async def test_a_page_goes_on_exactly_where_it_was() -> None:
    hub = Hub(ShiftedClock())
    first = Reader(hub)
    assert not first.resumed
    first.subscription.opened(None)
    ids = published(hub, 5)
    assert await first.ids(5) == ids
    hub.unsubscribe("t", first.subscription)
    ids += published(hub, 3)
    second = Reader(hub, after=ids[1])
    assert second.resumed
    assert await second.ids(6) == ids[2:]
    newest = Reader(hub, after=ids[-1])
    ids += published(hub, 1)
    assert (newest.resumed, await newest.ids(1)) == (True, ids[-1:])


@pytest.mark.parametrize("memory", [1, 4])
async def test_who_was_away_too_long_needs_the_topic_as_it_stands(memory: int) -> None:
    hub = Hub(ShiftedClock(), memory=memory)
    Reader(hub).subscription.opened(None)
    ids = published(hub, memory + 2)
    assert not Reader(hub, after=ids[0]).resumed
    assert Reader(hub, after=ids[1]).resumed
    # Numbers of another process, and some that are none.
    for after in (Hub(ShiftedClock()).newest_id, ids[0].split("-")[0] + "-999", "", "x", "-1", f"{ids[0]}1" * 9):
        assert not Reader(hub, after=after).resumed, after


def something_waits(outbox: Outbox) -> Outbox:
    outbox.put("something else")
    return outbox


async def test_a_page_that_missed_all_that_is_remembered_goes_on_while_something_waits_for_it() -> None:
    hub = Hub(ShiftedClock())
    Reader(hub).subscription.opened(None)
    ids = published(hub, MEMORY + 1)
    page = Reader(hub, after=ids[0], outbox=something_waits(Outbox()))
    assert page.resumed
    ids += published(hub, 1)
    assert not page.outbox.cut
    assert await page.outbox.take() == "something else"
    assert await page.ids(MEMORY + 1) == ids[1:]


async def test_what_a_page_missed_and_has_no_room_for_is_told_as_it_stands() -> None:
    hub = Hub(ShiftedClock())
    Reader(hub).subscription.opened(None)
    ids = published(hub, 4)
    assert Reader(hub, after=ids[1], outbox=something_waits(Outbox(3))).resumed
    page = Reader(hub, after=ids[0], outbox=something_waits(Outbox(3)))
    assert not page.resumed
    page.subscription.opened(Beat(at=datetime(2026, 11, 21, tzinfo=UTC)))
    ids += published(hub, 1)
    assert await page.outbox.take() == "something else"
    assert '"beat"' in (await page.outbox.take() or "")
    assert await page.ids(1) == ids[-1:]


async def test_a_topic_that_nobody_has_is_forgotten_and_never_taken_for_the_old_one() -> None:
    clock = ShiftedClock()
    hub = Hub(clock)
    first = Reader(hub)
    first.subscription.opened(None)
    (last,) = published(hub, 1)
    hub.unsubscribe("t", first.subscription)
    clock.shift_s += 299
    assert Reader(hub, "other").resumed is False
    assert hub.known("t")
    clock.shift_s += 2
    Reader(hub, "another")
    assert not hub.known("t")
    assert not Reader(hub, after=last).resumed


async def test_what_happens_while_the_topic_is_put_together_comes_after_it() -> None:
    hub = Hub(ShiftedClock())
    page = Reader(hub)
    ids = published(hub, 2)
    page.subscription.opened(Beat(at=datetime(2026, 11, 21, tzinfo=UTC)))
    assert '"beat"' in (await page.outbox.take() or "")
    assert await page.ids(2) == ids


async def test_a_page_is_told_of_its_own_area_alone() -> None:
    hub = Hub(ShiftedClock())
    page = Reader(hub)
    page.subscription.opened(None)
    published(hub, 1, "village-west")
    (mine,) = published(hub, 1, HERE)
    (all_,) = published(hub, 1)
    assert await page.ids(2) == [mine, all_]


async def test_a_slow_page_is_cut_off_and_holds_up_nobody() -> None:
    hub = Hub(ShiftedClock(), memory=10)
    slow, quick = Reader(hub, outbox=Outbox(3)), Reader(hub)
    for page in (slow, quick):
        page.subscription.opened(None)
    ids = published(hub, 4)
    assert slow.outbox.cut
    assert await slow.outbox.take() is None
    assert await quick.ids(4) == ids
    held = Reader(hub)
    published(hub, 300)
    assert held.outbox.cut


async def test_after_a_reset_each_page_needs_the_topic_anew() -> None:
    hub = Hub(ShiftedClock())
    page = Reader(hub)
    page.subscription.opened(None)
    ids = published(hub, 2)
    assert hub.reset("t") == (page.subscription,)
    assert hub.reset("none") == ()
    assert not Reader(hub, after=ids[-1]).resumed
