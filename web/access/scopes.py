"""Roles and scopes: what each role may do, in one table. An operation names one scope; nothing else decides."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from storage.records import Role


class Scope(StrEnum):
    """One thing that may be allowed."""

    SELF = "self"
    ORGANIZATIONS_READ = "organizations:read"
    ORGANIZATIONS_WRITE = "organizations:write"
    MEETINGS_READ = "meetings:read"
    MEETINGS_PLAN = "meetings:plan"
    MEETINGS_RUN = "meetings:run"
    LIVE_WATCH = "live:watch"
    RECORDINGS_PLAY = "recordings:play"
    RECORDINGS_DOWNLOAD = "recordings:download"
    CAMERAS_READ = "cameras:read"
    CAMERAS_WRITE = "cameras:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    AUDIT_READ = "audit:read"
    GUIDANCE_NOTE = "guidance:note"
    GUIDANCE_TALK = "guidance:talk"
    ROOMS_PAIR = "rooms:pair"
    ROOM_SEE = "room:see"
    ROOM_ANSWER = "room:answer"
    ROOM_LISTEN = "room:listen"
    ROOM_PUBLISH = "room:publish"


_SEE = frozenset({Scope.SELF, Scope.ORGANIZATIONS_READ, Scope.MEETINGS_READ})

ROLE_SCOPES: Mapping[Role, frozenset[Scope]] = {
    # Three administrators who hold each other in check (GB/T 22239): the system's never judges its own log, the
    # security one gives rights but touches no camera, the auditor reads and changes nothing.
    Role.SYSTEM_ADMINISTRATOR: _SEE
    | {
        Scope.ORGANIZATIONS_WRITE,
        Scope.MEETINGS_PLAN,
        Scope.MEETINGS_RUN,
        Scope.LIVE_WATCH,
        Scope.RECORDINGS_PLAY,
        Scope.RECORDINGS_DOWNLOAD,
        Scope.CAMERAS_READ,
        Scope.CAMERAS_WRITE,
        Scope.ROOMS_PAIR,
    },
    Role.SECURITY_ADMINISTRATOR: frozenset(
        {Scope.SELF, Scope.ORGANIZATIONS_READ, Scope.USERS_READ, Scope.USERS_WRITE, Scope.AUDIT_READ}
    ),
    Role.AUDITOR: frozenset({Scope.SELF, Scope.ORGANIZATIONS_READ, Scope.USERS_READ, Scope.AUDIT_READ}),
    Role.OFFICIAL: _SEE
    | {
        Scope.MEETINGS_PLAN,
        Scope.MEETINGS_RUN,
        Scope.LIVE_WATCH,
        Scope.RECORDINGS_PLAY,
        Scope.RECORDINGS_DOWNLOAD,
        Scope.CAMERAS_READ,
        Scope.GUIDANCE_NOTE,
        Scope.GUIDANCE_TALK,
        Scope.ROOMS_PAIR,
    },
    Role.ARCHIVIST: _SEE | {Scope.RECORDINGS_PLAY, Scope.RECORDINGS_DOWNLOAD},
    Role.VIEWER: _SEE | {Scope.LIVE_WATCH, Scope.RECORDINGS_PLAY},
}

ROOM_SCOPES = frozenset({Scope.ROOM_SEE, Scope.ROOM_ANSWER, Scope.ROOM_LISTEN, Scope.ROOM_PUBLISH})
"""What a paired TV or box may do, for its own site alone. No person has these."""

# Until a county names a security administrator and an auditor, its first administrator does their work too.
FIRST_ADMINISTRATOR_EXTRA = (Scope.USERS_READ, Scope.USERS_WRITE, Scope.AUDIT_READ)


def scopes_of(role: Role, extra: Iterable[str] = ()) -> frozenset[Scope]:
    """The scopes of a role and those given to the person beside it. Names that are no scope (any more) are left out."""
    known = {scope.value for scope in Scope}
    return ROLE_SCOPES[role] | {Scope(name) for name in extra if name in known}
