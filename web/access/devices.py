"""Devices of rooms: who a TV or box is, and how it is paired with a site without anybody typing there.

The box asks for a pairing and shows a code; somebody enters it at the desk. What the box is known by afterwards is a
token that it got as an HttpOnly cookie when it asked; before the code is entered, that token opens nothing.
"""

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from media.clock import Clock
from media.unit import NS_PER_S
from storage.database import Database
from storage.records import RoomDevice
from web.access.counted import Counted
from web.access.principal import Principal, room_principal
from web.access.sessions import csrf_token, token_hash
from web.county import County
from web.errors import BusyError, LockedOutError

CODE_S = 300
"""For how long a code is good, seconds."""
_CACHE_NS = 5 * NS_PER_S
_MAX_CACHED = 10_000
_SEEN_EACH = timedelta(minutes=10)
_AHEAD = timedelta(days=1)


class Devices:
    """Owned by the application; used from its event loop only."""

    def __init__(self, database: Database, county: County, clock: Clock) -> None:
        self._database = database
        self._county = county
        self._clock = clock
        self._cache: OrderedDict[str, tuple[RoomDevice, int]] = OrderedDict()

    async def find(self, token: str, *, by_cookie: bool) -> Principal | None:
        """The device behind a token; None if there is none (any more). Raises DatabaseError."""
        key = token_hash(token)
        now_ns = self._clock.monotonic_ns()
        cached = self._cache.get(key)
        if cached is None or now_ns - cached[1] > _CACHE_NS:
            device = await self._look_up(key)
            if device is None:
                self._cache.pop(key, None)
                return None
            cached = (device, now_ns)
            self._cache[key] = cached
            self._cache.move_to_end(key)
            while len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        device = cached[0]
        site = self._county.picture.sites.get(device.site_id)
        if site is None:
            return None
        csrf_hash = token_hash(csrf_token(token))
        return room_principal(device, site, csrf_hash, _utc(self._clock) + _AHEAD, by_cookie=by_cookie)

    def forget(self, device_id: str) -> None:
        """Drop what is cached of a device whose rights have changed."""
        for key in [key for key, (device, _) in self._cache.items() if device.id == device_id]:
            del self._cache[key]

    async def _look_up(self, key: str) -> RoomDevice | None:
        async with self._database.read() as repos:
            device = await repos.devices.find(key)
        now = _utc(self._clock)
        if device is not None and (device.last_seen_at is None or now - device.last_seen_at > _SEEN_EACH):
            async with self._database.transaction() as repos:
                await repos.devices.touch(device.id, now)
        return device


def _utc(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.utc_ns() / NS_PER_S, UTC)


@dataclass(frozen=True, slots=True)
class PairingBounds:
    """At most ``waiting`` boxes at a time; per network address ``starts`` codes, and per person ``wrong`` codes, in
    ``span_s`` seconds. With them a code of six digits is guessed once in some thousand years."""

    waiting: int = 500
    starts: int = 60
    wrong: int = 10
    span_s: int = 600


@dataclass(slots=True)
class Waiting:
    """A box that shows ``code``. ``changed`` is set when the code was entered or is over."""

    token_hash: str = field(repr=False)
    code: str
    expires_at: datetime
    address: str
    user_agent: str
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Pairings:
    """Codes that boxes show now. In memory: after a restart a box asks for a new one. Owned by the event loop."""

    def __init__(self, clock: Clock, bounds: PairingBounds | None = None) -> None:
        self._clock = clock
        self._bounds = bounds or PairingBounds()
        self._by_token: OrderedDict[str, Waiting] = OrderedDict()
        self._by_code: dict[str, Waiting] = {}
        self._starts = Counted(clock, self._bounds.span_s)
        self._wrong = Counted(clock, self._bounds.span_s)

    def start(self, hashed: str, address: str, user_agent: str) -> Waiting:
        """A new code for the box with this token; the same one while it is good. Raises BusyError."""
        self._forget()
        known = self._by_token.get(hashed)
        if known is not None:
            return known
        if len(self._by_token) >= self._bounds.waiting:
            raise BusyError(seconds=60)
        if self._starts.count(address) >= self._bounds.starts:
            raise BusyError(seconds=60)
        self._starts.add(address)
        code = f"{secrets.randbelow(1_000_000):06d}"
        while code in self._by_code:
            code = f"{secrets.randbelow(1_000_000):06d}"
        expires_at = _utc(self._clock) + timedelta(seconds=CODE_S)
        waiting = Waiting(hashed, code, expires_at, address[:64], user_agent[:300])
        self._by_token[hashed] = self._by_code[code] = waiting
        return waiting

    def of(self, hashed: str) -> Waiting | None:
        """The code of the box with this token; None if it has none that is good."""
        self._forget()
        return self._by_token.get(hashed)

    def find(self, code: str, person: str) -> Waiting | None:
        """The box that shows ``code``; None if none does, which is counted. Raises LockedOutError."""
        self._forget()
        if self._wrong.count(person) >= self._bounds.wrong:
            raise LockedOutError(seconds=self._wrong.wait_s(person))
        waiting = self._by_code.get(code)
        if waiting is None:
            self._wrong.add(person)
        return waiting

    def claim(self, waiting: Waiting) -> bool:
        """Use the code up; :meth:`finish` follows when the box can look for itself. False if it was used meanwhile."""
        if self._by_code.get(waiting.code) is not waiting:
            return False
        del self._by_code[waiting.code]
        return True

    def finish(self, waiting: Waiting) -> None:
        """The box no longer waits."""
        self._by_token.pop(waiting.token_hash, None)
        self._by_code.pop(waiting.code, None)
        waiting.changed.set()

    def _forget(self) -> None:
        now = _utc(self._clock)
        while self._by_token and (waiting := next(iter(self._by_token.values()))).expires_at <= now:
            self.finish(waiting)
