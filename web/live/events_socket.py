"""The event socket: one WebSocket (RFC 6455) per page, for people and for rooms' devices."""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import datetime
from urllib.parse import urlsplit

import structlog
from aiohttp import WSMsgType, hdrs, web
from pydantic import ValidationError

from storage.records import User
from web.access.identity import catalog_of, room_token, session_token
from web.access.principal import Principal
from web.api.present import at
from web.api.schemas import events as messages
from web.errors import BusyError, CsrfError, RequestError
from web.live.events_board import LiveBoard
from web.live.events_page import Page
from web.live.events_topics import PageTopics
from web.problems import TYPED_ERRORS
from web.services import Services

log = structlog.get_logger("web.events")

BEAT_S = 15
CLOSE_SESSION_OVER = 4401
CLOSE_TOO_SLOW = 4408
CLOSE_ELSEWHERE = 4429
"""Why a page was cut off (RFC 6455, 7.4.2: codes from 4000 on are private)."""
_MESSAGE_BYTES = 4096
_SEND_S = 10.0
_PER_PERSON = 12
_PER_DEVICE = 3
_ALL = 5000
_MESSAGES_EACH_S = 5


class EventSockets:
    """All pages of this process. Owned by the application's event loop."""

    def __init__(self, services: Services, board: LiveBoard) -> None:
        self._services = services
        self.beat_s: float = BEAT_S
        self._pages: OrderedDict[Page, None] = OrderedDict()
        self._topics = PageTopics(services, board, lambda: self._pages)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve pages for as long as the context is open."""
        async with self._topics.running():
            self._services.sessions.on_change.append(self.recheck)
            try:
                yield
            finally:
                self._services.sessions.on_change.remove(self.recheck)

    def let_go(self) -> None:
        """The service ends: pages come back to whoever is next (RFC 6455, 7.4.1: going away)."""
        for page in tuple(self._pages):
            page.end(1001)

    def __len__(self) -> int:
        """How many pages are open."""
        return len(self._pages)

    def is_online(self, device_id: str) -> bool:
        """Whether the page of a room's device is open."""
        return any(page.principal.user.id == device_id for page in self._pages)

    def recheck(self, whose: str) -> None:
        """The rights of a user or device (by id), or a session (by its hash), have changed: its pages must ask anew."""
        for page in self._pages:
            if whose in (page.principal.user.id, page.principal.session):
                page.end(CLOSE_SESSION_OVER)

    async def serve(self, request: web.Request, principal: Principal) -> web.WebSocketResponse:
        """A socket from its handshake to its end. Raises CsrfError, RequestError, BusyError."""
        check_origin(request, self._services.settings.public_url)
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise RequestError
        if len(self._pages) >= _ALL:
            raise BusyError(seconds=30)
        token = room_token(request) if principal.device is not None else session_token(request)
        page = Page(principal, catalog_of(request), token, request.url.host or "")
        self._make_room(principal)
        # Pings find a peer that is gone. Deflate would cost each page some hundred kilobytes for texts that are short.
        socket = web.WebSocketResponse(heartbeat=BEAT_S, max_msg_size=_MESSAGE_BYTES, compress=False)
        # From before the handshake on: who logs out meanwhile is let go too.
        self._pages[page] = None
        try:
            await socket.prepare(request)
            await self._talk(page, socket, request)
        finally:
            self._pages.pop(page, None)
            self._topics.leave(page)
        return socket

    def _make_room(self, principal: Principal) -> None:
        """One page more of this person: the oldest goes if there are too many."""
        most = _PER_DEVICE if principal.device is not None else _PER_PERSON
        mine = [page for page in self._pages if page.principal.user.id == principal.user.id and not page.over.is_set()]
        for page in mine[: max(0, len(mine) + 1 - most)]:
            page.end(CLOSE_ELSEWHERE)

    async def _talk(self, page: Page, socket: web.WebSocketResponse, request: web.Request) -> None:
        page.outbox.put(messages.Hello(at=self._now(), beat_s=BEAT_S).model_dump_json())
        tasks = [
            asyncio.create_task(self._receive(page, socket)),
            asyncio.create_task(self._send(page, socket)),
            asyncio.create_task(self._beat(page)),
            asyncio.create_task(_wait(page.over)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                log.error("event socket failed", exc_info=result)
                page.end(1011)
        if page.outbox.cut:
            page.end(CLOSE_TOO_SLOW)
            # What waits in the socket would hold up the close for as long as the peer does not read.
            if request.transport is not None:
                request.transport.abort()
            return
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_SEND_S):
                await socket.close(code=page.close_code)

    async def _send(self, page: Page, socket: web.WebSocketResponse) -> None:
        while (text := await page.outbox.take()) is not None:
            try:
                async with asyncio.timeout(_SEND_S):
                    await socket.send_str(text)
            except TimeoutError:
                page.outbox.cut_off()

    async def _receive(self, page: Page, socket: web.WebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        pause_until = loop.time()
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                page.end(1003)
                return
            await self._take(page, message.data)
            # A page subscribes a few times in its life. More is slowed down, and so is the sender by TCP.
            pause_until = max(pause_until, loop.time() - 10) + 1 / _MESSAGES_EACH_S
            await asyncio.sleep(max(0.0, pause_until - loop.time()))

    async def _beat(self, page: Page) -> None:
        while True:
            await asyncio.sleep(self.beat_s)
            if not await self._is_valid(page):
                page.end(CLOSE_SESSION_OVER)
                return
            page.outbox.put(messages.Beat(at=self._now()).model_dump_json())

    async def _is_valid(self, page: Page) -> bool:
        """Whether the log-in still holds, and as it was. From memory where it can be."""
        services, known = self._services, page.principal
        if known.device is not None:
            return known.device.site_id in services.county.picture.sites
        user = services.county.picture.users.get(known.user.id)
        if user is None or not user.active or _rights(user) != _rights(known.user):
            return False
        if known.expires_at > services.sessions.now():
            return True
        fresh = await services.sessions.find(page.token, by_cookie=known.by_cookie, alive=False)
        if fresh is not None:
            page.principal = fresh
        return fresh is not None

    async def _take(self, page: Page, text: str) -> None:
        try:
            message = messages.ClientMessage.model_validate(json.loads(text)).root
        except (ValueError, RecursionError, ValidationError):
            page.refuse("", "request-wrong", {})
            return
        if isinstance(message, messages.Unsubscribe):
            self._topics.unsubscribe(page, message.topic)
            return
        try:
            await self._topics.subscribe(page, message)
        except TYPED_ERRORS as error:
            page.refuse(message.topic, error.code, error.params)

    def _now(self) -> datetime:
        return at(self._services.clock.utc_ns())


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _rights(user: User) -> tuple[object, ...]:
    return (user.role, user.scopes, user.organization_id)


def check_origin(request: web.Request, public_url: str) -> None:
    """Refuse a page of another site: a browser sends it our cookie all the same, and WebSocket knows no same-origin
    policy (RFC 6455, 10.2). Clients that are no browsers send no Origin. Raises CsrfError."""
    fetch_site = request.headers.get("Sec-Fetch-Site")
    if fetch_site is not None:
        if fetch_site not in {"same-origin", "none"}:
            raise CsrfError
        return
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return
    ours = {request.host.lower(), urlsplit(public_url).netloc.lower()} - {""}
    if urlsplit(origin).netloc.lower() not in ours:
        raise CsrfError


SOCKETS = web.AppKey("event_sockets", EventSockets)
