"""Who asks: a person with scopes and an area."""

from dataclasses import dataclass, field

from storage.records import User
from web.access.scopes import Scope, scopes_of
from web.errors import ForbiddenError


@dataclass(frozen=True, slots=True)
class Principal:
    """A person behind a valid session. ``area`` is the organization whose subtree the person sees; None is everything.

    ``by_cookie`` is false where the session's token came in an Authorization header, which no other site can make a
    browser send, so that no CSRF header is needed.
    """

    user: User
    scopes: frozenset[Scope]
    session: str = field(repr=False)
    csrf_hash: str = field(repr=False)
    by_cookie: bool = True

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


def principal_of(user: User, session: str, csrf_hash: str, *, by_cookie: bool) -> Principal:
    """The principal of a user."""
    return Principal(user, scopes_of(user.role, user.scopes), session, csrf_hash, by_cookie)
