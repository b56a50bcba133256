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
from web.access.remembered import Remembered
from web.access.sessions import csrf_token, token_hash
from web.county import County
from web.errors import BusyError, LockedOutError

CODE_S = 300
"""For how long a code is good, seconds."""
_REMEMBERED_S = 5.0
_SEEN_EACH = timedelta(minutes=10)
_AHEAD = timedelta(days=1)


class Devices:
    """Owned by the application; used from its event loop only."""

    def __init__(self, database: Database, county: County, clock: Clock) -> None:
        self._database = database
        self._county = county
        self._clock = clock
        self._known: Remembered[RoomDevice] = Remembered(clock, _REMEMBERED_S)

    async def find(self, token: str, *, by_cookie: bool) -> Principal | None:
        """The device behind a token; None if there is none (any more). Raises DatabaseError."""
        key = token_hash(token)
        device = self._known.find(key) or await self._known.ask(key, lambda: self._look_up(key))
        site = self._county.picture.sites.get(device.site_id) if device is not None else None
        if device is None or site is None:
            return None
        csrf_hash = token_hash(csrf_token(token))
        return room_principal(device, site, csrf_hash, _utc(self._clock) + _AHEAD, by_cookie=by_cookie)

    def forget(self, device_id: str) -> None:
        """Drop what is remembered of a device whose rights have changed."""
        self._known.forget_where(lambda device: device.id == device_id)

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
