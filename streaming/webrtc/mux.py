"""Whose is this packet? All sessions share one port (RFC 7983, RFC 8445): a check names its session by our ufrag in
USERNAME; everything else belongs to whom its sender's address was given by an authentic check."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from media.clock import Clock
from media.unit import NS_PER_S
from streaming.webrtc import stun
from streaming.webrtc.ice import MAX_PATHS, IceSession, Path

MAX_STRANGERS = 4_096


@dataclass(slots=True)
class MuxCounters:
    """What came and was not passed on. ``unknown`` packets came from nobody known, ``broken`` checks were not
    authentic, ``limited`` were over the bound of an address."""

    checks: int = 0
    unknown: int = 0
    broken: int = 0
    limited: int = 0


@dataclass(frozen=True, slots=True)
class MuxSettings:
    """``checks_per_s`` bounds the checks from one host that are computed on, of senders that no session knows yet;
    ``burst`` is how many may come at once. A whole office may sit behind one address."""

    checks_per_s: float = 100.0
    burst: float = 400.0


class _Route:
    """Who is behind a sender's address. ``repeated`` is the check that keeps its consent fresh."""

    __slots__ = ("path", "repeated", "session")

    def __init__(self, session: IceSession, path: Path) -> None:
        self.session = session
        self.path = path
        self.repeated: stun.Repeated | None = None


@dataclass
class Mux:
    """Owned by the port; used from its event loop only."""

    clock: Clock
    settings: MuxSettings = field(default_factory=MuxSettings)
    counters: MuxCounters = field(default_factory=MuxCounters)
    _sessions: dict[str, IceSession] = field(default_factory=dict)
    _routes: dict[Hashable, _Route] = field(default_factory=dict)
    # host → (tokens left, when they were counted); the least recently seen goes when there are too many.
    _strangers: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    @property
    def sessions(self) -> int:
        """How many sessions are known."""
        return len({id(session) for session in self._sessions.values()})

    def add(self, session: IceSession) -> None:
        """Take a session in, or the new credentials of one that is known."""
        self._sessions[session.local.fragment] = session
        good = {generation.ours.fragment for generation in session.generations}
        for fragment in [name for name, owner in self._sessions.items() if owner is session and name not in good]:
            del self._sessions[fragment]

    def remove(self, session: IceSession) -> None:
        """Forget a session and all its paths."""
        for fragment in [name for name, owner in self._sessions.items() if owner is session]:
            del self._sessions[fragment]
        for key in [key for key, route in self._routes.items() if route.session is session]:
            del self._routes[key]

    def datagram(
        self, key: Hashable, peer: tuple[str, int], data: memoryview, arrival_ns: int, new_path: Callable[[], Path]
    ) -> None:
        """Take one packet of at least one byte. ``key`` tells senders apart; ``new_path`` makes the way back to this
        one."""
        route = self._routes.get(key)
        if data[0] > 3:
            if route is None:
                self.counters.unknown += 1
            else:
                route.session.on_packet(bytes(data), arrival_ns)
            return
        if route is None or not self._again(route, data):
            self._check(key, peer, data, route, new_path)

    def _again(self, route: _Route, data: memoryview) -> bool:
        """Whether the packet was a check that only says once more what the last one said; then it is answered."""
        repeated, session = route.repeated, route.session
        if repeated is None or not session.is_settled(route.path, repeated.signer):
            return False
        answer = repeated.answer(bytes(data))
        if answer is None:
            return False
        self.counters.checks += 1
        route.path.send(answer)
        session.alive()
        return True

    def closed(self, key: Hashable) -> None:
        """A way back is no more."""
        route = self._routes.pop(key, None)
        if route is not None:
            route.session.lost(route.path)

    def knows(self, key: Hashable) -> bool:
        """Whether a session owns this sender."""
        return key in self._routes

    def _check(
        self,
        key: Hashable,
        peer: tuple[str, int],
        data: memoryview,
        route: _Route | None,
        new_path: Callable[[], Path],
    ) -> None:
        request = stun.read_request(data)
        if request is None:
            # Indications (RFC 8445, 11) and answers want nothing from an ICE-lite agent.
            return
        fragment = request.username.partition(b":")[0].decode("latin-1")
        session = self._sessions.get(fragment)
        if session is None:
            # No answer: whoever guesses must not learn that somebody listens.
            self.counters.unknown += 1
            return
        if (route is None or route.session is not session) and not self._allowed(peer[0]):
            self.counters.limited += 1
            return
        signer = session.signer_of(fragment)
        if signer is None:
            self.counters.unknown += 1
            return
        try:
            check = request.check(signer)
        except stun.StunBrokenError:
            self.counters.broken += 1
            return
        self.counters.checks += 1
        path = route.path if route is not None else new_path()
        if check.controlled:
            path.send(stun.role_conflict(check, signer))
            return
        if not session.accepts(check, fragment):
            self.counters.broken += 1
            return
        # Before the session is told, which may send at once: the peer must know first that the path works.
        path.send(stun.success(check, peer, signer))
        if route is None or route.session is not session:
            if route is not None:
                route.session.lost(route.path)
            route = self._routes[key] = _Route(session, path)
        session.checked(path, check, fragment)
        route.repeated = stun.Repeated(bytes(data), peer, signer) if session.is_settled(path, signer) else None
        self._bound(session)

    def expire(self) -> None:
        """End the sessions whose peers' consent is over."""
        for session in {id(session): session for session in self._sessions.values()}.values():
            if session.expired():
                session.on_expired()

    def _bound(self, session: IceSession) -> None:
        while len(session.paths) > MAX_PATHS:
            spare = next(path for path in session.paths if path is not session.path)
            session.paths.remove(spare)
            spare.close()
            for key in [key for key, route in self._routes.items() if route.path is spare]:
                del self._routes[key]

    def _allowed(self, host: str) -> bool:
        now = self.clock.monotonic_ns()
        tokens, since = self._strangers.pop(host, (self.settings.burst, now))
        tokens = min(self.settings.burst, tokens + (now - since) * self.settings.checks_per_s / NS_PER_S)
        allowed = tokens >= 1
        self._strangers[host] = (tokens - 1 if allowed else tokens, now)
        while len(self._strangers) > MAX_STRANGERS:
            self._strangers.popitem(last=False)
        return allowed
