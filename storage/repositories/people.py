"""Users, sessions, one-time tokens and the audit trail."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from storage.models import AuditRow, OneTimeTokenRow, UserRow, UserSessionRow
from storage.models.base import Base
from storage.records import AuditEntry, AuditOutcome, OneTimeToken, User, UserSession
from storage.repositories.base import Repository, record_of, values_of


def _user(row: Base) -> User:
    user = record_of(User, row)
    return replace(user, scopes=tuple(user.scopes))


class UserRepository(Repository):
    """People who log in. Names are compared as they are stored: the caller folds case."""

    kind = "user"

    async def add(self, user: User) -> None:
        """Raises ``ConflictError`` if the name is taken."""
        await self._execute(insert(UserRow).values(values_of(user)))

    async def get(self, user_id: str) -> User:
        """Raises ``RecordNotFoundError``."""
        row = (await self._execute(select(UserRow).where(UserRow.id == user_id))).scalars().first()
        if row is None:
            raise self._not_found(user_id)
        return _user(row)

    async def by_username(self, username: str) -> User | None:
        """The user of that name, if there is one."""
        row = (await self._execute(select(UserRow).where(UserRow.username == username))).scalars().first()
        return None if row is None else _user(row)

    async def update(self, user: User) -> None:
        """Write what a person sets; log-in counters are written by :meth:`failed` and :meth:`logged_in` only."""
        values = values_of(user, without=("id", "created_at", "failed_logins", "locked_until", "last_login_at"))
        await self._changed_one(update(UserRow).where(UserRow.id == user.id).values(values), user.id)

    async def delete(self, user_id: str) -> None:
        """Remove the user and all its sessions. The audit trail keeps the name."""
        await self._changed_one(delete(UserRow).where(UserRow.id == user_id), user_id)

    async def failed(self, user_id: str) -> int:
        """Count a failed log-in; how many in a row it is now."""
        statement = update(UserRow).where(UserRow.id == user_id).values(failed_logins=UserRow.failed_logins + 1)
        return int((await self._execute(statement.returning(UserRow.failed_logins))).scalar_one_or_none() or 0)

    async def lock(self, user_id: str, until: datetime | None) -> None:
        """Refuse log-ins until then; None unlocks and clears the count."""
        values: dict[str, Any] = {"locked_until": until}
        if until is None:
            values["failed_logins"] = 0
        await self._changed_one(update(UserRow).where(UserRow.id == user_id).values(values), user_id)

    async def logged_in(self, user_id: str, at: datetime) -> None:
        """Clear the count of failures and note the time."""
        values = {"failed_logins": 0, "locked_until": None, "last_login_at": at}
        await self._changed_one(update(UserRow).where(UserRow.id == user_id).values(values), user_id)

    async def all(self) -> tuple[User, ...]:
        """Every user by name."""
        rows = (await self._execute(select(UserRow).order_by(UserRow.username))).scalars()
        return tuple(_user(row) for row in rows)

    async def count(self) -> int:
        """How many there are."""
        return await self._number(select(func.count()).select_from(UserRow))


class UserSessionRepository(Repository):
    """Log-ins."""

    kind = "session"

    async def add(self, session: UserSession) -> None:
        """Open a session."""
        await self._execute(insert(UserSessionRow).values(values_of(session)))

    async def find(self, token_hash: str) -> tuple[UserSession, User] | None:
        """The session with its user, if there is one; whether it has expired is for the caller to see."""
        query = (
            select(UserSessionRow, UserRow)
            .join(UserRow, UserSessionRow.user_id == UserRow.id)
            .where(UserSessionRow.token_hash == token_hash)
        )
        row = (await self._execute(query)).first()
        return None if row is None else (record_of(UserSession, row[0]), _user(row[1]))

    async def touch(self, token_hash: str, last_seen_at: datetime, expires_at: datetime) -> None:
        """Note a sign of life; nothing happens if the session has gone."""
        statement = update(UserSessionRow).where(UserSessionRow.token_hash == token_hash)
        await self._changed(statement.values(last_seen_at=last_seen_at, expires_at=expires_at))

    async def delete(self, token_hash: str) -> None:
        """Log out; nothing happens if the session has gone."""
        await self._changed(delete(UserSessionRow).where(UserSessionRow.token_hash == token_hash))

    async def delete_of_user(self, user_id: str) -> int:
        """Log a user out everywhere; how many sessions there were."""
        return await self._changed(delete(UserSessionRow).where(UserSessionRow.user_id == user_id))

    async def delete_expired(self, now: datetime) -> int:
        """Remove sessions that have expired; how many."""
        return await self._changed(delete(UserSessionRow).where(UserSessionRow.expires_at <= now))

    async def count(self, now: datetime) -> int:
        """How many have not expired."""
        query = select(func.count()).select_from(UserSessionRow).where(UserSessionRow.expires_at > now)
        return await self._number(query)


class OneTimeTokenRepository(Repository):
    """Links that work once."""

    kind = "one-time token"

    async def add(self, token: OneTimeToken) -> None:
        """Issue a token."""
        await self._execute(insert(OneTimeTokenRow).values(values_of(token)))

    async def find(self, token_hash: str, purpose: str, now: datetime) -> OneTimeToken | None:
        """The token if it would work now; it stays unused."""
        query = select(OneTimeTokenRow).where(
            OneTimeTokenRow.token_hash == token_hash,
            OneTimeTokenRow.purpose == purpose,
            OneTimeTokenRow.used_at.is_(None),
            OneTimeTokenRow.expires_at > now,
        )
        return await self._first(OneTimeToken, query)

    async def consume(self, token_hash: str, purpose: str, now: datetime) -> OneTimeToken | None:
        """Use the token up. None if it is unknown, used, expired, or for something else; of two callers one gets it."""
        token = await self.find(token_hash, purpose, now)
        if token is None:
            return None
        used = await self._changed(
            update(OneTimeTokenRow)
            .where(OneTimeTokenRow.token_hash == token_hash, OneTimeTokenRow.used_at.is_(None))
            .values(used_at=now)
        )
        return replace(token, used_at=now) if used == 1 else None

    async def revoke(self, purpose: str, user_id: str | None = None) -> int:
        """Remove the unused tokens of a purpose (of one user, where given); how many."""
        statement = delete(OneTimeTokenRow).where(OneTimeTokenRow.purpose == purpose, OneTimeTokenRow.used_at.is_(None))
        if user_id is not None:
            statement = statement.where(OneTimeTokenRow.user_id == user_id)
        return await self._changed(statement)


class AuditRepository(Repository):
    """The audit trail: written and read, never changed."""

    kind = "audit entry"

    async def add(self, entry: AuditEntry) -> AuditEntry:
        """The entry with its id."""
        statement = insert(AuditRow).values(values_of(entry, without=("id",))).returning(AuditRow.id)
        return replace(entry, id=(await self._execute(statement)).scalar_one())

    async def page(
        self,
        before_id: int | None = None,
        limit: int = 100,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        user_id: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        outcome: AuditOutcome | None = None,
    ) -> tuple[AuditEntry, ...]:
        """Newest entries first, older than ``before_id``; narrowed by what is given."""
        query = select(AuditRow)
        if before_id is not None:
            query = query.where(AuditRow.id < before_id)
        if since is not None:
            query = query.where(AuditRow.at >= since)
        if until is not None:
            query = query.where(AuditRow.at < until)
        for column, value in (
            (AuditRow.user_id, user_id),
            (AuditRow.action, action),
            (AuditRow.subject, subject),
            (AuditRow.outcome, outcome),
        ):
            if value is not None:
                query = query.where(column == value)
        return await self._all(AuditEntry, query.order_by(AuditRow.id.desc()).limit(limit))
