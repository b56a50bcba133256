"""DTLS-SRTP (RFC 5763, RFC 5764) on aiortc's RTCDtlsTransport.

aiortc does the certificate, the handshake, the fingerprint check and the keys. Packets go past it: it would parse each
one into objects and await each one's sending. Those of one picture are protected in place, in one buffer, as they then
leave in one system call; pylibsrtp alone would copy each one twice. This is the only module that touches private
members of aiortc and pylibsrtp; tests/streaming/webrtc/test_aiortc_shape.py fails loudly when they change.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import pylibsrtp
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, RTCIceTransport
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTP_PROFILES,
    SRTPProtectionProfile,
)
from OpenSSL import SSL
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found]

from media.clock import Clock
from media.unit import NS_PER_S
from streaming.webrtc.wire import MAX_PACKETS, SCRATCH_BYTES, Wire

log = logging.getLogger(__name__)

HANDSHAKE_S = 15.0
MAX_WAITING_RECORDS = 64
MAX_PACKET_BYTES = 1300
"""Largest RTP or RTCP packet before protection: with IPv6, UDP and SRTP it fits networks that carry 1,400 bytes."""

_MAX_POINTERS = 8192
"""To places in packets that are kept for the next picture, some hundred octets each."""

_RENEW_BEFORE = timedelta(days=3)
_TAG_BYTES = {SRTP_AEAD_AES_128_GCM.openssl_profile: 16, SRTP_AES128_CM_SHA1_80.openssl_profile: 10}

Role = Literal["client", "server"]


class Scratch:
    """Where packets are protected, in place: one for all sessions of an event loop."""

    def __init__(self) -> None:
        self._pointer = ffi.new("unsigned char[]", SCRATCH_BYTES)
        self._lengths = ffi.new("int[]", MAX_PACKETS)
        self._lengths_view = memoryview(ffi.buffer(self._lengths))
        self._length_pointers = tuple(self._lengths + number for number in range(MAX_PACKETS))
        self.view = memoryview(ffi.buffer(self._pointer))
        # By where packets lie, and how much is between viewers: see places.
        self._places: dict[tuple[tuple[int, ...], int], list[tuple[int, tuple[Any, ...]]]] = {}
        self._kept = 0
        self.address = int(ffi.cast("uintptr_t", self._pointer))

    def pointers(self, wire: Wire, at: int) -> tuple[Any, ...]:
        """Where the packets of a wire are that lies ``at`` octets from the beginning."""
        start = self._pointer + at
        return tuple([start + offset for offset in wire.offsets])

    def places(self, wire: Wire, viewers: int, stride: int) -> list[tuple[int, tuple[Any, ...]]]:
        """Of at least so many viewers, ``stride`` octets apart: where their packets begin, and :meth:`pointers`. Most
        pictures lie as one before did."""
        key = (wire.offsets, stride)
        found = self._places.get(key)
        if found is None or len(found) < viewers:
            self._kept += viewers * wire.count
            if self._kept > _MAX_POINTERS:
                self._places.clear()
                self._kept = viewers * wire.count
            found = self._places[key] = [(at, self.pointers(wire, at)) for at in range(0, viewers * stride, stride)]
        return found

    def protect(self, keys: Any, plain: bytes, at: int, pointers: tuple[Any, ...], lengths: bytes) -> bool:
        """Lay the packets of a wire down ``at`` octets from the beginning, and protect them; false if one cannot be.
        ``keys`` are :attr:`DtlsSrtp.keys`, the rest is the wire's."""
        self.view[at : at + len(plain)] = plain
        self._lengths_view[: len(lengths)] = lengths
        return not any(map(lib.srtp_protect, itertools.repeat(keys), pointers, self._length_pointers))


class DtlsFailedError(Exception):
    """No association: the handshake failed, took too long, or the certificate is not the one announced."""


class ProtectionFailedError(Exception):
    """The association's keys protect nothing any more."""


class _Certificate(RTCCertificate):
    """One whose OpenSSL context, four fifths of the work of a handshake, is the same for all sessions."""

    _context: SSL.Context | None = None
    _profiles: list[SRTPProtectionProfile] | None = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None or self._profiles != srtp_profiles:
            self._profiles = list(srtp_profiles)
            self._context = super()._create_ssl_context(srtp_profiles)
            # Nobody comes back with a session of before, and each one kept would take memory.
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context


class Certificates:
    """The certificate of new sessions, made anew before it expires: aiortc's are good for 30 days."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._current: _Certificate | None = None

    def current(self) -> RTCCertificate:
        """A certificate that is good for some days yet."""
        now = datetime.fromtimestamp(self._clock.utc_ns() / NS_PER_S, UTC)
        if self._current is None or self._current.expires - now < _RENEW_BEFORE:
            self._current = _Certificate.generateCertificate()
        return self._current


def fingerprint_of(certificate: RTCCertificate) -> tuple[str, str]:
    """(algorithm, value) of the SHA-256 fingerprint (RFC 8122)."""
    found = next(item for item in certificate.getFingerprints() if item.algorithm == "sha-256")
    return found.algorithm, found.value


def _drop(record: bytes) -> None:
    """What happens to records of an association that is over."""


def _nothing() -> None:
    """Who is told that it is over once it is."""


class _Records:
    """What RTCDtlsTransport takes for an ICE transport: DTLS records in, DTLS records out."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._out: Callable[[bytes], object] = send
        self._waiting: deque[bytes] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self._closed = False

    def feed(self, record: bytes) -> None:
        if len(self._waiting) >= MAX_WAITING_RECORDS:
            return
        self._waiting.append(record)
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._out = _drop
        self._wake()

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _recv(self) -> bytes:
        while not self._waiting:
            if self._closed:
                raise ConnectionError
            self._wakeup = asyncio.get_running_loop().create_future()
            try:
                await self._wakeup
            finally:
                self._wakeup = None
        return self._waiting.popleft()

    async def _send(self, record: bytes) -> None:
        self._out(record)


class DtlsSrtp:
    """One association. ``send`` puts a record on the wire, or drops it; ``fingerprints`` are (algorithm, value) of the
    peer's certificate, of which at least one must be SHA-2. ``on_closed`` is called when the peer says goodbye."""

    def __init__(
        self,
        certificate: RTCCertificate,
        fingerprints: Sequence[tuple[str, str]],
        role: Role,
        send: Callable[[bytes], object],
        on_closed: Callable[[], None],
        scratch: Scratch | None = None,
    ) -> None:
        self._scratch = scratch or Scratch()
        self._remote = RTCDtlsParameters([RTCDtlsFingerprint(*item) for item in fingerprints])
        self._records = _Records(send)
        self._on_closed = on_closed
        self._transport = RTCDtlsTransport(cast(RTCIceTransport, self._records), [certificate])
        self._transport._set_role(role)  # noqa: SLF001
        # AES-GCM is computed in one pass, in half the time of AES-CM with SHA-1; 256 bits of key gain nothing here.
        wanted = (SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80)
        self._transport._srtp_profiles = [item for item in wanted if item in SRTP_PROFILES]  # noqa: SLF001
        self._in: Session | None = None
        self._out: Session | None = None
        self.tag_bytes = 0
        """What protection adds to an RTP packet."""
        self.rejected = 0
        """Packets that were not authentic, or repeated."""

    @property
    def connected(self) -> bool:
        """Whether there are keys."""
        return self._out is not None

    @property
    def keys(self) -> tuple[Session, Any]:
        """What :meth:`Scratch.protect` needs, behind that to which it belongs: to be kept as long. Only while
        :attr:`connected`."""
        assert self._out is not None
        return self._out, self._out._srtp[0]  # noqa: SLF001

    async def handshake(self, seconds: float = HANDSHAKE_S) -> None:
        """Agree on keys. Raises DtlsFailedError, also when it takes longer than ``seconds``."""
        transport = self._transport
        try:
            async with asyncio.timeout(seconds):
                await transport.start(self._remote)
        except TimeoutError as error:
            raise DtlsFailedError("the handshake took too long") from error
        if transport.state != "connected":
            raise DtlsFailedError("the handshake failed")
        self._in, self._out = transport._rx_srtp, transport._tx_srtp  # noqa: SLF001
        connection = transport._ssl  # noqa: SLF001
        assert connection is not None
        self.tag_bytes = _TAG_BYTES[connection.get_selected_srtp_profile()]
        transport.on("statechange", self._changed)

    async def close(self) -> None:
        """Say goodbye to the peer, forget the keys."""
        transport = self._transport
        transport.remove_all_listeners()
        self._in = self._out = None
        await transport.stop()
        self._records.close()
        self._on_closed = _nothing
        # What is large in it, a few hundred kilobytes, must not wait for the garbage collector, which comes seldom:
        # viewers come and go all day.
        held: Any = transport
        held._ssl = held._rx_srtp = held._tx_srtp = None  # noqa: SLF001

    def feed(self, record: bytes) -> None:
        """A DTLS record came."""
        self._records.feed(record)

    def protect(self, packet: bytes) -> bytes:
        """RTP to SRTP. Only while :attr:`connected`."""
        assert self._out is not None
        return self._out.protect(packet)

    def protect_many(self, packets: Sequence[bytes]) -> list[bytes]:
        """RTP to SRTP. Only while :attr:`connected`. Raises ProtectionFailedError."""
        assert self._out is not None
        protect = self._out.protect
        try:
            return [protect(packet) for packet in packets]
        except pylibsrtp.Error as error:
            raise ProtectionFailedError(str(error)) from None

    def protect_wire(self, wire: Wire) -> memoryview:
        """RTP to SRTP of packets laid out for :attr:`tag_bytes`; good until the next call of any session. Only while
        :attr:`connected`. Raises ProtectionFailedError."""
        assert self._out is not None
        scratch = self._scratch
        if not scratch.protect(self.keys[1], wire.plain, 0, scratch.pointers(wire, 0), wire.lengths):
            raise ProtectionFailedError("a packet cannot be protected")
        return scratch.view[: wire.size]

    def protect_rtcp(self, packet: bytes) -> bytes:
        """RTCP to SRTCP. Only while :attr:`connected`. Raises ProtectionFailedError."""
        assert self._out is not None
        try:
            return self._out.protect_rtcp(packet)
        except pylibsrtp.Error as error:
            raise ProtectionFailedError(str(error)) from None

    def unprotect(self, packet: bytes) -> bytes | None:
        """SRTP to RTP; None if it is not authentic, repeated, or came before the keys."""
        return self._opened(self._in.unprotect, packet) if self._in is not None else None

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """SRTCP to RTCP; None if it is not authentic, repeated, or came before the keys."""
        return self._opened(self._in.unprotect_rtcp, packet) if self._in is not None else None

    def _opened(self, way: Callable[[bytes], bytes], packet: bytes) -> bytes | None:
        try:
            return way(packet)
        except (pylibsrtp.Error, ValueError):
            self.rejected += 1
            return None

    def _changed(self) -> None:
        if self._transport.state in {"closed", "failed"}:
            self._on_closed()
