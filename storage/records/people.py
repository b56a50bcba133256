"""Users, their log-ins, and what they did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from storage.records.base import Json


class Role(StrEnum):
    """What a user may do; where is said by the user's organization (that subtree). Administrators are three, as
    GB/T 22239 asks: for the system, for security, for audit."""

    SYSTEM_ADMINISTRATOR = "system-administrator"
    SECURITY_ADMINISTRATOR = "security-administrator"
    AUDITOR = "auditor"
    OFFICIAL = "official"
    ARCHIVIST = "archivist"
    VIEWER = "viewer"


class AuditOutcome(StrEnum):
    """How an action on record ended."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who logs in. ``password_hash`` is argon2, made by the caller. ``organization_id`` bounds what the user
    may see to that subtree; None is everywhere. ``scopes`` are rights beyond those of the role."""

    id: str
    username: str
    display_name: str
    password_hash: str = field(repr=False)
    role: Role
    scopes: tuple[str, ...] = ()
    organization_id: str | None = None
    locale: str = "zh-CN"
    active: bool = True
    failed_logins: int = 0
    locked_until: datetime | None = None
    last_login_at: datetime | None = None
    password_changed_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """A log-in. ``token_hash`` and ``csrf_hash`` are SHA-256 of what the browser holds."""

    token_hash: str = field(repr=False)
    csrf_hash: str = field(repr=False)
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeToken:
    """A link that works once, for ``purpose`` (``setup``, ``password-reset``)."""

    token_hash: str = field(repr=False)
    purpose: str
    user_id: str | None = None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, when, to what, and how it ended. ``id`` is 0 until stored; entries are never changed."""

    id: int = 0
    at: datetime
    user_id: str | None
    username: str
    action: str
    subject: str
    outcome: AuditOutcome
    address: str = ""
    detail: Mapping[str, Json] = field(default_factory=dict)
