"""Users, sessions, one-time tokens, audit: on SQLite and PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError
from storage.records import AuditEntry, AuditOutcome, OneTimeToken, Role, User, UserSession
from tests.support.rows import NOON, SampleCounty, digest, user

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def wang(database: Database, county: SampleCounty) -> User:
    """An official of the first town."""
    made = user(organization_id=county.towns[0].id, scopes=("listen", "speak"))
    async with database.transaction() as repos:
        await repos.users.add(made)
    return made


async def test_a_user_comes_back(database: Database, wang: User) -> None:
    async with database.read() as repos:
        assert await repos.users.get(wang.id) == wang
        assert await repos.users.by_username("wang") == wang
        assert await repos.users.by_username("li") is None
        assert await repos.users.all() == (wang,)
        assert await repos.users.count() == 1
    assert wang.password_hash not in repr(wang)


async def test_a_name_is_taken_once(database: Database, wang: User) -> None:
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.users.add(user(wang.username))


async def test_failed_logins_are_counted_though_they_come_at_once(database: Database, wang: User) -> None:
    async def fail() -> int:
        async with database.transaction() as repos:
            return await repos.users.failed(wang.id)

    assert sorted(await asyncio.gather(*(fail() for _ in range(5)))) == [1, 2, 3, 4, 5]
    async with database.transaction() as repos:
        await repos.users.lock(wang.id, NOON + 10 * MINUTE)
    async with database.read() as repos:
        locked = await repos.users.get(wang.id)
    assert (locked.failed_logins, locked.locked_until) == (5, NOON + 10 * MINUTE)
    async with database.transaction() as repos:
        await repos.users.logged_in(wang.id, NOON)
        free = await repos.users.get(wang.id)
        assert await repos.users.failed("none") == 0
    assert (free.failed_logins, free.locked_until, free.last_login_at) == (0, None, NOON)


async def test_an_unlocked_user_starts_from_zero(database: Database, wang: User) -> None:
    async with database.transaction() as repos:
        await repos.users.failed(wang.id)
        await repos.users.lock(wang.id, NOON)
        await repos.users.lock(wang.id, None)
        assert await repos.users.get(wang.id) == wang


async def test_an_update_does_not_touch_the_counters(database: Database, wang: User) -> None:
    changed = replace(wang, display_name="王主任", role=Role.ARCHIVIST, scopes=(), active=False, locale="en")
    async with database.transaction() as repos:
        await repos.users.failed(wang.id)
        await repos.users.update(changed)
        assert await repos.users.get(wang.id) == replace(changed, failed_logins=1)


def session(of: User, name: str = "a", minutes: int = 30) -> UserSession:
    """A session that began at noon."""
    return UserSession(
        token_hash=digest(name),
        csrf_hash=digest("csrf " + name),
        user_id=of.id,
        created_at=NOON,
        last_seen_at=NOON,
        expires_at=NOON + minutes * MINUTE,
        address="192.0.2.1",
        user_agent="Mozilla/5.0 汉字",
    )


async def test_sessions(database: Database, wang: User) -> None:
    first, second = session(wang, "a"), session(wang, "b", minutes=5)
    async with database.transaction() as repos:
        await repos.sessions.add(first)
        await repos.sessions.add(second)
        await repos.sessions.touch(first.token_hash, NOON + MINUTE, NOON + 31 * MINUTE)
        await repos.sessions.touch(digest("none"), NOON, NOON)
    async with database.read() as repos:
        found = await repos.sessions.find(first.token_hash)
        assert found == (replace(first, last_seen_at=NOON + MINUTE, expires_at=NOON + 31 * MINUTE), wang)
        assert await repos.sessions.find(digest("none")) is None
        assert await repos.sessions.count(NOON + 10 * MINUTE) == 1
    async with database.transaction() as repos:
        assert await repos.sessions.delete_expired(NOON + 5 * MINUTE) == 1
        await repos.sessions.add(session(wang, "c"))
        await repos.sessions.delete(digest("c"))
        assert await repos.sessions.delete_of_user(wang.id) == 1
    assert first.token_hash not in repr(first)


async def test_a_user_who_goes_takes_the_sessions_along(database: Database, wang: User) -> None:
    async with database.transaction() as repos:
        await repos.sessions.add(session(wang))
        await repos.users.delete(wang.id)
        assert await repos.sessions.find(session(wang).token_hash) is None
    with pytest.raises(RecordNotFoundError):
        async with database.transaction() as repos:
            await repos.users.delete(wang.id)


async def test_a_one_time_token_works_once(database: Database) -> None:
    token = OneTimeToken(token_hash=digest("t"), purpose="setup", created_at=NOON, expires_at=NOON + 60 * MINUTE)
    async with database.transaction() as repos:
        await repos.tokens.add(token)
        assert await repos.tokens.find(token.token_hash, "setup", NOON) == token
        assert await repos.tokens.consume(token.token_hash, "password-reset", NOON) is None
        assert await repos.tokens.consume(token.token_hash, "setup", NOON + 60 * MINUTE) is None
        assert await repos.tokens.consume(digest("other"), "setup", NOON) is None

    async def consume() -> OneTimeToken | None:
        async with database.transaction() as repos:
            return await repos.tokens.consume(token.token_hash, "setup", NOON + MINUTE)

    got = [found for found in await asyncio.gather(*(consume() for _ in range(5))) if found is not None]
    assert got == [replace(token, used_at=NOON + MINUTE)]


async def test_tokens_are_revoked_by_purpose(database: Database, wang: User) -> None:
    def token(name: str, purpose: str, user_id: str | None = None) -> OneTimeToken:
        return OneTimeToken(
            token_hash=digest(name), purpose=purpose, user_id=user_id, created_at=NOON, expires_at=NOON + MINUTE
        )

    async with database.transaction() as repos:
        await repos.tokens.add(token("1", "setup"))
        await repos.tokens.add(token("2", "password-reset", wang.id))
        await repos.tokens.add(token("3", "password-reset"))
        assert await repos.tokens.revoke("password-reset", wang.id) == 1
        assert await repos.tokens.revoke("setup") == 1
        assert await repos.tokens.find(digest("3"), "password-reset", NOON) is not None


def entry(number: int, **changes: object) -> AuditEntry:
    """The ``number``-th entry, a minute after the one before."""
    made = AuditEntry(
        at=NOON + number * MINUTE,
        user_id="u1",
        username="wang",
        action="meeting.watch",
        subject="meeting:m1",
        outcome=AuditOutcome.SUCCESS,
        address="192.0.2.1",
        detail={"reason": "督导", "seconds": number},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def test_the_audit_trail_is_paged_and_narrowed(database: Database) -> None:
    async with database.transaction() as repos:
        entries = [await repos.audit.add(entry(number)) for number in range(5)]
        other = await repos.audit.add(entry(5, user_id="u2", action="log-in", outcome=AuditOutcome.DENIED, subject=""))
    async with database.read() as repos:
        first = await repos.audit.page(limit=4)
        rest = await repos.audit.page(first[-1].id, limit=4)
        assert (*first, *rest) == (other, *reversed(entries))
        assert await repos.audit.page(user_id="u2") == (other,)
        assert await repos.audit.page(action="log-in", outcome=AuditOutcome.DENIED) == (other,)
        assert await repos.audit.page(action="log-in", outcome=AuditOutcome.SUCCESS) == ()
        assert len(await repos.audit.page(subject="meeting:m1")) == 5
        span = await repos.audit.page(since=NOON + MINUTE, until=NOON + 3 * MINUTE)
        assert span == (entries[2], entries[1])
