"""Log-in and server-side sessions.

The browser holds a random token in an HttpOnly cookie; the database holds its SHA-256. The CSRF token is derived from
the session's, so a page can be told it again after a reload, and only who knows the session can make it.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from media.clock import Clock
from media.unit import NS_PER_S
from storage.database import Database
from storage.records import User, UserSession
from web.access.passwords import Passwords
from web.access.principal import Principal, principal_of
from web.access.remembered import Remembered
from web.errors import LockedOutError, LoginFailedError

_MAX_STRANGERS = 10_000


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Idle and total lifetime, seconds. After ``failures`` in a row a name waits ``lockout_first_s``, doubled with each
    further failure up to ``lockout_max_s``. A session is looked up in the database at most every ``cache_s``."""

    idle_s: int = 3600
    max_s: int = 12 * 3600
    failures: int = 5
    lockout_first_s: int = 60
    lockout_max_s: int = 3600
    cache_s: float = 5.0


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A new session. ``token`` and ``csrf_token`` go to the browser and nowhere else."""

    token: str
    csrf_token: str
    user: User
    expires_at: datetime


@dataclass(slots=True)
class _Stranger:
    failures: int = 0
    until_ns: int = 0


def token_hash(token: str) -> str:
    """What the database keeps of a token. It is random with 256 bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def csrf_token(token: str) -> str:
    """The CSRF token that belongs to a session's token."""
    return hmac.new(token.encode("utf-8", "surrogatepass"), b"sanhui csrf", hashlib.sha256).hexdigest()


class Sessions:
    """Owned by the application; used from its event loop only."""

    def __init__(self, database: Database, passwords: Passwords, clock: Clock, settings: SessionSettings) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self.settings = settings
        # Told the id of a user, or a session, whose rights have changed or ended.
        self.on_change: list[Callable[[str], None]] = []
        self._known: Remembered[tuple[UserSession, User]] = Remembered(clock, settings.cache_s)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Names that no user has: they lock like real ones, so that nobody learns which names exist.
        self._strangers: OrderedDict[str, _Stranger] = OrderedDict()

    def now(self) -> datetime:
        """The time, aware, UTC."""
        return datetime.fromtimestamp(self._clock.utc_ns() / NS_PER_S, UTC)

    async def log_in(self, username: str, password: str, address: str, user_agent: str) -> LoggedIn:
        """Check name and password, open a session. Raises LoginFailedError, LockedOutError."""
        # One try of a name after the other: of many at once, all would pass the look at the lock.
        turn = self._turns.setdefault(username, asyncio.Lock())
        async with turn:
            return await self._log_in(username, password, address, user_agent)

    async def _log_in(self, username: str, password: str, address: str, user_agent: str) -> LoggedIn:
        user = await self._identify(username, password)
        if self._passwords.outdated(user.password_hash):
            hashed = await self._passwords.hash(password)
            async with self._database.transaction() as repos:
                current = await repos.users.get(user.id)
                if current.password_hash == user.password_hash:
                    user = replace(current, password_hash=hashed)
                    await repos.users.update(user)
        return await self.open(user, address, user_agent)

    async def confirm(self, user: User, password: str) -> User:
        """The person once more, by their password, as they are now; as bounded as a log-in. Raises LoginFailedError,
        LockedOutError."""
        turn = self._turns.setdefault(user.username, asyncio.Lock())
        async with turn:
            return await self._identify(user.username, password)

    async def _identify(self, username: str, password: str) -> User:
        now = self.now()
        async with self._database.read() as repos:
            user = await repos.users.by_username(username)
        if user is not None and user.locked_until is not None and user.locked_until > now:
            raise LockedOutError(seconds=int((user.locked_until - now).total_seconds()) + 1)
        if user is None:
            self._check_stranger(username)
        known = user.password_hash if user is not None and user.active else None
        if not await self._passwords.verify(password, known) or user is None:
            await self._failed(username, user, now)
        assert user is not None
        return user

    async def open(self, user: User, address: str, user_agent: str) -> LoggedIn:
        """Open a session for a user whose identity is established. Raises LoginFailedError if the password it was
        established by has been changed since: that ended all sessions, this one too."""
        now = self.now()
        token = secrets.token_urlsafe(32)
        csrf = csrf_token(token)
        session = UserSession(
            token_hash=token_hash(token),
            csrf_hash=token_hash(csrf),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            expires_at=self._expiry(now, now),
            address=address[:64],
            user_agent=user_agent.encode("utf-8", "replace").decode()[:300],
        )
        async with self._database.transaction() as repos:
            if (await repos.users.get(user.id)).password_hash != user.password_hash:
                raise LoginFailedError(left=self.settings.failures)
            await repos.sessions.delete_expired(now)
            await repos.sessions.add(session)
            await repos.users.logged_in(user.id, now)
        return LoggedIn(token, csrf, user, session.expires_at)

    async def find(self, token: str, *, by_cookie: bool, alive: bool = True) -> Principal | None:
        """Who is behind a token; None if its session is unknown, over, or its user disabled. A sign of life where
        ``alive``: a page that refreshes itself must not keep a session open for ever."""
        key = token_hash(token)
        now = self.now()
        known = self._known.find(key)
        if known is None or (alive and self._is_due(known[0], now)):
            known = await self._known.ask(key, lambda: self._look_up(key, now, alive=alive))
        if known is None:
            return None
        session, user = known
        if session.expires_at <= now or not user.active:
            self._known.forget(key)
            return None
        return principal_of(user, session, by_cookie=by_cookie)

    async def close(self, session: str) -> None:
        """Log out."""
        async with self._database.transaction() as repos:
            await repos.sessions.delete(session)
        self._known.forget(session)
        self._tell(session)

    def forget(self, user_id: str) -> None:
        """Drop what is remembered of a user whose rights or sessions have changed."""
        self._known.forget_where(lambda known: known[1].id == user_id)
        self._tell(user_id)

    def _tell(self, whose: str) -> None:
        for listener in tuple(self.on_change):
            listener(whose)

    def _expiry(self, created_at: datetime, now: datetime) -> datetime:
        longest = created_at + timedelta(seconds=self.settings.max_s)
        return min(now + timedelta(seconds=self.settings.idle_s), longest)

    def _is_due(self, session: UserSession, now: datetime) -> bool:
        """Whether a sign of life is to be written down: once a minute, or ten times in the idle time."""
        return (now - session.last_seen_at).total_seconds() > min(60, self.settings.idle_s / 10)

    async def _look_up(self, key: str, now: datetime, *, alive: bool) -> tuple[UserSession, User] | None:
        async with self._database.read() as repos:
            found = await repos.sessions.find(key)
        if found is None or found[0].expires_at <= now:
            return None
        session, user = found
        expires_at = self._expiry(session.created_at, now)
        if alive and self._is_due(session, now):
            async with self._database.transaction() as repos:
                await repos.sessions.touch(key, now, expires_at)
            session = replace(session, last_seen_at=now, expires_at=expires_at)
        return session, user

    def _check_stranger(self, username: str) -> None:
        stranger = self._strangers.get(username)
        wait_ns = stranger.until_ns - self._clock.monotonic_ns() if stranger else 0
        if wait_ns > 0:
            raise LockedOutError(seconds=wait_ns // NS_PER_S + 1)

    async def _failed(self, username: str, user: User | None, now: datetime) -> None:
        if user is not None:
            async with self._database.transaction() as repos:
                failures = await repos.users.failed(user.id)
                wait_s = self._wait_s(failures)
                if wait_s:
                    await repos.users.lock(user.id, now + timedelta(seconds=wait_s))
        else:
            stranger = self._strangers.setdefault(username, _Stranger())
            self._strangers.move_to_end(username)
            stranger.failures += 1
            failures = stranger.failures
            wait_s = self._wait_s(failures)
            stranger.until_ns = self._clock.monotonic_ns() + wait_s * NS_PER_S
            while len(self._strangers) > _MAX_STRANGERS:
                self._strangers.popitem(last=False)
        if wait_s:
            raise LockedOutError(seconds=wait_s)
        raise LoginFailedError(left=self.settings.failures - failures)

    def _wait_s(self, failures: int) -> int:
        beyond = failures - self.settings.failures
        if beyond < 0:
            return 0
        return min(self.settings.lockout_first_s * (1 << min(beyond, 30)), self.settings.lockout_max_s)
