"""A WebRTC peer that shows every packet: full ICE with checks of its own over UDP or TCP, DTLS-SRTP, nothing decoded.

For what aiortc and browsers hide: sequence numbers, timing, addresses that change, floods.
"""

import asyncio
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aioice import stun
from aiortc.sdp import SessionDescription

from media.clock import SystemClock
from media.rtp import RtpHeader, parse_header
from streaming.webrtc.dtls import Certificates, DtlsSrtp, Role, fingerprint_of
from streaming.webrtc.ice import IceCredentials

_MAX_EARLY = 256

H264 = ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f")
H264_BASELINE = ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
H265 = ("H265/90000", "profile-id=1;tier-flag=0;level-id=93;tx-mode=SRST")
VP8 = ("VP8/90000", "")
OPUS = ("opus/48000/2", "minptime=10;useinbandfec=1")
PCMA = ("PCMA/8000", "")

Codecs = Sequence[tuple[str, str]]


def offer_text(
    fragment: str,
    password: str,
    fingerprint: str,
    *,
    video: Codecs = (H264,),
    audio: Codecs = (OPUS, PCMA),
    direction: str = "recvonly",
    setup: str = "actpass",
) -> str:
    """An offer as browsers write it, with the codecs given."""
    kinds = [(kind, codecs) for kind, codecs in (("audio", audio), ("video", video)) if codecs]
    lines = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(str(mid) for mid in range(len(kinds))))
    for mid, (kind, codecs) in enumerate(kinds):
        numbers = [8 if codec == PCMA else 100 + 10 * mid + rank for rank, codec in enumerate(codecs)]
        lines += [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, numbers))}",
            "c=IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
            f"a=ice-ufrag:{fragment}",
            f"a=ice-pwd:{password}",
            f"a=fingerprint:sha-256 {fingerprint}",
            f"a=setup:{setup}",
            f"a=mid:{mid}",
            "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            f"a={direction}",
            "a=rtcp-mux",
        ]
        for number, (name, parameters) in zip(numbers, codecs, strict=True):
            lines.append(f"a=rtpmap:{number} {name}")
            if kind == "video":
                lines += [f"a=rtcp-fb:{number} {item}" for item in ("goog-remb", "nack", "nack pli", "transport-cc")]
            if parameters:
                lines.append(f"a=fmtp:{number} {parameters}")
    return "\r\n".join([*lines, ""])


@dataclass(slots=True)
class Received:
    """One RTP packet in the clear and when it came (``time.monotonic``)."""

    header: RtpHeader
    packet: bytes
    at: float

    @property
    def payload(self) -> bytes:
        """The payload."""
        return self.packet[self.header.start : self.header.end]


@dataclass(slots=True)
class Answered:
    """What the answer says of the other side."""

    ice: IceCredentials
    candidates: list[tuple[str, str, int]]
    """(udp or tcp, address, port)."""
    fingerprints: list[tuple[str, str]] = field(default_factory=list)
    active: bool = False
    """Whether the other side begins the handshake."""


def read_answer(text: str) -> Answered:
    """The transport of the first section that is not rejected."""
    session = SessionDescription.parse(text)
    first = next(item for item in session.media if item.port)
    assert first.ice is not None
    assert first.dtls is not None
    candidates = [(item.protocol.lower(), item.ip, item.port) for item in first.ice_candidates]
    prints = [(item.algorithm, item.value) for item in first.dtls.fingerprints]
    return Answered(
        IceCredentials(first.ice.usernameFragment or "", first.ice.password or ""),
        candidates,
        prints,
        first.dtls.role == "client",
    )


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, client: "WebRtcClient") -> None:
        self.client = client

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.client.arrived(data)


class WebRtcClient:
    """One peer. ``on_rtp`` is called with each packet; all are in :attr:`packets` too unless ``keep`` is false."""

    def __init__(self, *, keep: bool = True) -> None:
        self.ice = IceCredentials(secrets.token_hex(4), secrets.token_hex(12))
        self._certificate = Certificates(SystemClock()).current()
        self.packets: list[Received] = []
        self.reports: list[bytes] = []
        self.on_rtp: Callable[[Received], None] = lambda received: None
        self.lose: Callable[[RtpHeader], bool] = lambda header: False
        self.tap: Callable[[bytes], None] | None = None
        """Gets media as it comes from the wire instead, and nothing is decrypted."""
        self._keep = keep
        self._answered: Answered | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._dtls: DtlsSrtp | None = None
        # Media may be right behind the record that ends the handshake, and that takes some turns of the loop to read.
        self._early: deque[bytes] = deque(maxlen=_MAX_EARLY)
        self._answers = 0
        self._news = asyncio.Condition()
        self.said_goodbye = asyncio.Event()
        self.cut = asyncio.Event()
        """The TCP connection is over."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._dtls is not None:
            await self._dtls.close()
        if self._udp is not None:
            self._udp.close()
        if self._writer is not None:
            self._writer.close()

    def offer(self, **wanted: object) -> str:
        """This peer's offer; see :func:`offer_text`."""
        return offer_text(self.ice.fragment, self.ice.password, fingerprint_of(self._certificate)[1], **wanted)  # type: ignore[arg-type]

    async def connect(self, answer: str, *, over: str = "udp", local: str | None = None, keys: bool = True) -> None:
        """Find the way, agree on keys. ``over`` is udp or tcp. Without ``keys`` it stops after ICE."""
        self._answered = read_answer(answer)
        await self.reach(over, local)
        if not keys:
            return
        role: Role = "server" if self._answered.active else "client"
        self._dtls = DtlsSrtp(self._certificate, self._answered.fingerprints, role, self.send, self.said_goodbye.set)
        await self._dtls.handshake(20)
        while self._early:
            self._media(self._early.popleft())

    async def reach(self, over: str = "udp", local: str | None = None, *, nominate: bool = True) -> None:
        """Open a socket and check the first candidate that fits until it answers; ``local`` binds the socket."""
        assert self._answered is not None
        _, host, port = next(item for item in self._answered.candidates if item[0] == over)
        loop = asyncio.get_running_loop()
        if over == "udp":
            if self._udp is not None:
                self._udp.close()
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bind = (local, 0) if local is not None else None
            self._udp, _ = await loop.create_datagram_endpoint(
                lambda: _Udp(self), remote_addr=(host, port), local_addr=bind, family=family
            )
        else:
            reader, self._writer = await asyncio.open_connection(host, port, limit=16 * 1024)
            self._tasks.append(asyncio.create_task(self._frames(reader)))
        before = self._answers
        async with asyncio.timeout(20):
            while self._answers == before:
                self.send(self.check(nominate=nominate))
                await asyncio.sleep(0.02)
        self._tasks.append(asyncio.create_task(self._consent()))

    def widen(self, size: int) -> None:
        """Give the UDP socket a receive buffer of ``size`` bytes."""
        assert self._udp is not None
        self._udp.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def stop_reading(self) -> None:
        """Read no more of the TCP connection."""
        assert self._writer is not None
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def renew(self, ice: IceCredentials) -> IceCredentials:
        """Begin ICE anew: the other side's new credentials in, ours out. :meth:`reach` does the rest."""
        assert self._answered is not None
        self._answered.ice = ice
        return self.ice

    def check(self, *, nominate: bool = True) -> bytes:
        """A connectivity check."""
        assert self._answered is not None
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes["USERNAME"] = f"{self._answered.ice.fragment}:{self.ice.fragment}"
        message.attributes["PRIORITY"] = 1
        message.attributes["ICE-CONTROLLING"] = 7
        if nominate:
            message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(self._answered.ice.password.encode())
        return bytes(message)

    def send(self, data: bytes) -> None:
        """Send raw bytes the way that is in use."""
        if self._writer is not None:
            self._writer.write(struct.pack("!H", len(data)) + data)
        elif self._udp is not None and not self._udp.is_closing():
            self._udp.sendto(data)

    def send_rtp(self, packet: bytes) -> None:
        """Protect and send."""
        assert self._dtls is not None
        self.send(self._dtls.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send."""
        assert self._dtls is not None
        self.send(self._dtls.protect_rtcp(packet))

    def arrived(self, data: bytes) -> None:
        """A packet came."""
        if self.tap is not None and data[0] >= 128:
            self.tap(data)
        elif data[0] < 4:
            message = stun.parse_message(data)
            if message.message_class is stun.Class.RESPONSE and self._answered is not None:
                assert message.check_message_integrity(self._answered.ice.password.encode())
                self._answers += 1
            elif message.message_class is stun.Class.REQUEST:
                reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
                # What we are seen as tells the other side nothing that it uses.
                reply.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 9)
                reply.add_message_integrity(self.ice.password.encode())
                self.send(bytes(reply))
        elif data[0] < 64:
            if self._dtls is not None:
                self._dtls.feed(data)
        elif self._dtls is not None and self._dtls.connected:
            self._media(data)
        elif self._dtls is not None:
            self._early.append(data)

    def _media(self, data: bytes) -> None:
        assert self._dtls is not None
        if 192 <= data[1] <= 223:
            plain = self._dtls.unprotect_rtcp(data)
            if plain is not None:
                self.reports.append(plain)
            return
        header = parse_header(data)
        if header is None or self.lose(header):
            return
        plain = self._dtls.unprotect(data)
        header = parse_header(plain) if plain is not None else None
        if plain is None or header is None:
            return
        received = Received(header, plain, time.monotonic())
        if self._keep:
            self.packets.append(received)
        self.on_rtp(received)

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until something is so. TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _frames(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                self.arrived(await reader.readexactly(size))
        finally:
            self.cut.set()

    async def _consent(self) -> None:
        while True:
            # As often as Chromium; RFC 7675, 5.1 asks for one in about 5 s.
            await asyncio.sleep(2.5)
            self.send(self.check())
