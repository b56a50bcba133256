"""The event socket: one WebSocket (RFC 6455) per page, for people and for rooms' devices."""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import structlog
from aiohttp import WSMsgType, hdrs, web
from pydantic import ValidationError

from storage.errors import DatabaseError, RecordNotFoundError
from storage.records import User
from web.access.identity import catalog_of, room_token, session_token
from web.access.principal import Principal
from web.access.scopes import Scope
from web.api.present import at
from web.api.schemas import events as messages
from web.county import CountyPicture
from web.errors import BusyError, CsrfError, NotFoundError, OutsideAreaError, RequestError
from web.live.events_board import MEETINGS, NOW, LiveBoard
from web.live.events_cameras import ALL, CAMERA, CAMERAS
from web.live.events_hub import Outbox, Subscription
from web.messages import Catalog
from web.problems import TYPED_ERRORS
from web.services import Services

log = structlog.get_logger("web.events")

BEAT_S = 15
CLOSE_SESSION_OVER = 4401
CLOSE_TOO_SLOW = 4408
CLOSE_ELSEWHERE = 4429
"""Why a page was cut off (RFC 6455, 7.4.2: codes from 4000 on are private)."""
_TOPICS = 20
_MESSAGE_BYTES = 4096
_SEND_S = 10.0
_PER_PERSON = 12
_PER_DEVICE = 3
_ALL = 5000
_MESSAGES_EACH_S = 5


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


class EventSockets:
    """All pages of this process. Owned by the application's event loop."""

    def __init__(self, services: Services, board: LiveBoard) -> None:
        self._services = services
        self._board = board
        self.beat_s: float = BEAT_S
        self._pages: OrderedDict[Page, None] = OrderedDict()
        self._filling: set[asyncio.Task[None]] = set()
        self._places: tuple[object, ...] = ()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve pages for as long as the context is open."""
        self._board.refill = self._refill
        self._services.sessions.on_change.append(self.recheck)
        self._services.county.on_change.append(self._register_changed)
        try:
            yield
        finally:
            self._services.county.on_change.remove(self._register_changed)
            self._services.sessions.on_change.remove(self.recheck)
            for task in tuple(self._filling):
                task.cancel()
            await asyncio.gather(*self._filling, return_exceptions=True)

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
            for topic, subscription in page.subscriptions.items():
                self._board.hub.unsubscribe(topic, subscription)
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
            self._refuse(page, "", "request-wrong", {})
            return
        if isinstance(message, messages.Unsubscribe):
            if (subscription := page.subscriptions.pop(message.topic, None)) is not None:
                self._board.hub.unsubscribe(message.topic, subscription)
            return
        try:
            await self._subscribe(page, message)
        except TYPED_ERRORS as error:
            self._refuse(page, message.topic, error.code, error.params)

    def _refuse(self, page: Page, topic: str, code: str, params: dict[str, str | int | float]) -> None:
        problem = page.catalog.notice(code, params)
        page.outbox.put(messages.Refused(topic=topic, problem=problem).model_dump_json())

    async def _subscribe(self, page: Page, message: messages.Subscribe) -> None:
        known = page.subscriptions.get(message.topic)
        may_look = page.principal.may(Scope.LIVE_WATCH)
        if known is not None:
            known.watching = message.watching and may_look
            return
        if len(page.subscriptions) >= _TOPICS:
            raise BusyError(seconds=1)
        await self._check(page.principal, message.topic)
        subscription = Subscription(
            page.outbox, page.catalog, _Area(self._services, page.principal.area), page.principal.user.id
        )
        subscription.watching = message.watching and may_look
        page.subscriptions[message.topic] = subscription
        if self._board.hub.subscribe(message.topic, subscription, message.after):
            return
        try:
            await self._fill(page, message.topic, subscription)
        except BaseException:
            page.subscriptions.pop(message.topic, None)
            self._board.hub.unsubscribe(message.topic, subscription)
            raise

    async def _fill(self, page: Page, topic: str, subscription: Subscription) -> None:
        kind, _, key = topic.partition("/")
        if kind == NOW:
            subscription.opened(self._board.now(page.principal.area, page.catalog))
        elif kind == MEETINGS:
            subscription.opened(messages.MeetingsChanged(topic=topic, id=self._board.hub.newest_id))
        elif kind in (CAMERA, CAMERAS):
            subscription.opened(self._board.cameras(topic, page.catalog, page.host))
        elif kind == "meeting":
            subscription.opened(await self._board.meeting(key, page.catalog))
        else:
            device = page.principal.device
            state = self._board.room(key, page.catalog, device.name if device is not None else None)
            if state is None:
                raise NotFoundError
            subscription.opened(state)

    def _refill(self, topic: str, subscriptions: tuple[Subscription, ...]) -> None:
        """Send pages their topic as it stands, one after the other: none of them is in a hurry."""
        self._soon(self._refill_all(topic, frozenset(subscriptions)), f"refill {topic}")

    def _soon(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._filling.add(task)
        task.add_done_callback(self._filling.discard)

    def _register_changed(self, picture: CountyPicture) -> None:
        """Where a room and an organization are decides who may see them; cameras have their own look at it."""
        places = (picture.organizations, picture.sites)
        if places != self._places:
            self._places = places
            self._soon(self._recheck_places(), "recheck topics")

    async def _recheck_places(self) -> None:
        for page in tuple(self._pages):
            for topic, subscription in tuple(page.subscriptions.items()):
                if topic.startswith(("room/", "meeting/")) and not await self._still_may(page, topic):
                    self._board.hub.unsubscribe(topic, page.subscriptions.pop(topic, subscription))

    async def _refill_all(self, topic: str, subscriptions: frozenset[Subscription]) -> None:
        for page in tuple(self._pages):
            subscription = page.subscriptions.get(topic)
            if subscription in subscriptions and subscription is not None:
                if await self._still_may(page, topic):
                    await self._fill(page, topic, subscription)
                else:
                    self._board.hub.unsubscribe(topic, page.subscriptions.pop(topic, subscription))
                await asyncio.sleep(0)

    async def _still_may(self, page: Page, topic: str) -> bool:
        """Whether what was moved is still the page's to see. What is no more can be told to those who had it."""
        try:
            await self._check(page.principal, topic)
        except (NotFoundError, RecordNotFoundError):
            pass
        except DatabaseError:
            # Asked again with the next picture of the county.
            self._places = ()
        except OutsideAreaError as error:
            self._refuse(page, topic, error.code, error.params)
            return False
        return True

    async def _check(self, principal: Principal, topic: str) -> None:
        """May the page have the topic? Raises AccessError, NotFoundError, RecordNotFoundError."""
        kind, _, key = topic.partition("/")
        if principal.device is not None:
            if kind != "room" or key != principal.device.site_id:
                raise OutsideAreaError
            return
        principal.demand(Scope.MEETINGS_READ)
        picture = self._services.county.picture
        if kind == "room":
            site = picture.sites.get(key)
            if site is None:
                raise NotFoundError
            organization = site.organization_id
        elif kind == "meeting":
            async with self._services.database.read() as repos:
                organization = (await repos.meetings.get(key)).organization_id
        elif kind in (CAMERA, CAMERAS):
            principal.demand(Scope.CAMERAS_READ)
            organization = self._camera_area(principal, kind, key)
        else:
            return
        if not picture.within(principal.area, organization):
            raise OutsideAreaError

    def _camera_area(self, principal: Principal, kind: str, key: str) -> str:
        picture = self._services.county.picture
        if kind == CAMERA:
            place = picture.cameras.get(key)
            if place is None:
                raise NotFoundError
            return place.organization.id
        if key != ALL and key not in picture.organizations:
            raise NotFoundError
        if key != ALL:
            return key
        if principal.area is not None:
            raise OutsideAreaError
        return next(iter(picture.organizations), "")

    def _now(self) -> datetime:
        return at(self._services.clock.utc_ns())


@dataclass(frozen=True, slots=True)
class _Area:
    """Whether an organization is in a person's area, by the county as it stands then."""

    services: Services
    area: str | None

    def __call__(self, organization_id: str) -> bool:
        return self.services.county.picture.within(self.area, organization_id)


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
