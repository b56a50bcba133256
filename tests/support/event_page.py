"""A page's event socket, for tests: a real WebSocket client that keeps what it is told."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType

PATIENCE_S = 20.0
_KEPT = 1000


class EventPage:
    """``ids`` are the last ones seen, by topic; ``seen`` are all messages but beats, oldest first."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.ids: dict[str, str] = {}
        self.seen: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    async def subscribe(self, topic: str, **more: Any) -> None:
        """Ask for a topic."""
        await self.socket.send_json({"type": "subscribe", "topic": topic, **more})

    async def next(
        self, kind: str, where: Callable[[Any], bool] = lambda _: True, patience_s: float | None = PATIENCE_S
    ) -> Any:
        """The next message of that type that ``where`` likes; others are kept in ``seen``."""
        async with asyncio.timeout(patience_s):
            while True:
                message = await self.socket.receive()
                assert message.type is WSMsgType.TEXT, (message.type, message.data, self.seen)
                told = json.loads(message.data)
                if told["type"] == "beat":
                    continue
                self.seen.append(told)
                if "id" in told:
                    self.ids[told["topic"]] = told["id"]
                if told["type"] == kind and where(told):
                    return told

    async def closed(self) -> int | None:
        """The code that the server closes with; messages before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while (message := await self.socket.receive()).type is WSMsgType.TEXT:
                self.seen.append(json.loads(message.data))
        return self.socket.close_code


@contextlib.asynccontextmanager
async def event_page(client: Any, path: str = "/api/v1/events", **options: Any) -> AsyncIterator[EventPage]:
    """A page of the person (or room) behind the test client's cookies."""
    async with client.ws_connect(path, **options) as socket:
        page = EventPage(socket)
        await page.next("hello")
        yield page
