"""Which topics a page may have, what it gets when it asks for one, and what it loses when its area changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass

from storage.errors import DatabaseError, RecordNotFoundError
from web.access.principal import Principal
from web.access.scopes import Scope
from web.api.schemas import events as messages
from web.county import CountyPicture
from web.errors import BusyError, NotFoundError, OutsideAreaError
from web.live.events_board import MEETINGS, NOW, LiveBoard
from web.live.events_cameras import ALL, CAMERA, CAMERAS
from web.live.events_hub import Subscription
from web.live.events_page import Page
from web.services import Services

_TOPICS = 20


class PageTopics:
    """The topics of all pages of this process. Owned by the application's event loop; ``pages`` are those now open."""

    def __init__(self, services: Services, board: LiveBoard, pages: Callable[[], Iterable[Page]]) -> None:
        self._services = services
        self._board = board
        self._pages = pages
        self._filling: set[asyncio.Task[None]] = set()
        self._places: tuple[object, ...] = ()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the board and the county for as long as the context is open."""
        self._board.refill = self._refill
        self._services.county.on_change.append(self._register_changed)
        try:
            yield
        finally:
            self._services.county.on_change.remove(self._register_changed)
            for task in tuple(self._filling):
                task.cancel()
            await asyncio.gather(*self._filling, return_exceptions=True)

    async def subscribe(self, page: Page, message: messages.Subscribe) -> None:
        """Give the page a topic: what it missed, or as it stands. Raises BusyError, AccessError, NotFoundError,
        RecordNotFoundError, DatabaseError."""
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

    def unsubscribe(self, page: Page, topic: str) -> None:
        """Take a topic from the page, if it has it."""
        subscription = page.subscriptions.pop(topic, None)
        if subscription is not None:
            self._board.hub.unsubscribe(topic, subscription)

    def leave(self, page: Page) -> None:
        """The page has gone."""
        for topic in tuple(page.subscriptions):
            self.unsubscribe(page, topic)

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
        for page in tuple(self._pages()):
            for topic in tuple(page.subscriptions):
                if topic.startswith(("room/", "meeting/")) and not await self._still_may(page, topic):
                    self.unsubscribe(page, topic)

    async def _refill_all(self, topic: str, subscriptions: frozenset[Subscription]) -> None:
        for page in tuple(self._pages()):
            subscription = page.subscriptions.get(topic)
            if subscription in subscriptions and subscription is not None:
                if await self._still_may(page, topic):
                    await self._fill(page, topic, subscription)
                else:
                    self.unsubscribe(page, topic)
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
            page.refuse(topic, error.code, error.params)
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


@dataclass(frozen=True, slots=True)
class _Area:
    """Whether an organization is in a person's area, by the county as it stands then."""

    services: Services
    area: str | None

    def __call__(self, organization_id: str) -> bool:
        return self.services.county.picture.within(self.area, organization_id)
