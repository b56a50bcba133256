"""Users, and the log of what was done."""

from dataclasses import replace

from storage.records import AuditEntry as AuditRecord
from storage.records import Role, new_id
from storage.records import User as UserRecord
from web.access.scopes import Scope, scopes_of
from web.api import present
from web.api.audit_view import audit_text
from web.api.schemas.users import (
    AuditEntry,
    AuditPage,
    AuditQuery,
    PasswordReset,
    User,
    UserCreate,
    UserList,
    UserUpdate,
)
from web.api.session import demand_strength
from web.call import Call
from web.errors import FieldsInvalidError, NotFoundError, OutsideAreaError, WrongField
from web.operations import Operations

operations = Operations("users")
_EVERYWHERE = {Role.SYSTEM_ADMINISTRATOR, Role.SECURITY_ADMINISTRATOR, Role.AUDITOR}


@operations.operation("GET", "/users", scope=Scope.USERS_READ)
async def list_users(call: Call) -> UserList:
    """Everybody who may log in, as far as the person's area goes."""
    async with call.services.database.read() as repos:
        users = await repos.users.all()
    return UserList(items=[_shown(call, user) for user in users if _is_inside(call, user.organization_id)])


@operations.operation("POST", "/users", scope=Scope.USERS_WRITE, status=201)
async def create_user(call: Call, body: UserCreate) -> User:
    """Add a person."""
    _check_rights(call, body.role, body.organization_id)
    demand_strength(body.password, body.username, "password")
    if body.username in call.picture.users_by_name:
        raise FieldsInvalidError([WrongField("username", "taken", {})])
    now = call.now()
    record = UserRecord(
        id=new_id(),
        username=body.username,
        display_name=body.display_name,
        password_hash=await call.services.passwords.hash(body.password),
        role=body.role,
        organization_id=body.organization_id,
        locale=body.language.value,
        password_changed_at=now,
        created_at=now,
    )
    async with call.services.database.transaction() as repos:
        await repos.users.add(record)
        await repos.audit.add(call.entry("user.create", f"user/{record.id}", name=record.username))
    await call.services.county.refresh()
    return _shown(call, record)


@operations.operation("PUT", "/users/{user_id}", scope=Scope.USERS_WRITE)
async def update_user(call: Call, user_id: str, body: UserUpdate) -> User:
    """Change a person, or disable them, which ends their sessions."""
    user = _known(call, user_id)
    _check_rights(call, body.role, body.organization_id)
    record = _changed(user, body)
    if user_id == call.principal.user.id and (not body.enabled or body.role is not user.role):
        raise FieldsInvalidError([WrongField("enabled" if not body.enabled else "role", "own-account", {})])
    if _may_manage(user) and not _may_manage(record) and not _others_manage(call, user_id):
        raise FieldsInvalidError([WrongField("role", "last-administrator", {})])
    async with call.services.database.transaction() as repos:
        # As the person is now: the picture may not know of a password that has just been set.
        record = _changed(await repos.users.get(user_id), body)
        await repos.users.update(record)
        if not record.active:
            await repos.sessions.delete_of_user(user_id)
        await repos.audit.add(call.entry("user.update", f"user/{user_id}", name=record.username))
    call.services.sessions.forget(user_id)
    await call.services.county.refresh()
    return _shown(call, record)


@operations.operation("POST", "/users/{user_id}/password", scope=Scope.USERS_WRITE)
async def reset_password(call: Call, user_id: str, body: PasswordReset) -> User:
    """Set a person's password, end their sessions, lift a lock."""
    user = _known(call, user_id)
    demand_strength(body.password, user.username, "password")
    hashed = await call.services.passwords.hash(body.password)
    async with call.services.database.transaction() as repos:
        record = replace(await repos.users.get(user_id), password_hash=hashed, password_changed_at=call.now())
        await repos.users.update(record)
        await repos.users.lock(user_id, None)
        await repos.sessions.delete_of_user(user_id)
        await repos.audit.add(call.entry("user.password", f"user/{user_id}", name=record.username))
    call.services.sessions.forget(user_id)
    picture = await call.services.county.refresh()
    return _shown(call, picture.users[user_id])


@operations.operation("GET", "/audit", scope=Scope.AUDIT_READ)
async def list_audit(call: Call, query: AuditQuery) -> AuditPage:
    """The log of what was done, newest first."""
    before = int(query.before) if query.before else None
    async with call.services.database.read() as repos:
        entries = await repos.audit.page(
            before,
            query.limit,
            since=query.since,
            until=query.until,
            user_id=query.person_id,
            action=query.action,
            subject=query.subject,
        )
    items = [_entry(call, entry) for entry in entries if _may_read(call, entry)]
    return AuditPage(items=items, next=str(entries[-1].id) if len(entries) == query.limit else None)


def _may_read(call: Call, entry: AuditRecord) -> bool:
    if call.principal.area is None:
        return True
    user = call.picture.users.get(entry.user_id or "")
    return user is not None and _is_inside(call, user.organization_id)


def _entry(call: Call, entry: AuditRecord) -> AuditEntry:
    person = present.person_ref(call.picture, entry.user_id)
    return AuditEntry(
        id=str(entry.id),
        at=entry.at,
        person=person,
        username=entry.username,
        action=entry.action,
        text=audit_text(entry, call.catalog, call.picture),
        subject=entry.subject,
        outcome=entry.outcome,
        address=entry.address,
    )


def _is_inside(call: Call, organization_id: str | None) -> bool:
    area = call.principal.area
    return area is None or (organization_id is not None and call.picture.within(area, organization_id))


def _known(call: Call, user_id: str) -> UserRecord:
    user = call.picture.users.get(user_id)
    if user is None:
        raise NotFoundError
    if not _is_inside(call, user.organization_id):
        raise OutsideAreaError
    return user


def _check_rights(call: Call, role: Role, organization_id: str | None) -> None:
    """Nobody gives an area wider than their own, nor makes administrators from inside an area."""
    if organization_id is not None and organization_id not in call.picture.organizations:
        raise FieldsInvalidError([WrongField("organization_id", "not-there", {})])
    if not _is_inside(call, organization_id):
        raise FieldsInvalidError([WrongField("organization_id", "outside-area", {})])
    if call.principal.area is not None and role in _EVERYWHERE:
        raise FieldsInvalidError([WrongField("role", "role-not-yours", {})])


def _changed(user: UserRecord, body: UserUpdate) -> UserRecord:
    return replace(
        user,
        display_name=body.display_name,
        role=body.role,
        # Rights beyond the role were given with it, so they go with it.
        scopes=user.scopes if body.role is user.role else (),
        organization_id=body.organization_id,
        locale=body.language.value,
        active=body.enabled,
    )


def _may_manage(user: UserRecord) -> bool:
    """Whether the person gives rights in all of the county."""
    return user.active and user.organization_id is None and Scope.USERS_WRITE in scopes_of(user.role, user.scopes)


def _others_manage(call: Call, user_id: str) -> bool:
    return any(user.id != user_id and _may_manage(user) for user in call.picture.users.values())


def _shown(call: Call, user: UserRecord) -> User:
    organization = call.picture.organizations.get(user.organization_id or "")
    locked = user.locked_until if user.locked_until and user.locked_until > call.now() else None
    return User(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        role=user.role,
        organization=present.organization_ref(organization) if organization else None,
        language=call.services.catalogs.of(user.locale).language,
        enabled=user.active,
        locked_until=locked,
        last_login_at=user.last_login_at,
        created_at=user.created_at,
    )
