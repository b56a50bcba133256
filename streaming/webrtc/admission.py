"""How many sessions may begin: so many at a time, so many offers a second."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from media.clock import Clock
from media.unit import NS_PER_S
from streaming.webrtc.errors import SessionChangedError, SessionUnnamedError, TooManySessionsError


class Admission:
    """Counts offers. ``count`` tells how many sessions there are; ``per_s`` offers are read a second, ``burst`` at
    once."""

    def __init__(self, clock: Clock, count: Callable[[], int], max_sessions: int, per_s: float, burst: float) -> None:
        self._clock = clock
        self._count = count
        self._max_sessions = max_sessions
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at_ns = clock.monotonic_ns()
        self._opening = 0

    @contextmanager
    def opening(self) -> Iterator[None]:
        """One offer is being answered. Raises TooManySessionsError."""
        now = self._clock.monotonic_ns()
        self._tokens = min(self._burst, self._tokens + (now - self._at_ns) * self._per_s / NS_PER_S)
        self._at_ns = now
        if self._tokens < 1:
            raise TooManySessionsError("too many offers", seconds=2)
        self._tokens -= 1
        if self._count() + self._opening >= self._max_sessions:
            raise TooManySessionsError("too many sessions", seconds=30)
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1


def check_etag(if_match: str | None, etag: str, *, restart: bool) -> None:
    """Whether a PATCH is for the session as it is; ``if_match`` is the header as it came. A restart may say "*"
    (RFC 9725, 4.3). Candidates for the ICE session that there is are taken without it: known clients send none, and
    they name that session themselves. Raises SessionUnnamedError, SessionChangedError."""
    if if_match is None:
        if restart:
            raise SessionUnnamedError("no If-Match")
    elif if_match.strip() not in {etag, "*"}:
        raise SessionChangedError("the session has changed")


def new_etag() -> str:
    """An entity tag for a session as it is now (RFC 9110, 8.8.3)."""
    return f'"{secrets.token_hex(8)}"'
