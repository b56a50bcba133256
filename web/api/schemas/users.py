"""Users, and the log of what was done."""

from typing import Annotated

from pydantic import Field, StringConstraints

from storage.records import AuditOutcome, Role
from web.api.schemas.common import Id, Name, OrganizationRef, PersonRef, RequestModel, ResponseModel, Time
from web.api.schemas.session import Language, NewPassword, Username


class User(ResponseModel):
    """A person who may log in."""

    id: str
    username: str
    display_name: str
    role: Role
    organization: OrganizationRef | None
    language: Language
    enabled: bool
    locked_until: Time | None = Field(description="Until when log-ins are refused after too many failures")
    last_login_at: Time | None
    created_at: Time


class UserList(ResponseModel):
    """All users, by name."""

    items: list[User]


class UserCreate(RequestModel):
    """A person to add."""

    username: Username
    display_name: Name
    role: Role
    organization_id: Id | None = Field(default=None, description="Whose area the person sees; empty sees everything")
    language: Language = Language.ZH_CN
    password: NewPassword


class UserUpdate(RequestModel):
    """What an administrator may change. Disabling ends every session of the person."""

    display_name: Name
    role: Role
    organization_id: Id | None = None
    language: Language = Language.ZH_CN
    enabled: bool = True


class PasswordReset(RequestModel):
    """A new password set by an administrator. Every session of the person ends."""

    password: NewPassword


class AuditEntry(ResponseModel):
    """One thing that was done."""

    id: str
    at: Time
    person: PersonRef | None = Field(description="Null where nobody was logged in, or where the service acted itself")
    username: str = Field(description="Log-in name as it was given, kept even when the person is gone")
    action: str = Field(description="Such as ``login``, ``meeting.start``, ``recording.download``")
    text: str = Field(description="The entry as a sentence, in the person's language")
    subject: str = Field(description="What it was done to, such as ``meeting/4f…``")
    outcome: AuditOutcome
    address: str = Field(description="Network address that it came from")


class AuditQuery(RequestModel):
    """Which entries, newest first."""

    person_id: Id | None = None
    action: Annotated[str, StringConstraints(max_length=60)] | None = None
    subject: Annotated[str, StringConstraints(max_length=120)] | None = None
    since: Time | None = None
    until: Time | None = None
    before: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")] | None = Field(
        default=None, description="``next`` of the page before"
    )
    limit: int = Field(default=100, ge=1, le=500)


class AuditPage(ResponseModel):
    """A page of entries, newest first."""

    items: list[AuditEntry]
    next: str | None
