"""Who may be connected to a server of ours: bounded in all and for one address, so that connections that only stand
there, or take nothing of what they asked for, cost others nothing.

A place is for whoever is served. When there is none left, the newcomer gets that of the oldest connection without a
request, unless all have one; from an address that has all it may have, one of that address. Only whole requests count:
who sends an octet now and then asks for nothing.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from media.clock import Clock
from media.unit import NS_PER_S

_log = logging.getLogger(__name__)

_SAY_AGAIN_NS = 600 * NS_PER_S

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Connections in all and of one address, those of ``trusted`` networks (reverse proxies) apart. Times in seconds:
    who asks for nothing within ``first_request_s`` goes; who has asked for nothing for ``quiet_s`` may lose the place
    to somebody else; who takes nothing of what waits to be sent for ``stalled_s`` goes."""

    total: int = 1000
    per_address: int = 500
    first_request_s: float = 10.0
    quiet_s: float = 5.0
    stalled_s: float = 60.0
    trusted: tuple[Network, ...] = ()


class Served(Protocol):
    """What a server knows of its connections."""

    def busy(self, protocol: asyncio.Protocol) -> bool:
        """Whether the client is being served just now."""
        ...

    def asked_ns(self, protocol: asyncio.Protocol) -> int | None:
        """When its last whole request came (monotonic nanoseconds); None before the first."""
        ...

    def left(self, protocol: asyncio.Protocol) -> None:
        """The connection is over."""
        ...


class Door:
    """Stands before one server. Used from one event loop. :meth:`sweep` is to be called every few seconds."""

    def __init__(self, name: str, clock: Clock, limits: DoorLimits, served: Served) -> None:
        self.refused = 0
        self.displaced = 0
        self._name = name
        self._clock = clock
        self._limits = limits
        self.served = served
        # Both in the order in which they came.
        self._guests: dict[_Guest, None] = {}
        self._addresses: dict[str, dict[_Guest, None]] = {}
        self._said_ns: int | None = None

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._guests)

    @property
    def unsent(self) -> int:
        """Bytes that wait for clients to take them, as of the last sweep."""
        return sum(guest.unsent for guest in self._guests)

    def guarding(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A protocol factory for :meth:`asyncio.loop.create_server` that lets in whom this door lets in; only they get
        a protocol from ``make``."""
        return lambda: _Guest(self, make)

    def sweep(self) -> None:
        """Let go of who asks for nothing, and of who takes nothing."""
        now_ns = self.now_ns()
        latest_ns = now_ns - int(self._limits.first_request_s * NS_PER_S)
        stalled_ns = now_ns - int(self._limits.stalled_s * NS_PER_S)
        for guest in tuple(self._guests):
            if guest.stalled_since(now_ns) <= stalled_ns or (guest.came_ns <= latest_ns and self._asked(guest) is None):
                guest.abort()

    def now_ns(self) -> int:
        """The clock's monotonic reading."""
        return self._clock.monotonic_ns()

    def admit(self, guest: "_Guest") -> bool:
        """Whether a newcomer may come in, and if so, who has to go. Called by connections."""
        limits = self._limits
        neighbours = self._addresses.get(guest.address, {})
        if len(neighbours) >= limits.per_address and not self._trusted(guest.address):
            place = self._make_room(neighbours)
        else:
            place = len(self._guests) < limits.total or self._make_room(self._guests)
        if not place:
            self.refused += 1
            self._say("refused")
            return False
        self._guests[guest] = None
        self._addresses.setdefault(guest.address, {})[guest] = None
        return True

    def leave(self, guest: "_Guest") -> None:
        """A connection is over, or to be. Called by connections."""
        if guest in self._guests:
            del self._guests[guest]
            neighbours = self._addresses[guest.address]
            del neighbours[guest]
            if not neighbours:
                del self._addresses[guest.address]

    def _asked(self, guest: "_Guest") -> int | None:
        return self.served.asked_ns(guest.inner) if guest.inner is not None else None

    def _quiet(self, guest: "_Guest", latest_ns: int) -> bool:
        asked_ns = self._asked(guest)
        if asked_ns is not None and asked_ns > latest_ns:
            return False
        return guest.inner is None or not self.served.busy(guest.inner)

    def _make_room(self, among: "dict[_Guest, None]") -> bool:
        """Let go of the oldest that asks for nothing; false if there is none."""
        latest_ns = self.now_ns() - int(self._limits.quiet_s * NS_PER_S)
        oldest = next((guest for guest in among if self._quiet(guest, latest_ns)), None)
        if oldest is None:
            return False
        self.displaced += 1
        self._say("made room for others")
        self.leave(oldest)
        oldest.abort()
        return True

    def _trusted(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._limits.trusted)

    def _say(self, what: str) -> None:
        now_ns = self.now_ns()
        if self._said_ns is None or now_ns - self._said_ns >= _SAY_AGAIN_NS:
            self._said_ns = now_ns
            _log.warning("%s: too many connections (%d); one was %s", self._name, len(self._guests), what)


class _Guest(asyncio.Protocol):
    """One connection: hands on to the protocol behind the door what the transport brings."""

    def __init__(self, door: Door, make: Callable[[], asyncio.Protocol]) -> None:
        self.inner: asyncio.Protocol | None = None
        self.address = ""
        self.came_ns = door.now_ns()
        self._door = door
        self._make = make
        self._transport: asyncio.Transport | None = None
        self.unsent = 0
        self._unsent_ns = self.came_ns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self._door.admit(self):
            self._transport.abort()
            return
        self.inner = self._make()
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.inner is not None:
            self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received() if self.inner is not None else False

    def pause_writing(self) -> None:
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        if self.inner is not None:
            self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        inner, self.inner = self.inner, None
        self._transport = None
        if inner is not None:
            inner.connection_lost(exc)
            self._door.served.left(inner)

    def stalled_since(self, now_ns: int) -> int:
        """Since when the client takes nothing of what waits to be sent; now, if it takes some or nothing waits."""
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent == 0 or unsent < self.unsent:
            self._unsent_ns = now_ns
        self.unsent = unsent
        return self._unsent_ns

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()
