"""ICE-lite (RFC 8445, 2.5): one session's credentials, the paths it was reached on, and the one that is used.

An ICE-lite agent has host candidates alone, sends no checks, and does what the peer nominates. Consent (RFC 7675) is
the peer's own checks: where none comes for a while, the peer is gone.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from media.clock import Clock
from media.unit import NS_PER_S
from streaming.webrtc import stun
from streaming.webrtc.wire import Wire

CONSENT_NS = 30 * NS_PER_S
"""RFC 7675, 5.1: consent expires after 30 s."""

MAX_PATHS = 16
MAX_GENERATIONS = 2


class Path(Protocol):
    """A way to the peer: a UDP address, or a TCP connection. Sending never waits; what cannot go is dropped."""

    @property
    def peer(self) -> tuple[str, int]:
        """The peer's address as it is seen from here."""
        ...

    @property
    def kind(self) -> str:
        """``udp`` or ``tcp``."""
        ...

    def send(self, packet: bytes) -> bool:
        """Send one packet; false if it was dropped."""
        ...

    def send_many(self, packets: Sequence[bytes]) -> int:
        """Send packets in order; how many went."""
        ...

    def send_wire(self, data: memoryview, wire: Wire) -> int:
        """Send packets that lie in ``data`` as ``wire`` says; how many went. ``data`` is good during the call."""
        ...

    def close(self) -> None:
        """The session is over."""
        ...


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """``fragment`` (ufrag) names a session, ``password`` keys its checks (RFC 8839, 5.4)."""

    fragment: str
    password: str

    @classmethod
    def random(cls) -> "IceCredentials":
        """New ones, with 72 and 144 bits (RFC 8445, 5.3 demands 24 and 128)."""
        return cls(secrets.token_hex(9), secrets.token_hex(18))


def _ignore(packet: bytes, arrival_ns: int) -> None:
    """What happens to packets of a session that is over."""


def _nothing() -> None:
    """What happens to news of a session that is over."""


class _Generation:
    """Credentials of one round of ICE, ours and theirs."""

    __slots__ = ("ours", "signer", "theirs")

    def __init__(self, ours: IceCredentials, theirs: IceCredentials) -> None:
        self.ours = ours
        self.theirs = theirs
        self.signer = stun.Signer(ours.password.encode())


class IceSession:
    """One session as ICE sees it. Owned by its peer; the mux calls :meth:`checked` and :meth:`packet`.

    ``on_packet`` gets what is neither STUN nor sent before consent, with its arrival (Unix nanoseconds); ``on_path`` is
    told when the first path, or another, is chosen, and when it is lost.
    """

    def __init__(
        self,
        remote: IceCredentials,
        clock: Clock,
        on_packet: Callable[[bytes, int], None],
        on_path: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._on_path = on_path
        self.on_packet = on_packet
        self.local = IceCredentials.random()
        self.remote = remote
        self.on_expired: Callable[[], None] = _nothing
        """Called when the peer's consent is over."""
        self.generations: list[_Generation] = [_Generation(self.local, remote)]
        """Credentials that are good, oldest first: after a restart the old pair serves until the new one
        has a path (RFC 8445, 9)."""
        self.paths: list[Path] = []
        self.path: Path | None = None
        self.path_changes = 0
        self._alive_ns = clock.monotonic_ns()
        self._nominated = False

    def restart(self, remote: IceCredentials) -> IceCredentials:
        """Begin anew with fresh credentials; the path in use stays until the peer nominates another."""
        self.local = IceCredentials.random()
        self.remote = remote
        self.generations = [*self.generations[-(MAX_GENERATIONS - 1) :], _Generation(self.local, remote)]
        self._nominated = False
        return self.local

    def signer_of(self, fragment: str) -> stun.Signer | None:
        """What checks of a fragment of ours are signed with."""
        for generation in self.generations:
            if generation.ours.fragment == fragment:
                return generation.signer
        return None

    def expired(self) -> bool:
        """Whether the peer's consent is over."""
        return self._clock.monotonic_ns() - self._alive_ns > CONSENT_NS

    def accepts(self, check: stun.Check, fragment: str) -> bool:
        """Whether a check for our ``fragment`` names the peer's own as it was told to us (RFC 8445, 7.2.2)."""
        return any(
            generation.ours.fragment == fragment and generation.theirs.fragment == check.remote_fragment
            for generation in self.generations
        )

    def checked(self, path: Path, check: stun.Check, fragment: str) -> None:
        """An authentic check that :meth:`accepts` takes came on a path."""
        self._alive_ns = self._clock.monotonic_ns()
        newest = fragment == self.local.fragment
        if path not in self.paths:
            self.paths.append(path)
        # Until one is nominated, the first that works may carry what we have (RFC 8445, 12.1).
        wanted = newest and (check.nominated or (self.path is None and not self._nominated))
        if wanted:
            self._nominated = self._nominated or check.nominated
            if check.nominated:
                del self.generations[:-1]
            if path is not self.path:
                self.path_changes += self.path is not None
                self.path = path
                self._on_path()

    def is_settled(self, path: Path, signer: stun.Signer) -> bool:
        """Whether a check on a path, signed with the newest credentials, says only that the peer is still there: the
        path is nominated and in use."""
        return path is self.path and self._nominated and signer is self.generations[-1].signer

    def lost(self, path: Path) -> None:
        """A path is no more (a TCP connection that closed)."""
        if path in self.paths:
            self.paths.remove(path)
        if path is self.path:
            self.path = None
            self._nominated = False
            self._on_path()

    def close(self) -> None:
        """Nobody is told anything any more."""
        self.on_packet = _ignore
        self._on_path = self.on_expired = _nothing
        self.path = None
        for path in self.paths:
            path.close()
        self.paths.clear()

    def alive(self) -> None:
        """Something authentic came from the peer."""
        self._alive_ns = self._clock.monotonic_ns()
