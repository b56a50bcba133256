"""The county as one picture in memory: organizations, sites, cameras, users. Areas are judged by it, without a query.

A picture is never changed; :class:`County` puts a new one in its place after each change and every half minute, since
another process may have changed the database.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import structlog

from media.tasks import Failures, kept_running
from storage.database import Database
from storage.errors import DatabaseError
from storage.records import CameraPlace, Organization, OrganizationLevel, Site, User

log = structlog.get_logger("web.county")


@dataclass(frozen=True)
class CountyPicture:
    """Everything by id, at one moment. ``cameras`` are in the order in which lists show them."""

    organizations: Mapping[str, Organization] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    cameras: Mapping[str, CameraPlace] = field(default_factory=dict)
    users: Mapping[str, User] = field(default_factory=dict)

    @cached_property
    def users_by_name(self) -> Mapping[str, User]:
        """Users by their log-in name."""
        return {user.username: user for user in self.users.values()}

    @cached_property
    def children(self) -> Mapping[str | None, tuple[Organization, ...]]:
        """Organizations by their parent, in order."""
        grouped: dict[str | None, list[Organization]] = {}
        for organization in self.organizations.values():
            grouped.setdefault(organization.parent_id, []).append(organization)
        return {parent: tuple(items) for parent, items in grouped.items()}

    @cached_property
    def cameras_by_site(self) -> Mapping[str, tuple[CameraPlace, ...]]:
        """Cameras by where they stand, in order."""
        grouped: dict[str, list[CameraPlace]] = {}
        for place in self.cameras.values():
            grouped.setdefault(place.site.id, []).append(place)
        return {site: tuple(items) for site, items in grouped.items()}

    def path(self, organization_id: str) -> tuple[Organization, ...]:
        """The organization and all above it, itself first; empty if it is not there."""
        found: list[Organization] = []
        current = self.organizations.get(organization_id)
        while current is not None and len(found) < 16:
            found.append(current)
            current = self.organizations.get(current.parent_id) if current.parent_id else None
        return tuple(found)

    def within(self, area: str | None, organization_id: str) -> bool:
        """Whether the organization is ``area`` or below it. None is everything."""
        return area is None or any(item.id == area for item in self.path(organization_id))

    def town(self, organization_id: str) -> Organization | None:
        """The town above an organization, if there is one."""
        above = self.path(organization_id)[1:]
        return next((item for item in above if item.level is OrganizationLevel.TOWN), None)

    def village_of(self, site: Site | None) -> str:
        """Name of the branch that a site belongs to, even one that is only about to be here; empty for none. The audit
        log says it: by its own name alone a camera, a place or a TV could be any village's."""
        village = self.organizations.get(site.organization_id) if site is not None else None
        return village.name if village is not None else ""

    def cameras_in(self, area: str | None) -> tuple[CameraPlace, ...]:
        """The cameras of an area, towns in their order."""
        return tuple(place for place in self.cameras.values() if self.within(area, place.organization.id))


class County:
    """Keeps the picture fresh. Its owner calls :meth:`refresh` after each change; :meth:`running` does it by time."""

    def __init__(self, database: Database, refresh_s: float = 30.0) -> None:
        self._database = database
        self._refresh_s = refresh_s
        self._lock = asyncio.Lock()
        self.picture = CountyPicture()
        self.on_change: list[Callable[[CountyPicture], None]] = []

    async def refresh(self) -> CountyPicture:
        """Read everything anew; tell listeners if anything is different. Raises DatabaseError."""
        async with self._lock:
            async with self._database.read() as repos:
                organizations = await repos.organizations.all()
                sites = await repos.sites.all()
                places = await repos.cameras.places()
                users = await repos.users.all()
            picture = CountyPicture(
                organizations={item.id: item for item in organizations},
                sites={item.id: item for item in sites},
                cameras={},
                users={item.id: item for item in users},
            )
            ordered = sorted(places, key=lambda place: _order(picture, place))
            picture = CountyPicture(
                picture.organizations, picture.sites, {place.camera.id: place for place in ordered}, picture.users
            )
            changed = picture != self.picture
            self.picture = picture
        if changed:
            for listener in self.on_change:
                listener(picture)
        return picture

    @contextlib.asynccontextmanager
    async def running(self, failures: Failures) -> AsyncIterator[None]:
        """Refresh from time to time. A database that is away leaves the last picture in place."""
        await self.refresh()
        async with kept_running("county picture", self._keep_fresh, failures):
            yield

    async def _keep_fresh(self) -> None:
        away = False
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.refresh()
            except DatabaseError as error:
                # Once: how long the database is away stands elsewhere.
                if not away:
                    log.warning("county picture not refreshed", code=error.code)
                away = True
            else:
                away = False


def _order(picture: CountyPicture, place: CameraPlace) -> tuple[object, ...]:
    above = picture.path(place.organization.id)[::-1]
    return (
        *((item.position, item.name) for item in above),
        (place.camera.position, place.site.name, place.camera.name),
    )
