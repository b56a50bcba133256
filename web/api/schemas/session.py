"""Log-in, first set-up, and what a page must know before anybody is logged in."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from storage.records import Role
from web.api.schemas.common import Name, OrganizationRef, RequestModel, ResponseModel, Time

Username = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=2, max_length=40, pattern=r"^[\w.@-]+$", to_lower=True)
]
NewPassword = Annotated[str, StringConstraints(min_length=10, max_length=128)]


class Language(StrEnum):
    """Languages of the interface."""

    ZH_CN = "zh-CN"
    EN = "en"


class LoginRequest(RequestModel):
    """Name and password."""

    username: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40, to_lower=True)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class SessionUser(ResponseModel):
    """The person logged in."""

    id: str
    username: str
    display_name: str
    role: Role
    organization: OrganizationRef | None = Field(description="Whose area the person sees; null sees everything")
    language: Language
    scopes: list[str] = Field(description="What the person may do, such as ``meetings:read``")


class Session(ResponseModel):
    """A log-in. The session itself is in an HttpOnly cookie."""

    user: SessionUser
    csrf_token: str = Field(description="To be sent as ``X-CSRF-Token`` with every POST, PUT and DELETE")
    idle_timeout_s: int = Field(description="Seconds without a request after which the session ends")
    expires_at: Time = Field(description="When the session ends if nothing is asked for until then")


class SessionUpdate(RequestModel):
    """What a person may change about themselves."""

    language: Language


class PasswordChange(RequestModel):
    """The old and the new password. All other sessions of the person end."""

    old_password: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    new_password: NewPassword


class StreamAccess(ResponseModel):
    """A password for players (RTSP, media walls) that cannot hold a session. Shown once; a new one replaces it."""

    username: str
    password: str
    rtsp_url: str = Field(description="Pattern with ``{camera}`` in it, without the password")


class SetupInfo(ResponseModel):
    """A set-up link that is good."""

    expires_at: Time


class SetupRequest(RequestModel):
    """The first administrator and the name of the county."""

    county_name: Name
    username: Username
    display_name: Name
    password: NewPassword
    language: Language = Language.ZH_CN


class About(ResponseModel):
    """What a page may know before anybody is logged in."""

    name: str = "Sanhui"
    version: str
    time_zone: str = Field(description="IANA name of the zone that times are shown in, such as ``Asia/Shanghai``")
    languages: list[Language]
    setup_needed: bool = Field(description="True until the first administrator exists: use the link that was printed")
    demo: bool = Field(description="True where the sample log-in may be shown")
