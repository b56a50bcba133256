"""Tokens for players that cannot log in (OBS, GStreamer, a browser elsewhere): one camera, one person, a short time.

Kept in memory alone, by their SHA-256: they end with the service, and a new one costs a click. What the person may not
see, the token does not open either: rights are looked up when it is used.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from media.clock import Clock
from media.unit import NS_PER_S
from storage.records import User
from web.access.principal import Principal
from web.access.scopes import Scope, scopes_of
from web.access.sessions import token_hash
from web.county import County

_MAX = 5_000
PREFIX = "view."
"""What tells these tokens from sessions'."""


@dataclass(frozen=True, slots=True)
class ViewToken:
    """A new token; it goes to the person and nowhere else."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Held:
    user_id: str
    camera_id: str
    password_hash: str = field(repr=False)
    until_ns: int
    expires_at: datetime


class ViewTokens:
    """Owned by the application; used from its event loop only. Bounded: the oldest goes first."""

    def __init__(self, clock: Clock, county: County, lifetime_s: float = 3600.0) -> None:
        self._clock = clock
        self._county = county
        self._lifetime_s = lifetime_s
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def issue(self, user: User, camera_id: str) -> ViewToken:
        """A token with which a player may begin to look through a camera in the person's name."""
        token = PREFIX + secrets.token_urlsafe(32)
        life_ns = int(self._lifetime_s * NS_PER_S)
        expires_at = datetime.fromtimestamp((self._clock.utc_ns() + life_ns) / NS_PER_S, UTC)
        until_ns = self._clock.monotonic_ns() + life_ns
        self._held[token_hash(token)] = _Held(user.id, camera_id, user.password_hash, until_ns, expires_at)
        while len(self._held) > _MAX:
            self._held.popitem(last=False)
        return ViewToken(token, expires_at)

    def find(self, token: str, camera_id: str) -> Principal | None:
        """Who is behind a token; None if it is unknown, too old, of another camera, or its person disabled or
        with another password than when they asked for it. It opens nothing but looking."""
        key = token_hash(token)
        held = self._held.get(key)
        if held is None or held.camera_id != camera_id:
            return None
        user = self._county.picture.users.get(held.user_id)
        gone = user is None or not user.active or user.password_hash != held.password_hash
        if user is None or gone or self._clock.monotonic_ns() > held.until_ns:
            del self._held[key]
            return None
        scopes = frozenset({Scope.LIVE_WATCH}) & scopes_of(user.role, user.scopes)
        return Principal(user, scopes, key, "", held.expires_at, by_cookie=False)


VIEW_TOKENS = web.AppKey("view_tokens", ViewTokens)
