"""What a handler gets: the request, who asks, in which language, and the services."""

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from storage.records import AuditEntry, CameraPlace, MeetingPlace, Organization, User
from web.access.principal import Principal
from web.county import CountyPicture
from web.errors import NotFoundError, NotLoggedInError, OutsideAreaError
from web.messages import Catalog
from web.services import Services


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation. ``address`` is the client's, trusted proxies seen through."""

    request: web.Request
    services: Services
    someone: Principal | None
    catalog: Catalog

    @property
    def principal(self) -> Principal:
        """Who asks. Raises NotLoggedInError where nobody is logged in."""
        if self.someone is None:
            raise NotLoggedInError
        return self.someone

    @property
    def picture(self) -> CountyPicture:
        """The county as it stands."""
        return self.services.county.picture

    @property
    def address(self) -> str:
        """The client's network address."""
        return self.request.remote or ""

    def now(self) -> datetime:
        """The time, aware, UTC."""
        return self.services.sessions.now()

    def entry(self, action: str, subject: str, user: User | None = None, /, **detail: str | int | float) -> AuditEntry:
        """An audit entry of this request."""
        who = user or (self.someone.user if self.someone else None)
        return self.services.audit.entry(who, action, subject, self.address, detail=detail)

    def organization(self, organization_id: str) -> Organization:
        """An organization of the person's area. Raises NotFoundError, OutsideAreaError."""
        organization = self.picture.organizations.get(organization_id)
        if organization is None:
            raise NotFoundError
        self.inside(organization_id)
        return organization

    def camera(self, camera_id: str) -> CameraPlace:
        """A camera of the person's area. Raises NotFoundError, OutsideAreaError."""
        place = self.picture.cameras.get(camera_id)
        if place is None:
            raise NotFoundError
        self.inside(place.organization.id)
        return place

    async def meeting(self, meeting_id: str) -> MeetingPlace:
        """A meeting of the person's area. Raises RecordNotFoundError, OutsideAreaError."""
        async with self.services.database.read() as repos:
            place = await repos.meetings.place(meeting_id)
        self.inside(place.organization.id)
        return place

    def inside(self, organization_id: str) -> None:
        """Raise OutsideAreaError unless the organization is in the person's area."""
        if not self.picture.within(self.principal.area, organization_id):
            raise OutsideAreaError

    def narrowed(self, organization_id: str | None) -> str | None:
        """The area to list: the one asked for if it is inside the person's own, else the person's own."""
        if organization_id is None:
            return self.principal.area
        return self.organization(organization_id).id
