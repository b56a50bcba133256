"""Log-in, log-out, first set-up, and what a page must know before anybody is logged in."""

import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from aiohttp import web

from storage.database import Database
from storage.records import AuditOutcome, OneTimeToken, Organization, OrganizationLevel, Role, User, new_id
from web.access.identity import clear_cookie, session_token, set_cookie
from web.access.passwords import weakness
from web.access.scopes import FIRST_ADMINISTRATOR_EXTRA, Scope, scopes_of
from web.access.sessions import LoggedIn, csrf_token, token_hash
from web.api.present import organization_ref, rtsp_url
from web.api.schemas.session import (
    About,
    Language,
    LoginRequest,
    PasswordChange,
    Session,
    SessionUpdate,
    SessionUser,
    SetupInfo,
    SetupRequest,
    StreamAccess,
)
from web.call import Call
from web.errors import (
    AccessError,
    FieldsInvalidError,
    LinkInvalidError,
    LockedOutError,
    LoginFailedError,
    StateConflictError,
    WrongField,
)
from web.operations import Operations
from web.version import version

operations = Operations("session")
SETUP = "setup"


@operations.operation("GET", "/about", scope=None)
async def about(call: Call) -> About:
    """Name, version and time zone, for a page that nobody is logged in to."""
    settings = call.services.settings
    return About(
        version=version(),
        time_zone=settings.time_zone,
        languages=list(Language),
        setup_needed=not call.picture.users,
        demo=settings.demo,
    )


@operations.operation("GET", "/session", scope=Scope.SELF)
async def get_session(call: Call) -> Session:
    """The log-in of this browser."""
    return _session(call, call.principal.user, csrf_token(session_token(call.request)))


@operations.operation("POST", "/session", scope=None, model=Session, errors=(401, 429))
async def log_in(call: Call, body: LoginRequest) -> web.StreamResponse:
    """Log in. Sets the session cookie.

    After some failures in a row the name must wait, longer each time.
    """
    services = call.services
    agent = call.request.headers.get("User-Agent", "")
    try:
        logged_in = await services.sessions.log_in(body.username, body.password, call.address, agent)
    except AccessError as error:
        await _note_refusal(call, error, "login-failed", call.picture.users_by_name.get(body.username), body.username)
        raise
    async with services.database.transaction() as repos:
        await repos.audit.add(call.entry("login", f"user/{logged_in.user.id}", logged_in.user))
    return _opened(call, logged_in)


@operations.operation("PUT", "/session", scope=Scope.SELF)
async def update_session(call: Call, body: SessionUpdate) -> Session:
    """Change one's own language."""
    async with call.services.database.transaction() as repos:
        user = replace(await repos.users.get(call.principal.user.id), locale=body.language.value)
        await repos.users.update(user)
    call.services.sessions.forget(user.id)
    await call.services.county.refresh()
    return _session(call, user, csrf_token(session_token(call.request)))


@operations.operation("DELETE", "/session", scope=Scope.SELF, status=204)
async def log_out(call: Call) -> web.StreamResponse:
    """Log out."""
    await call.services.sessions.close(call.principal.session)
    async with call.services.database.transaction() as repos:
        await repos.audit.add(call.entry("logout", f"user/{call.principal.user.id}"))
    response = web.Response(status=204)
    clear_cookie(response)
    return response


@operations.operation("POST", "/session/password", scope=Scope.SELF, model=Session, errors=(429,))
async def change_password(call: Call, body: PasswordChange) -> web.StreamResponse:
    """Change one's own password. All sessions of the person end but a new one for this browser."""
    services = call.services
    wrong = FieldsInvalidError([WrongField("old_password", "password-old-wrong", {})])
    try:
        user = await services.sessions.confirm(call.principal.user, body.old_password)
    except AccessError as error:
        await _note_refusal(call, error, "password.change-failed", call.principal.user)
        if isinstance(error, LoginFailedError):
            raise wrong from error
        raise
    demand_strength(body.new_password, user.username, "new_password")
    hashed = await services.passwords.hash(body.new_password)
    async with services.database.transaction() as repos:
        current = await repos.users.get(user.id)
        if current.password_hash != user.password_hash:
            # Somebody has set another one meanwhile.
            raise wrong
        changed = replace(current, password_hash=hashed, password_changed_at=call.now())
        await repos.users.update(changed)
        await repos.sessions.delete_of_user(user.id)
        await repos.audit.add(call.entry("password.change", f"user/{user.id}"))
    services.sessions.forget(user.id)
    await services.county.refresh()
    agent = call.request.headers.get("User-Agent", "")
    return _opened(call, await services.sessions.open(changed, call.address, agent))


@operations.operation("POST", "/session/stream-access", scope=Scope.LIVE_WATCH)
async def get_stream_access(call: Call) -> StreamAccess:
    """Name and password for players that take RTSP. The password is good until the person changes their own."""
    services, user = call.services, call.principal.user
    async with services.database.transaction() as repos:
        await repos.audit.add(call.entry("stream-access.create", f"user/{user.id}"))
    host = call.request.url.host or "localhost"
    return StreamAccess(
        username=user.username,
        password=services.stream_passwords.of(user).reveal(),
        rtsp_url=rtsp_url(host, services.rtsp_port(), "{camera}"),
    )


@operations.operation("GET", "/setup/{token}", scope=None, errors=(410,))
async def get_setup(call: Call, token: str) -> SetupInfo:
    """Whether a set-up link is good."""
    async with call.services.database.read() as repos:
        found = await repos.tokens.find(token_hash(token), SETUP, call.now())
    if found is None:
        raise LinkInvalidError
    return SetupInfo(expires_at=found.expires_at)


@operations.operation("POST", "/setup/{token}", scope=None, model=Session, errors=(409, 410))
async def finish_setup(call: Call, token: str, body: SetupRequest) -> web.StreamResponse:
    """Make the county and its first administrator, and log in. The link works once."""
    services = call.services
    demand_strength(body.password, body.username, "password")
    password_hash = await services.passwords.hash(body.password)
    now = call.now()
    county = Organization(id=new_id(), parent_id=None, level=OrganizationLevel.COUNTY, name=body.county_name)
    user = first_administrator(body.username, body.display_name, password_hash, body.language.value, now)
    async with services.database.transaction() as repos:
        if await repos.tokens.consume(token_hash(token), SETUP, now) is None:
            raise LinkInvalidError
        if await repos.users.count():
            raise StateConflictError(what="setup")
        if not await repos.organizations.count():
            await repos.organizations.add(county)
        await repos.users.add(user)
        await repos.audit.add(call.entry("setup", f"user/{user.id}", user))
    await services.county.refresh()
    agent = call.request.headers.get("User-Agent", "")
    return _opened(call, await services.sessions.open(user, call.address, agent))


def first_administrator(username: str, name: str, password_hash: str, language: str, now: datetime) -> User:
    """The administrator who begins alone and so holds the other two's rights as well."""
    return User(
        id=new_id(),
        username=username,
        display_name=name,
        password_hash=password_hash,
        role=Role.SYSTEM_ADMINISTRATOR,
        scopes=tuple(scope.value for scope in FIRST_ADMINISTRATOR_EXTRA),
        locale=language,
        password_changed_at=now,
        created_at=now,
    )


async def make_setup_token(database: Database, now: datetime, hours: int) -> str | None:
    """A token for the set-up link, in the place of any before it; None once there is a user."""
    token = secrets.token_urlsafe(32)
    async with database.transaction() as repos:
        if await repos.users.count():
            return None
        await repos.tokens.revoke(SETUP)
        expires_at = now + timedelta(hours=hours)
        await repos.tokens.add(
            OneTimeToken(token_hash=token_hash(token), purpose=SETUP, created_at=now, expires_at=expires_at)
        )
    return token


def demand_strength(password: str, username: str, field: str) -> None:
    """Raise FieldsInvalidError if the password is not good enough."""
    code = weakness(password, username)
    if code is not None:
        raise FieldsInvalidError([WrongField(field, code, {"limit": 10})])


async def _note_refusal(call: Call, error: AccessError, action: str, user: User | None, username: str = "") -> None:
    """Put it on record that a password was not taken; ``username`` is what a stranger called themselves."""
    services = call.services
    action = "login-locked" if isinstance(error, LockedOutError) else action
    subject = f"user/{user.id if user else ''}"
    entry = services.audit.entry(user, action, subject, call.address, AuditOutcome.FAILURE, username)
    async with services.database.transaction() as repos:
        await repos.audit.add(entry)


def _opened(call: Call, logged_in: LoggedIn) -> web.Response:
    session = _session(call, logged_in.user, logged_in.csrf_token, logged_in.expires_at)
    response = web.Response(
        body=session.model_dump_json().encode(), content_type="application/json", headers={"Cache-Control": "no-store"}
    )
    set_cookie(call.request, response, logged_in.token)
    return response


def _session(call: Call, user: User, csrf: str, expires_at: datetime | None = None) -> Session:
    settings = call.services.sessions.settings
    organization = call.picture.organizations.get(user.organization_id or "")
    return Session(
        user=SessionUser(
            id=user.id,
            username=user.username,
            display_name=user.display_name,
            role=user.role,
            organization=organization_ref(organization) if organization else None,
            language=call.services.catalogs.of(user.locale).language,
            scopes=sorted(scope.value for scope in scopes_of(user.role, user.scopes)),
        ),
        csrf_token=csrf,
        idle_timeout_s=settings.idle_s,
        expires_at=expires_at or call.principal.expires_at,
    )
