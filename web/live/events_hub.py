"""Events in this process: topics with numbered events, a short memory of each, and bounded subscribers.

Whoever changes something publishes it; nobody asks. An event is turned into JSON once for each language, however many
pages get it. A page that was away names the last event it had: it gets what it missed if the topic remembers that far
back and the page's queue has room for it, else the topic as it stands. Nothing here is the only copy of anything: what
must not be lost is in the database.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from media.clock import Clock
from media.unit import NS_PER_S
from web.messages import Catalog

Render = Callable[[Catalog, str, str], BaseModel]
"""Makes the message for one language: catalog, topic, id."""

MEMORY = 256
"""How many events of each topic are remembered, or held back."""
_KEPT_NS = 300 * NS_PER_S


@dataclass(slots=True)
class Event:
    """One event of a topic. ``organization`` bounds who gets it; None is everybody who has the topic."""

    number: int
    topic: str
    organization: str | None
    render: Render
    hub: "Hub"
    _texts: dict[str, str] = field(default_factory=dict)

    def text(self, catalog: Catalog) -> str:
        """The message as JSON."""
        known = self._texts.get(catalog.language)
        if known is None:
            known = self.render(catalog, self.topic, self.hub.id_of(self.number)).model_dump_json()
            self._texts[catalog.language] = known
        return known


class Outbox:
    """What waits to be sent to one page. When it is full the page is too slow: ``cut`` is set and nothing more is
    taken. Owned by the page's socket."""

    def __init__(self, most: int = 2 * MEMORY) -> None:
        # All that a topic remembers, and as much again that waits already or comes meanwhile.
        self._most = most
        self._texts: deque[str] = deque()
        self._more = asyncio.Event()
        self.cut = False

    @property
    def room(self) -> int:
        """How many messages more it takes."""
        return self._most - len(self._texts)

    def put(self, text: str) -> None:
        """Take a message, or cut the page off."""
        if self.cut:
            return
        if self.room <= 0:
            self.cut_off()
        else:
            self._texts.append(text)
            self._more.set()

    def cut_off(self) -> None:
        """The page cannot follow. Nothing is lost: it comes back and is told what it missed."""
        self.cut = True
        self._texts.clear()
        self._more.set()

    async def take(self) -> str | None:
        """The next message; None once the page is cut off."""
        while not self._texts and not self.cut:
            self._more.clear()
            await self._more.wait()
        return None if self.cut else self._texts.popleft()


class Subscription:
    """One page's interest in one topic. Events are held back until the page has had the topic as it stands."""

    def __init__(self, outbox: Outbox, catalog: Catalog, may_see: Callable[[str], bool], user: str) -> None:
        self._outbox = outbox
        self._catalog = catalog
        self._may_see = may_see
        self._held: list[Event] | None = []
        self.user = user
        self.watching = False

    def offer(self, event: Event) -> None:
        """Send an event on, if it is for this page."""
        if not self._is_for(event):
            return
        if self._held is not None:
            if len(self._held) >= MEMORY:
                self._outbox.cut_off()
            else:
                self._held.append(event)
        else:
            self._outbox.put(event.text(self._catalog))

    def _is_for(self, event: Event) -> bool:
        return event.organization is None or self._may_see(event.organization)

    def resumed(self, missed: Sequence[Event]) -> bool:
        """Send what the page missed, and from now on what happens. False, and nothing is sent, if there is no room for
        all of it: the topic as it stands is one message."""
        mine = [event for event in missed if self._is_for(event)]
        if len(mine) > self._outbox.room:
            return False
        self.opened(None)
        for event in mine:
            self._outbox.put(event.text(self._catalog))
        return True

    def opened(self, snapshot: BaseModel | None) -> None:
        """Send the topic as it stands (None where the page has it), and from now on what happens."""
        if snapshot is not None:
            self._outbox.put(snapshot.model_dump_json())
        held, self._held = self._held or (), None
        for event in held:
            self._outbox.put(event.text(self._catalog))


class Topic:
    """Events of one subject, the newest ``memory`` of them remembered. All after ``floor`` are."""

    def __init__(self, name: str, floor: int, memory: int) -> None:
        self.name = name
        self.floor = floor
        self.subscriptions: set[Subscription] = set()
        self.idle_since_ns = 0
        self._memory = memory
        self._events: deque[Event] = deque()

    def add(self, event: Event) -> None:
        """Remember and hand out."""
        self._events.append(event)
        while len(self._events) > self._memory:
            self.floor = self._events.popleft().number
        for subscription in tuple(self.subscriptions):
            subscription.offer(event)

    def since(self, number: int) -> list[Event] | None:
        """What came after event ``number``; None if that is not remembered."""
        if number < self.floor:
            return None
        return [event for event in self._events if event.number > number]

    def forget(self, floor: int) -> None:
        """No page can go on from what it had."""
        self._events.clear()
        self.floor = floor


class Hub:
    """All topics. Owned by the application's event loop; nothing in it waits. ``memory`` events of each topic are kept,
    and those of a topic that nobody has, for five minutes."""

    def __init__(self, clock: Clock, memory: int = MEMORY) -> None:
        self._clock = clock
        self._memory = memory
        # Another process's numbers mean nothing here.
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._topics: dict[str, Topic] = {}

    def id_of(self, number: int) -> str:
        """What pages call an event."""
        return f"{self._epoch}-{number}"

    @property
    def newest_id(self) -> str:
        """The id that a topic as it stands now goes by."""
        return self.id_of(self._number)

    def topics(self, prefix: str) -> list[Topic]:
        """The topics that somebody has, or had lately, whose name begins so."""
        return [topic for name, topic in self._topics.items() if name.startswith(prefix)]

    def wanted(self, name: str) -> bool:
        """Whether anybody has the topic now."""
        topic = self._topics.get(name)
        return topic is not None and bool(topic.subscriptions)

    def known(self, name: str) -> bool:
        """Whether anybody has the topic, or may come back to it."""
        return name in self._topics

    def publish(self, name: str, render: Render, organization: str | None = None) -> None:
        """An event of a topic. It is nothing where nobody has the topic, or had it lately."""
        topic = self._topics.get(name)
        if topic is not None:
            self._number += 1
            topic.add(Event(self._number, name, organization, render, self))

    def subscribe(self, name: str, subscription: Subscription, after: str | None) -> bool:
        """Add a subscription. True if the page gets what it missed; False if it needs the topic as it stands: then
        its events are held until :meth:`Subscription.opened`."""
        self._forget()
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self._number, self._memory)
        missed = None if after is None else self._missed(topic, after)
        topic.subscriptions.add(subscription)
        return missed is not None and subscription.resumed(missed)

    def unsubscribe(self, name: str, subscription: Subscription) -> None:
        """Take a subscription away."""
        topic = self._topics.get(name)
        if topic is not None:
            topic.subscriptions.discard(subscription)
            if not topic.subscriptions:
                topic.idle_since_ns = self._clock.monotonic_ns()

    def _missed(self, topic: Topic, after: str) -> list[Event] | None:
        epoch, _, number = after.partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdecimal()) or len(number) > 18:
            return None
        return topic.since(int(number)) if int(number) <= self._number else None

    def reset(self, name: str) -> tuple[Subscription, ...]:
        """Forget a topic's events, since so much changed that each page needs it as it stands; those who have it."""
        topic = self._topics.get(name)
        if topic is None:
            return ()
        self._number += 1
        topic.forget(self._number)
        return tuple(topic.subscriptions)

    def _forget(self) -> None:
        limit = self._clock.monotonic_ns() - _KEPT_NS
        for name in [key for key, topic in self._topics.items() if not topic.subscriptions]:
            if self._topics[name].idle_since_ns < limit:
                del self._topics[name]
                # What happens to it from here on is told to nobody: no earlier number is good for the next one.
                self._number += 1
