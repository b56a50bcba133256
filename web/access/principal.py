"""Who asks: a person with scopes and an area, or the device of a room."""

from dataclasses import dataclass, field
from datetime import datetime

from storage.records import Role, RoomDevice, Site, User, UserSession
from web.access.scopes import ROOM_SCOPES, Scope, scopes_of
from web.errors import ForbiddenError


@dataclass(frozen=True, slots=True)
class Principal:
    """A person behind a valid session. ``area`` is the organization whose subtree the person sees; None is everything.

    ``by_cookie`` is false where the session's token came in an Authorization header, which no other site can make a
    browser send, so that no CSRF header is needed. ``expires_at`` moves with each sign of life.

    Of the device of a room, ``device`` is set, ``user`` stands for it in the log, and its scopes hold for its own site
    alone.
    """

    user: User
    scopes: frozenset[Scope]
    session: str = field(repr=False)
    csrf_hash: str = field(repr=False)
    expires_at: datetime
    by_cookie: bool = True
    device: RoomDevice | None = None

    @property
    def area(self) -> str | None:
        """Organization id that bounds what is seen."""
        return self.user.organization_id

    def may(self, scope: Scope) -> bool:
        """Whether the person has the scope."""
        return scope in self.scopes

    def demand(self, scope: Scope) -> None:
        """Raise ForbiddenError unless the person has the scope."""
        if scope not in self.scopes:
            raise ForbiddenError(scope=scope.value)


def principal_of(user: User, session: UserSession, *, by_cookie: bool) -> Principal:
    """The principal of a user in a session."""
    scopes = scopes_of(user.role, user.scopes)
    return Principal(user, scopes, session.token_hash, session.csrf_hash, session.expires_at, by_cookie)


def room_principal(
    device: RoomDevice, site: Site, csrf_hash: str, expires_at: datetime, *, by_cookie: bool
) -> Principal:
    """The principal of a room's device. Nobody can log in as the user that stands for it."""
    user = User(
        id=device.id,
        username=f"room/{device.name}"[:100],
        display_name=device.name,
        password_hash="",
        role=Role.VIEWER,
        organization_id=site.organization_id,
        locale="",
        password_changed_at=device.paired_at,
        created_at=device.paired_at,
    )
    return Principal(user, ROOM_SCOPES, device.token_hash, csrf_hash, expires_at, by_cookie, device)
