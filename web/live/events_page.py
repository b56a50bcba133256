"""One open page: who it is, what it has asked for, what waits to be sent to it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from web.access.principal import Principal
from web.api.schemas import events as messages
from web.live.events_hub import Outbox, Subscription
from web.messages import Catalog


@dataclass(eq=False)
class Page:
    """One open socket. ``over`` is set, with a close code, when it must go."""

    principal: Principal
    catalog: Catalog
    token: str = field(repr=False)
    host: str = ""
    """What the page calls this machine."""
    outbox: Outbox = field(default_factory=Outbox)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    close_code: int = 1000
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, code: int) -> None:
        """Let the page go, for this reason."""
        if not self.over.is_set():
            self.close_code = code
            self.over.set()

    def refuse(self, topic: str, code: str, params: Mapping[str, str | int | float]) -> None:
        """Tell the page that it cannot have a topic, or with ``""`` that what it said was not understood."""
        problem = self.catalog.notice(code, params)
        self.outbox.put(messages.Refused(topic=topic, problem=problem).model_dump_json())
