"""WHIP (RFC 9725): a TV box, a phone or an encoder sends its meeting. RTP goes into the stream as a camera's does.

Nothing is decoded. Packets are put in order, missing ones asked for, keyframes asked for every few seconds, so that
segments can be cut and viewers can join. A publisher that changes networks goes on by ICE restart; one that comes back
anew goes on in the same stream, with a gap on record.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from media.clock import Clock
from media.description import MediaDescription
from media.unit import NS_PER_S
from streaming.pushed_session import PushedFeed, PushedSession
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.errors import CodecMismatchError, PictureUnsendableError
from streaming.webrtc.feedback import FeedbackSettings, RateAdvice, TrackFeedback, nack, picture_loss, remb
from streaming.webrtc.peer import CloseReason, Peer, PeerSettings
from streaming.webrtc.port import WebRtcPort
from streaming.webrtc.sdp import NACK, PLI, REMB, Choice, Offer, OfferedCodec, OfferedMedia, parse_offer, write_answer

log = logging.getLogger(__name__)

_TICK_S = 0.03
_VIDEO = ("H264", "H265")
_AUDIO = ("OPUS", "PCMA", "PCMU")
_NO_PICTURE = frozenset({"RTX", "RED", "ULPFEC", "FLEXFEC-03"})
_FEEDBACK = frozenset({NACK, PLI, REMB})


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """``highest_bps`` is what a publisher may send, in bits a second; ``start_bps`` what a browser begins with. Without
    a keyframe for ``keyframe_s`` seconds one is asked for; without media for ``silence_s`` the session is closed.
    ``sound_only`` is for a voice, which is Opus: pictures are not taken."""

    sound_only: bool = False
    highest_bps: int = 2_500_000
    start_bps: int = 1_200_000
    keyframe_s: float = 2.0
    silence_s: float = 10.0
    report_s: float = 1.0
    peer: PeerSettings = field(default_factory=lambda: PeerSettings(first_check_s=10.0))
    feedback: FeedbackSettings = field(default_factory=FeedbackSettings)


@dataclass(slots=True)
class _Medium:
    index: int
    kind: str
    payload_types: frozenset[int]
    feedback: TrackFeedback
    last_ns: int = 0


def choose(offer: Offer, settings: IngestSettings) -> tuple[dict[str, Choice], tuple[MediaDescription, ...]]:
    """What is taken of an offer: one codec of picture and sound each.

    Raises CodecMismatchError, PictureUnsendableError: sound alone, taken from who believes to be seen, would be a
    meeting without a picture of which nobody in the room knows.
    """
    choices: dict[str, Choice] = {}
    media: list[MediaDescription] = []
    for kind, names in (("video", _VIDEO), ("audio", _AUDIO)):
        if settings.sound_only and kind == "video":
            continue
        section = offer.first(kind, receives=False)
        codec = _codec(section, names[:1] if settings.sound_only else names) if section is not None else None
        if section is None:
            continue
        if codec is None:
            if kind == "video":
                told = ", ".join(sorted({item.name[:20] for item in section.codecs} - _NO_PICTURE)[:8])
                raise PictureUnsendableError("no picture that is kept here", offered=told or "-")
            continue
        choices[section.mid] = Choice(
            (codec,), "recvonly", feedback=_FEEDBACK, parameters={codec.payload_type: _parameters(codec, settings)}
        )
        media.append(
            MediaDescription(
                "video" if kind == "video" else "audio",
                codec.name,
                codec.payload_type,
                codec.clock_rate,
                codec.channels,
                dict(codec.parameters),
            )
        )
    if not media:
        offered = sorted({codec.name for item in offer.media if item.sends for codec in item.codecs})
        raise CodecMismatchError("no codec that is kept here", codec="H264", offered=", ".join(offered)[:200])
    return choices, tuple(media)


def _codec(section: OfferedMedia, names: Sequence[str]) -> OfferedCodec | None:
    for name in names:
        for codec in section.codecs:
            # RFC 6184, 6.2: mode 0 has no fragments, so pictures larger than a packet could not be sent.
            if codec.name == name and (name != "H264" or codec.parameters.get("packetization-mode") == "1"):
                return codec
    return section.codec(*names)


def _parameters(codec: OfferedCodec, settings: IngestSettings) -> Mapping[str, str]:
    if codec.name == "OPUS":
        # RFC 7587, 6.1: in-band error correction, so that a lost packet is not heard.
        return {"minptime": "10", "useinbandfec": "1", "stereo": "0"}
    if codec.name in _VIDEO:
        # Chromium's own; others leave out what they do not know.
        start, highest = str(settings.start_bps // 1000), str(settings.highest_bps // 1000)
        return {**codec.parameters, "x-google-start-bitrate": start, "x-google-max-bitrate": highest}
    return codec.parameters


class Publisher:
    """One publisher's session: from the answer to the end. Owned by the task that runs :meth:`run`."""

    def __init__(
        self,
        offer_text: str,
        session: PushedSession,
        port: WebRtcPort,
        certificates: Certificates,
        clock: Clock,
        settings: IngestSettings | None = None,
    ) -> None:
        """Raises OfferBrokenError, OfferUnsuitableError, CodecMismatchError, PictureUnsendableError."""
        self.settings = settings or IngestSettings()
        self.offer = parse_offer(offer_text)
        self._choices, self._media = choose(self.offer, self.settings)
        self.peer = Peer(port, self.offer, certificates, clock, self.settings.peer)
        self._session = session
        self._clock = clock
        self._ssrc = secrets.randbits(32)
        self._advice = RateAdvice(self.settings.highest_bps)
        self._mediums = [
            _Medium(index, item.kind, frozenset({item.payload_type}), TrackFeedback(self.settings.feedback))
            for index, item in enumerate(self._media)
        ]
        self._counted = (0, 0)
        self._reported_ns = 0
        self._connected_ns = 0
        # One of a publisher before does not count.
        self._keyframe = session.stream.last_keyframe
        self._keyframe_ns = -round(self.settings.keyframe_s * NS_PER_S)

    @property
    def media(self) -> tuple[MediaDescription, ...]:
        """What is taken, in the order of the feed."""
        return self._media

    def answer(self) -> str:
        """The session description to answer with."""
        return write_answer(self.offer, self._choices, self.peer.local)

    async def run(self, started: "asyncio.Future[str]") -> CloseReason:
        """Take media until the session ends; ``started`` gets the answer once packets may come. Raises
        PublisherThereError, UnsupportedCodecError (also through ``started``)."""
        try:
            with self._session.feeding(self._media) as feed:
                self.peer.on_rtp = lambda packet, arrival_ns: self._rtp(feed, packet, arrival_ns)
                self.peer.on_rtcp = lambda packet, arrival_ns: self._rtcp(feed, packet, arrival_ns)
                async with self.peer:
                    if not started.done():
                        started.set_result(self.answer())
                    return await self._serve(feed)
        except Exception as error:
            if not started.done():
                started.set_exception(error)
            raise
        finally:
            del started

    async def _serve(self, feed: PushedFeed) -> CloseReason:
        closed = asyncio.ensure_future(self.peer.closed())
        try:
            while True:
                await asyncio.wait((closed,), timeout=_TICK_S)
                if closed.done():
                    return closed.result()
                if self._silent():
                    log.info("whip: nothing comes any more, closing")
                    return CloseReason.CONSENT
                with contextlib.suppress(OSError):
                    self._tell(feed)
        finally:
            closed.cancel()

    def _rtp(self, feed: PushedFeed, packet: bytes, arrival_ns: int) -> None:
        if len(packet) < 12:
            return
        payload_type = packet[1] & 0x7F
        for medium in self._mediums:
            if payload_type in medium.payload_types:
                # Not the arrival, which is wall clock: that may be set, in the middle of a meeting.
                medium.last_ns = self._clock.monotonic_ns()
                medium.feedback.packet(packet, medium.last_ns)
                feed.rtp(medium.index, packet, arrival_ns)
                return

    def _rtcp(self, feed: PushedFeed, packet: bytes, arrival_ns: int) -> None:
        if len(packet) < 8:
            return
        ssrc = int.from_bytes(packet[4:8], "big")
        for medium in self._mediums:
            if medium.feedback.ssrc == ssrc:
                feed.rtcp(medium.index, packet, arrival_ns)

    def _silent(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        last_ns = max((medium.last_ns for medium in self._mediums), default=0)
        if last_ns == 0:
            if self._connected_ns == 0 and self.peer.state == "connected":
                self._connected_ns = now_ns
            last_ns = self._connected_ns
        return last_ns > 0 and now_ns - last_ns > self.settings.silence_s * NS_PER_S

    def _tell(self, feed: PushedFeed) -> None:
        """Ask for what is missing; report once in a while."""
        now_ns = self._clock.monotonic_ns()
        for medium in self._mediums:
            if medium.feedback.ssrc == 0:
                continue
            given_up = medium.feedback.given_up
            if wanted := medium.feedback.due(now_ns):
                self.peer.send_rtcp(nack(self._ssrc, medium.feedback.ssrc, wanted))
            lost = medium.feedback.given_up > given_up
            if medium.kind == "video" and (lost or self._needs_keyframe(now_ns)):
                if medium.feedback.keyframe_due(now_ns):
                    self.peer.send_rtcp(picture_loss(self._ssrc, medium.feedback.ssrc))
        if now_ns - self._reported_ns >= self.settings.report_s * NS_PER_S:
            self._reported_ns = now_ns
            self._report(feed)

    def _needs_keyframe(self, now_ns: int) -> bool:
        newest = self._session.stream.last_keyframe
        if newest is not self._keyframe:
            self._keyframe, self._keyframe_ns = newest, now_ns
        return newest is None or now_ns - self._keyframe_ns > self.settings.keyframe_s * NS_PER_S

    def _report(self, feed: PushedFeed) -> None:
        sources = [medium.feedback.ssrc for medium in self._mediums if medium.feedback.ssrc]
        if not sources:
            return
        for medium in self._mediums:
            self.peer.send_rtcp(feed.receiver.receiver_report(medium.index))
        counters = [item for item in feed.receiver.counters if item is not None]
        packets, lost = sum(item.packets for item in counters), sum(item.lost for item in counters)
        came, gone = packets - self._counted[0], max(0, lost - self._counted[1])
        self._counted = (packets, lost)
        advice = self._advice.after(gone / (came + gone) if came + gone else 0.0)
        self.peer.send_rtcp(remb(self._ssrc, advice, sources))
