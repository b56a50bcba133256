"""One WebRTC session: ICE, DTLS and SRTP under one roof, packets in the clear above it.

    async with Peer(port, offer, certificates, clock) as peer:
        peer.on_rtp = …
        answer = write_answer(offer, choices, peer.local)
        await peer.connected()
        peer.send_rtp([packet, …])
        await peer.closed()

What is negotiated (which codec, which direction) is not its business.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from media.clock import Clock
from streaming.webrtc.dtls import (
    Certificates,
    DtlsFailedError,
    DtlsSrtp,
    ProtectionFailedError,
    Scratch,
    fingerprint_of,
)
from streaming.webrtc.errors import SessionGoneError
from streaming.webrtc.ice import IceCredentials, IceSession
from streaming.webrtc.port import WebRtcPort
from streaming.webrtc.sdp import LocalTransport, Offer
from streaming.webrtc.udp import UdpPath
from streaming.webrtc.wire import Wire

log = logging.getLogger(__name__)


class PeerState(StrEnum):
    """Where a session stands."""

    NEW = "new"
    """No path yet."""
    CONNECTING = "connecting"
    """A path is there, keys are being agreed on."""
    CONNECTED = "connected"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """Why a session is over."""

    OURS = "ours"
    """We closed it."""
    GOODBYE = "goodbye"
    """The peer said so in DTLS."""
    NEVER_CAME = "never-came"
    """No check came in time."""
    HANDSHAKE = "handshake"
    """No keys could be agreed on."""
    CONSENT = "consent"
    """The peer's checks ended (RFC 7675)."""


@dataclass(slots=True)
class PeerCounters:
    """Packets and bytes of one session, SRTP included. ``dropped`` were not taken by the system on sending, or there
    was no path."""

    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Seconds: until the first check must have come, and that the DTLS handshake may take."""

    first_check_s: float = 30.0
    handshake_s: float = 15.0


def _ignore(packet: bytes, arrival_ns: int) -> None:
    """What happens to packets that nobody asked for."""


def _nothing(*_news: object) -> None:
    """What happens to news that nobody asked for."""


class Peer:
    """One session. Owned by the task that enters it; callbacks run on the event loop and must not block or raise.

    ``on_rtp`` and ``on_rtcp`` get packets in the clear, with their arrival (Unix nanoseconds); an RTP packet may be
    repeated or out of order. ``on_state`` is told of each change.
    """

    def __init__(
        self,
        port: WebRtcPort,
        offer: Offer,
        certificates: Certificates,
        clock: Clock,
        settings: PeerSettings | None = None,
    ) -> None:
        self._port = port
        self._settings = settings or PeerSettings()
        self._certificate = certificates.current()
        self._fingerprint = fingerprint_of(self._certificate)
        self._ice = IceSession(offer.ice, clock, self._packet, self._path_changed)
        self._dtls = DtlsSrtp(
            self._certificate, offer.fingerprints, offer.role, self._send, self._said_goodbye, port.scratch
        )
        self._ice.on_expired = self._expired
        self._has_path = asyncio.Event()
        self._is_connected = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._counters = PeerCounters()
        self.state = PeerState.NEW
        self.reason: CloseReason | None = None
        self.tag_bytes = 0
        """What protection adds to an RTP packet, once connected."""
        self.on_rtp: Callable[[bytes, int], None] = _ignore
        self.on_rtcp: Callable[[bytes, int], None] = _ignore
        self.on_state: Callable[[PeerState], None] = _nothing
        self.on_way: Callable[[], None] = _nothing
        """Called when packets go another way from now on, or none."""
        self.on_count: Callable[[], None] = _nothing
        """Called before the counters are read."""

    @property
    def counters(self) -> PeerCounters:
        """Packets and bytes so far."""
        self.on_count()
        return self._counters

    @property
    def shared_path(self) -> UdpPath | None:
        """The path in use, if packets can be sent on it together with those of others; None if not."""
        path = self._ice.path
        if self.state is not PeerState.CONNECTED or not isinstance(path, UdpPath) or path.outlet.volley is None:
            return None
        return path if path.segments or not path.outlet.segmentation else None

    @property
    def keys(self) -> tuple[Any, Any]:
        """See :attr:`streaming.webrtc.dtls.DtlsSrtp.keys`. Only while connected; changes are told by :attr:`on_way`."""
        return self._dtls.keys

    @property
    def scratch(self) -> Scratch:
        """Where packets are protected."""
        return self._port.scratch

    @property
    def local(self) -> LocalTransport:
        """Our end, for the answer."""
        return LocalTransport(self._ice.local, self._fingerprint, self._port.candidates)

    @property
    def remote_ice(self) -> IceCredentials:
        """The peer's ICE credentials as last told."""
        return self._ice.remote

    @property
    def path(self) -> str:
        """``udp`` or ``tcp``, empty while there is no path."""
        return self._ice.path.kind if self._ice.path is not None else ""

    @property
    def remote_address(self) -> tuple[str, int] | None:
        """Where the peer is, as seen from here; None while there is no path."""
        return self._ice.path.peer if self._ice.path is not None else None

    @property
    def path_changes(self) -> int:
        """How often the peer moved to another path."""
        return self._ice.path_changes

    async def __aenter__(self) -> Self:
        self._port.mux.add(self._ice)
        self._task = asyncio.create_task(self._run(), name="webrtc peer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session, with a goodbye to the peer."""
        self._end(CloseReason.OURS)
        if self._task is not None:
            task, self._task = self._task, None
            await asyncio.gather(task, return_exceptions=True)

    def restart_ice(self, remote: IceCredentials) -> LocalTransport:
        """The peer begins ICE anew; media goes on meanwhile on the path in use. Raises SessionGoneError."""
        if self.state is PeerState.CLOSED:
            raise SessionGoneError("the session is over")
        self._ice.restart(remote)
        self._port.mux.add(self._ice)
        return self.local

    async def connected(self) -> None:
        """Wait until packets can be sent. Raises SessionGoneError if it comes to nothing."""
        await self._is_connected.wait()
        if self.state is not PeerState.CONNECTED:
            raise SessionGoneError(f"no session: {self.reason}")

    async def closed(self) -> CloseReason:
        """Wait until the session is over; why."""
        await self._is_closed.wait()
        assert self.reason is not None
        return self.reason

    def send_rtp(self, packets: Sequence[bytes]) -> int:
        """Protect and send RTP packets, each at most :data:`streaming.webrtc.dtls.MAX_PACKET_BYTES`; how many went.
        None go unless connected."""
        path = self._ice.path
        if path is None or self.state is not PeerState.CONNECTED:
            self._counters.dropped += len(packets)
            return 0
        try:
            protected = self._dtls.protect_many(packets)
        except ProtectionFailedError as error:
            return self._unprotected(len(packets), error)
        went = path.send_many(protected)
        counters = self._counters
        counters.packets_out += went
        counters.bytes_out += sum(map(len, protected))
        counters.dropped += len(packets) - went
        return went

    def send_wire(self, wire: Wire) -> int:
        """Protect and send RTP packets laid out for :attr:`tag_bytes`; how many went. None go unless connected."""
        path = self._ice.path
        counters = self._counters
        if path is None or self.state is not PeerState.CONNECTED:
            counters.dropped += wire.count
            return 0
        try:
            protected = self._dtls.protect_wire(wire)
        except ProtectionFailedError as error:
            return self._unprotected(wire.count, error)
        went = path.send_wire(protected, wire)
        counters.packets_out += went
        counters.bytes_out += wire.size
        if went < wire.count:
            counters.dropped += wire.count - went
        return went

    def count(self, packets: int, size: int, dropped: int = 0) -> None:
        """Packets that were sent for this peer together with those of others."""
        counters = self._counters
        counters.packets_out += packets
        counters.bytes_out += size
        counters.dropped += dropped

    def send_rtcp(self, packet: bytes) -> bool:
        """Protect and send a compound RTCP packet; false if it did not go."""
        if self.state is not PeerState.CONNECTED:
            return False
        try:
            return self._send(self._dtls.protect_rtcp(packet))
        except ProtectionFailedError as error:
            return bool(self._unprotected(1, error))

    def _unprotected(self, packets: int, error: ProtectionFailedError) -> int:
        """One session's keys are of no use: that is its end, and nobody else's."""
        log.warning("webrtc: %s", error)
        self._counters.dropped += packets
        self._end(CloseReason.OURS)
        return 0

    def _send(self, packet: bytes) -> bool:
        path = self._ice.path
        if path is None or not path.send(packet):
            self._counters.dropped += 1
            return False
        self._counters.packets_out += 1
        self._counters.bytes_out += len(packet)
        return True

    def _packet(self, packet: bytes, arrival_ns: int) -> None:
        """A packet that is no STUN came from an address of this peer (RFC 7983)."""
        counters = self._counters
        counters.packets_in += 1
        counters.bytes_in += len(packet)
        first = packet[0]
        if 128 <= first <= 191:
            # RFC 5761, 4: RTCP's packet types are those that no RTP payload type with marker may be.
            if len(packet) > 1 and 192 <= packet[1] <= 223:
                plain = self._dtls.unprotect_rtcp(packet)
                if plain is not None:
                    self._ice.alive()
                    self.on_rtcp(plain, arrival_ns)
            else:
                plain = self._dtls.unprotect(packet)
                if plain is not None:
                    self.on_rtp(plain, arrival_ns)
        elif 20 <= first <= 63:
            self._dtls.feed(packet)

    def _path_changed(self) -> None:
        if self._ice.path is not None:
            self._has_path.set()
        self.on_way()

    def _expired(self) -> None:
        if self.state is PeerState.CONNECTED:
            self._end(CloseReason.CONSENT)

    def _said_goodbye(self) -> None:
        self._end(CloseReason.GOODBYE)

    async def _run(self) -> None:
        reason = CloseReason.HANDSHAKE
        try:
            reason = await self._live()
        except Exception:
            log.exception("webrtc: a session has failed")
        finally:
            # First: whoever waits must not wait for ever, and no ICE restart may put it back into the mux.
            self._end(reason)
            self._port.mux.remove(self._ice)
            await self._dtls.close()
            self._let_go()

    def _let_go(self) -> None:
        """Nobody is told anything any more: what knows each other in a circle would wait for the garbage collector,
        which holds up the cameras' loop the longer the more it finds."""
        self._ice.close()
        self.on_rtp = self.on_rtcp = _ignore
        self.on_state = self.on_way = self.on_count = _nothing

    async def _live(self) -> CloseReason:
        """From the first check to the end; why it ended."""
        over = asyncio.ensure_future(self._is_closed.wait())
        try:
            if not await self._either(self._has_path.wait(), over, self._settings.first_check_s):
                return CloseReason.NEVER_CAME
            self._enter(PeerState.CONNECTING)
            if not await self._either(self._agree(), over, None):
                return CloseReason.HANDSHAKE
            self.tag_bytes = self._dtls.tag_bytes
            self._enter(PeerState.CONNECTED)
            self._is_connected.set()
            await over
            return CloseReason.OURS
        finally:
            over.cancel()

    async def _agree(self) -> bool:
        """Agree on keys; whether they are there."""
        try:
            await self._dtls.handshake(self._settings.handshake_s)
        except DtlsFailedError as error:
            # Told here, not raised on: an error knows the frames that it comes through, and would leave them, the
            # session, and the pictures that it was to be sent to the garbage collector, which comes seldom.
            log.info("webrtc: %s", error)
            return False
        return True

    async def _either(
        self, work: Coroutine[Any, Any, bool], over: "asyncio.Future[Any]", seconds: float | None
    ) -> bool:
        """Do ``work`` unless the session is over first, or time is up; whether it was done, and came to anything."""
        task = asyncio.ensure_future(work)
        await asyncio.wait((task, over), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() or over.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return False
        return task.result()

    def _enter(self, state: PeerState) -> None:
        if self.state is not PeerState.CLOSED and state is not self.state:
            self.state = state
            self.on_state(state)

    def _end(self, reason: CloseReason) -> None:
        if self.state is PeerState.CLOSED:
            return
        self.reason = reason
        self.on_way()
        self._enter(PeerState.CLOSED)
        self._is_connected.set()
        self._is_closed.set()
