"""Offers of browsers and tools are read, wild ones are refused with a typed error; answers hold what players need."""

import contextlib
import random

import pytest
from aiortc.sdp import SessionDescription

from media.stream import Quality
from streaming.webrtc.errors import OfferBrokenError, OfferUnsuitableError, WebRtcError
from streaming.webrtc.fragment import parse_fragment, write_fragment
from streaming.webrtc.ice import IceCredentials
from streaming.webrtc.port import HostCandidate
from streaming.webrtc.sdp import (
    ABS_SEND_TIME,
    NACK,
    PLI,
    REMB,
    TRANSPORT_CC,
    Choice,
    LocalTransport,
    parse_offer,
    write_answer,
)
from tests.support.webrtc_client import H264, H265, OPUS, PCMA, VP8, WebRtcClient, offer_text
from tests.support.whep_house import arrived, house, pictures, publish

PRINT = ":".join(["AB"] * 32)
LOCAL = LocalTransport(
    IceCredentials("ours", "o" * 24),
    ("sha-256", PRINT),
    (HostCandidate("192.0.2.1", 8189, "udp", 5), HostCandidate("2001:db8::1", 8189, "tcp", 4)),
)


def text(**wanted: object) -> str:
    return offer_text("them", "t" * 24, PRINT, **wanted)  # type: ignore[arg-type]


def test_what_matters_of_an_offer_is_read() -> None:
    offer = parse_offer(text(video=(VP8, H264, H265)))
    assert offer.ice == IceCredentials("them", "t" * 24)
    assert offer.fingerprints == (("sha-256", PRINT),)
    assert offer.role == "server"
    audio, video = offer.media
    assert [codec.name for codec in video.codecs] == ["VP8", "H264", "H265"]
    h264 = video.codec("H264")
    assert h264 is not None
    assert h264.parameters["packetization-mode"] == "1"
    assert {"nack", "nack pli", "goog-remb"} <= h264.feedback
    assert video.extensions[ABS_SEND_TIME] == 2
    assert video.receives
    assert not video.sends
    assert offer.first("audio", receives=True) is audio
    assert offer.first("audio", receives=False) is None
    opus = audio.codec("OPUS")
    assert opus is not None
    assert (opus.clock_rate, opus.channels) == (48000, 2)


def test_static_payload_types_need_no_rtpmap() -> None:
    plain = text(video=(), audio=(PCMA,)).replace("a=rtpmap:8 PCMA/8000\r\n", "")
    assert [codec.name for codec in parse_offer(plain).media[0].codecs] == ["PCMA"]


WILD_TYPES = ("300", "-1", "200", "72", "99")
"""Past an octet, past seven bits, what would look like RTCP, and what the line of the section does not list."""


@pytest.mark.parametrize("wild", WILD_TYPES)
def test_payload_types_that_are_none_are_left_out(wild: str) -> None:
    listed = f"SAVPF {wild} 100" if wild in ("200", "72") else "SAVPF 100"
    offer = text(audio=(), video=(H264, H265)).replace("SAVPF 100 101", listed).replace(":101 ", f":{wild} ")
    try:
        (video,) = parse_offer(offer).media
    except OfferBrokenError:
        return
    assert [codec.payload_type for codec in video.codecs] == [100]


@pytest.mark.parametrize("wild", WILD_TYPES)
async def test_an_offer_with_a_wild_payload_type_takes_no_picture_from_anybody(wild: str) -> None:
    units = pictures(80)
    async with house() as h, WebRtcClient() as client, WebRtcClient() as other:
        publish(h.stream(), units[:60])
        session = await h.look(client)
        with contextlib.suppress(WebRtcError):
            text = other.offer(audio=()).replace(":100 ", f":{wild} ")
            answer = (await h.whep.offer("hall", Quality.MAIN, text)).answer
            await other.connect(answer.replace(f"SAVPF {wild}", "SAVPF 100").replace(f":{wild} ", ":100 "))
        publish(h.stream(), units[60:])
        await arrived(client, 30)
        assert not session.relay.ended


def test_a_peer_that_is_passive_makes_us_active() -> None:
    assert parse_offer(text(setup="passive")).role == "client"
    assert parse_offer(text(setup="active")).role == "server"


def test_the_answer_holds_every_section_and_only_what_was_chosen() -> None:
    offer = parse_offer(text(video=(VP8, H264)))
    _, video = offer.media
    codec = video.codec("H264")
    assert codec is not None
    wanted = Choice(
        (codec,), "sendonly", frozenset({NACK, PLI, REMB}), frozenset({ABS_SEND_TIME, TRANSPORT_CC}), 9, "c"
    )
    answer = write_answer(offer, {video.mid: wanted}, LOCAL)
    parsed = SessionDescription.parse(answer)
    assert [(item.kind, item.direction, item.rtp.muxId) for item in parsed.media] == [
        ("audio", "inactive", "0"),
        ("video", "sendonly", "1"),
    ]
    assert "a=ice-lite" in answer
    assert "a=setup:passive" in answer
    assert answer.count("a=candidate") == 2
    assert "tcptype passive" in answer
    ours = parsed.media[1]
    assert [item.payloadType for item in ours.rtp.codecs] == [codec.payload_type]
    assert {(item.type, item.parameter) for item in ours.rtp.codecs[0].rtcpFeedback} == {
        ("nack", None),
        ("nack", "pli"),
        ("goog-remb", None),
    }
    assert [item.uri for item in ours.rtp.headerExtensions] == [ABS_SEND_TIME]
    assert ours.ssrc[0].ssrc == 9


def test_sections_that_are_no_media_are_rejected_in_their_place() -> None:
    data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n"
    offer = parse_offer(text().replace("BUNDLE 0 1", "BUNDLE 0 1 2") + data)
    answer = SessionDescription.parse(write_answer(offer, {}, LOCAL))
    assert [item.port for item in answer.media] == [9, 9, 0]
    assert [str(group) for group in answer.group] == ["BUNDLE 0 1"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda sdp: "", OfferBrokenError),
        (lambda sdp: "hello", OfferBrokenError),
        (lambda sdp: "v=0\r\n", OfferUnsuitableError),
        (lambda sdp: sdp + "a=x:" + "y" * 70_000, OfferBrokenError),
        (lambda sdp: sdp + "a=x\r\n" * 2_000, OfferBrokenError),
        (lambda sdp: sdp + "m=video 9 UDP/TLS/RTP/SAVPF 1000\r\n", OfferBrokenError),
        (lambda sdp: sdp + "m=video\r\n", OfferBrokenError),
        (lambda sdp: sdp + "a=rtpmap:x y\r\n", OfferBrokenError),
        (lambda sdp: sdp + "a=fmtp:99 apt=1\r\n", OfferBrokenError),
        (lambda sdp: sdp + "a=setup:sideways\r\n", OfferBrokenError),
        (lambda sdp: sdp + "a=fingerprint\r\n", OfferBrokenError),
        (lambda sdp: sdp.replace("m=audio", "m=text").replace("m=video", "m=text"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=ice-ufrag:them", "a=x"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=ice-pwd", "a=x"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=ice-ufrag:them", "a=ice-ufrag:" + "t" * 300), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=fingerprint:sha-256", "a=x:y"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=fingerprint:sha-256", "a=fingerprint:md5"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=setup:actpass", "a=x"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=mid:1", "a=mid:0"), OfferUnsuitableError),
        (lambda sdp: sdp.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE"), OfferUnsuitableError),
    ],
)
def test_wild_offers_are_refused(change: object, error: type[Exception]) -> None:
    assert callable(change)
    with pytest.raises(error):
        parse_offer(change(text()))


def test_any_damage_is_refused_or_read_never_worse() -> None:
    whole = text(video=(VP8, H264, H265), audio=(OPUS, PCMA))
    chance = random.Random(3)
    read = 0
    for _ in range(1500):
        damaged = list(whole)
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(len(damaged))
            damaged[at] = chr(chance.choice((0x20, 0x3A, 0x0A, 0x30, 0x39, 0x2F, 0x7A, 0x4E2D)))
        try:
            offer = parse_offer("".join(damaged[: chance.randrange(100, len(damaged) + 1)]))
            write_answer(offer, {}, LOCAL)
            read += 1
        except (OfferBrokenError, OfferUnsuitableError):
            continue
    assert 0 < read < 1500


def test_fragments_are_read_and_written() -> None:
    trickled = "a=ice-ufrag:new\r\na=ice-pwd:" + "p" * 24 + "\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    found = parse_fragment(trickled + "a=candidate:1 1 udp 5 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\n")
    assert found.ice == IceCredentials("new", "p" * 24)
    assert found.candidates == 1
    assert parse_fragment("a=ice-ufrag:new\r\na=candidate:1 1 udp 5 192.0.2.1 5000 typ host").ice is None
    written = write_fragment(LOCAL.ice, "0", LOCAL.candidates)
    assert parse_fragment(written).ice == LOCAL.ice
    assert parse_fragment(written).candidates == 2
    for wrong in ("x" * 40_000, "hello", "a=ice-pwd:" + "p" * 24):
        with pytest.raises(OfferBrokenError):
            parse_fragment(wrong)
