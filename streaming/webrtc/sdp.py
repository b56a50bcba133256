"""Session descriptions of WebRTC (RFC 8829): an offer read into what we need to know of it, and the answer to it.

aiortc parses and writes the lines; here are the bounds, the refusals, and the choices. An answer holds every medium of
the offer in its order (RFC 3264, 6), all in one bundle, with our own candidates: nobody has to wait or trickle.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aiortc import (
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCIceCandidate,
    RTCIceParameters,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
)
from aiortc.rtcrtpparameters import RTCRtcpFeedback
from aiortc.sdp import GroupDescription, MediaDescription, SessionDescription, SsrcDescription

from streaming.webrtc.dtls import Role
from streaming.webrtc.errors import OfferBrokenError, OfferUnsuitableError
from streaming.webrtc.ice import IceCredentials
from streaming.webrtc.port import HostCandidate

MAX_SDP_BYTES = 64 * 1024
MAX_LINES = 1_500
MAX_MEDIA = 16
MAX_CODECS = 128

ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
SDES_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"

NACK = "nack"
PLI = "nack pli"
FIR = "ccm fir"
REMB = "goog-remb"
TRANSPORT_FEEDBACK = "transport-cc"

Direction = Literal["sendonly", "recvonly", "sendrecv", "inactive"]

_DIRECTIONS: tuple[Direction, ...] = ("sendonly", "recvonly", "sendrecv", "inactive")

# Seven bits; those from 64 to 95 would, with the marker, be taken for RTCP (RFC 5761, 4).
_TYPES = frozenset((*range(64), *range(96, 128)))

# Payload types that need no rtpmap (RFC 3551, 6), of those that we know.
_STATIC = {0: ("PCMU", 8000), 8: ("PCMA", 8000)}


@dataclass(frozen=True, slots=True)
class OfferedCodec:
    """One payload type. ``name`` is upper case; ``parameters`` are those of fmtp, keys in lower case; ``feedback`` is
    what rtcp-fb lists (``nack``, ``nack pli``)."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)
    feedback: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OfferedMedia:
    """One ``m=`` section. ``usable`` is false for one that the offer itself rejects, is outside the bundle, or is
    neither sound nor picture. ``extensions`` are header extensions, URI to id (RFC 8285)."""

    kind: str
    mid: str
    direction: Direction
    usable: bool
    codecs: tuple[OfferedCodec, ...]
    extensions: Mapping[str, int]

    @property
    def receives(self) -> bool:
        """Whether the peer takes media here."""
        return self.usable and self.direction in {"recvonly", "sendrecv"}

    @property
    def sends(self) -> bool:
        """Whether the peer has media to send here."""
        return self.usable and self.direction in {"sendonly", "sendrecv"}

    def codec(self, *names: str) -> OfferedCodec | None:
        """The first offered codec of one of these names, in the order of ``names``."""
        return next((codec for name in names for codec in self.codecs if codec.name == name), None)


@dataclass(frozen=True)
class Offer:
    """What a peer offers. ``role`` is the one that is left for us in DTLS."""

    media: tuple[OfferedMedia, ...]
    ice: IceCredentials
    fingerprints: tuple[tuple[str, str], ...]
    role: Role
    parsed: SessionDescription = field(repr=False)

    def first(self, kind: str, *, receives: bool) -> OfferedMedia | None:
        """The first usable section of a kind in which the peer receives, or sends."""
        return next(
            (item for item in self.media if item.kind == kind and (item.receives if receives else item.sends)), None
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """What we take of one offered section. ``direction`` is ours. ``feedback`` and ``extensions`` are the most that is
    wanted; the answer has those of them that the offer has. ``ssrc`` names our stream where we send."""

    codecs: tuple[OfferedCodec, ...]
    direction: Direction
    feedback: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    ssrc: int = 0
    cname: str = ""
    stream: str = "sanhui"
    parameters: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """fmtp in the answer by payload type, where it is not the offer's own."""


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our end: what the answer says of ICE and DTLS."""

    ice: IceCredentials
    fingerprint: tuple[str, str]
    candidates: Sequence[HostCandidate]


def parse_offer(text: str) -> Offer:
    """Read an offer. Raises OfferBrokenError, OfferUnsuitableError."""
    parsed = _parse(text)
    bundle = {str(item) for group in parsed.group if group.semantic == "BUNDLE" for item in group.items}
    media = tuple(_media(item, bundle, single=len(parsed.media) == 1) for item in parsed.media)
    first = next((item for item, ours in zip(parsed.media, media, strict=True) if ours.usable), None)
    if first is None:
        raise OfferUnsuitableError("no medium that could be used", reason="no-media")
    if len({item.mid for item in media}) < len(media):
        raise OfferUnsuitableError("two media have the same mid", reason="mid")
    if first.ice is None or not first.ice.usernameFragment or not first.ice.password:
        raise OfferUnsuitableError("no ICE credentials", reason="ice")
    # RFC 8839, 5.4: at most 256 characters each.
    if len(first.ice.usernameFragment) > 256 or len(first.ice.password) > 256:
        raise OfferUnsuitableError("ICE credentials beyond their length", reason="ice")
    if first.dtls is None or not first.dtls.fingerprints:
        raise OfferUnsuitableError("no DTLS fingerprint", reason="dtls")
    prints = tuple((item.algorithm.lower(), item.value) for item in first.dtls.fingerprints)
    if not any(algorithm in {"sha-256", "sha-384", "sha-512"} for algorithm, _ in prints):
        raise OfferUnsuitableError("no fingerprint of SHA-2", reason="dtls")
    # RFC 8842, 5.3: whoever is offered the choice should be active, to save a round trip; an ICE-lite agent does not
    # know when a path works before the peer does, so it lets the peer begin.
    role: Role = "client" if first.dtls.role == "server" else "server"
    ice = IceCredentials(first.ice.usernameFragment, first.ice.password)
    return Offer(media, ice, prints, role, parsed)


def _parse(text: str) -> SessionDescription:
    if len(text) > MAX_SDP_BYTES or text.count("\n") > MAX_LINES:
        raise OfferBrokenError("a session description beyond the bounds", reason="too-long")
    if not text.startswith("v=0") or "\0" in text:
        raise OfferBrokenError("not a session description", reason="syntax")
    try:
        parsed = SessionDescription.parse(text)
    # What aiortc's parser raises on lines that are not what it expects.
    except (ValueError, AssertionError, KeyError, IndexError, AttributeError, TypeError, StopIteration) as error:
        raise OfferBrokenError("not a session description that can be read", reason="syntax") from error
    if len(parsed.media) > MAX_MEDIA or any(len(item.rtp.codecs) > MAX_CODECS for item in parsed.media):
        raise OfferBrokenError("a session description beyond the bounds", reason="too-long")
    return parsed


def _media(item: MediaDescription, bundle: set[str], *, single: bool) -> OfferedMedia:
    mid = item.rtp.muxId or ""
    bundled = mid in bundle or (single and not bundle)
    usable = item.kind in {"audio", "video"} and bundled and "RTP/SAVPF" in item.profile and item.ice is not None
    # Port 0 rejects a section, unless it is "bundle-only" in an offer (RFC 9143, 6); those are in the bundle.
    direction: Direction = next((known for known in _DIRECTIONS if known == item.direction), "sendrecv")
    # With a type that is none no packet can be made, and it ends the relay of all viewers to try.
    listed = _TYPES.intersection(item.fmt)
    codecs = [codec for codec in map(_codec, item.rtp.codecs) if codec.payload_type in listed]
    known = {codec.payload_type for codec in codecs}
    if item.kind == "audio":
        codecs += [OfferedCodec(pt, *_STATIC[pt]) for pt in item.fmt if pt in _STATIC and pt not in known]
    order = {pt: rank for rank, pt in enumerate(item.fmt)}
    codecs.sort(key=lambda codec: order.get(codec.payload_type, len(order)))
    extensions = {extension.uri: extension.id for extension in item.rtp.headerExtensions if 1 <= extension.id <= 14}
    return OfferedMedia(item.kind, mid, direction, usable, tuple(codecs), extensions)


def _codec(codec: RTCRtpCodecParameters) -> OfferedCodec:
    parameters = {
        str(name).strip().lower(): "" if value is None else str(value).strip()
        for name, value in codec.parameters.items()
    }
    feedback = {f"{item.type} {item.parameter}" if item.parameter else item.type for item in codec.rtcpFeedback}
    return OfferedCodec(
        codec.payloadType or 0,
        codec.name.upper(),
        codec.clockRate,
        codec.channels or 1,
        parameters,
        frozenset(feedback),
    )


def write_answer(offer: Offer, choices: Mapping[str, Choice], local: LocalTransport) -> str:
    """The answer: ``choices`` by mid; what is not among them is rejected, or inactive where the bundle needs it."""
    answer = SessionDescription()
    answer.origin = f"- {secrets.randbits(62)} 2 IN IP4 127.0.0.1"
    answer.msid_semantic = [GroupDescription("WMS", ["*"])]
    bundled: list[int | str] = []
    for media, theirs in zip(offer.media, offer.parsed.media, strict=True):
        choice = choices.get(media.mid) if media.usable else None
        # The first section carries the transport (RFC 9143, 7.3), so it cannot be rejected: it idles.
        if choice is None and media.usable and media.codecs:
            choice = Choice(media.codecs[:1], "inactive")
        if choice is None:
            answer.media.append(_rejected(theirs))
            continue
        bundled.append(media.mid)
        ours = _answered(media, theirs, choice, local, role=offer.role)
        if len(bundled) == 1:
            ours.ice_candidates = [_candidate(item) for item in local.candidates]
            ours.ice_candidates_complete = True
        answer.media.append(ours)
    if bundled and any(group.semantic == "BUNDLE" for group in offer.parsed.group):
        answer.group = [GroupDescription("BUNDLE", bundled)]
    return str(answer)


def _rejected(theirs: MediaDescription) -> MediaDescription:
    ours = MediaDescription(theirs.kind, 0, theirs.profile, theirs.fmt)
    ours.host = "0.0.0.0"
    ours.direction = "inactive"
    ours.rtp.muxId = theirs.rtp.muxId
    ours.ice = RTCIceParameters()
    return ours


def _answered(
    media: OfferedMedia, theirs: MediaDescription, choice: Choice, local: LocalTransport, *, role: Role
) -> MediaDescription:
    ours = MediaDescription(media.kind, 9, theirs.profile, [codec.payload_type for codec in choice.codecs])
    ours.host = "0.0.0.0"
    ours.rtcp_port, ours.rtcp_host, ours.rtcp_mux = 9, "0.0.0.0", True
    ours.direction = choice.direction
    ours.rtp.muxId = media.mid
    for codec in choice.codecs:
        described = RTCRtpCodecParameters(
            mimeType=f"{media.kind}/{_NAMES.get(codec.name, codec.name)}",
            clockRate=codec.clock_rate,
            channels=codec.channels if media.kind == "audio" else None,
            payloadType=codec.payload_type,
        )
        described.rtcpFeedback = [
            RTCRtcpFeedback(type=kind, parameter=parameter or None)
            for kind, _, parameter in (item.partition(" ") for item in sorted(codec.feedback & choice.feedback))
        ]
        described.parameters = {
            name: value or None for name, value in choice.parameters.get(codec.payload_type, codec.parameters).items()
        }
        ours.rtp.codecs.append(described)
    ours.rtp.headerExtensions = [
        RTCRtpHeaderExtensionParameters(id=number, uri=uri)
        for uri, number in media.extensions.items()
        if uri in choice.extensions
    ]
    if choice.direction in {"sendonly", "sendrecv"}:
        ours.msid = f"{choice.stream} {media.kind}"
        ours.ssrc = [SsrcDescription(ssrc=choice.ssrc, cname=choice.cname, msid=ours.msid)]
    ours.ice = RTCIceParameters(usernameFragment=local.ice.fragment, password=local.ice.password, iceLite=True)
    ours.dtls = RTCDtlsParameters([RTCDtlsFingerprint(*local.fingerprint)], role=role)
    return ours


# As registered; players compare without regard to case, people read them.
_NAMES = {"OPUS": "opus"}


def _candidate(item: HostCandidate) -> RTCIceCandidate:
    return RTCIceCandidate(
        component=1,
        foundation=item.foundation,
        ip=item.address,
        port=item.port,
        priority=item.priority,
        protocol=item.transport,
        type="host",
        tcpType="passive" if item.transport == "tcp" else None,
    )
