"""Fuzz targets of what a WebRTC peer says: offers, fragments, connectivity checks, reports."""

import binascii

from aioice import stun as aioice

from streaming.webrtc.errors import OfferBrokenError, OfferUnsuitableError
from streaming.webrtc.fragment import parse_fragment, write_fragment
from streaming.webrtc.ice import IceCredentials
from streaming.webrtc.port import HostCandidate
from streaming.webrtc.relay_track import Batch, Shape
from streaming.webrtc.reports import read_report
from streaming.webrtc.sdp import Choice, LocalTransport, parse_offer, write_answer
from streaming.webrtc.stun import Repeated, Signer, StunBrokenError, read_request, role_conflict, success
from tests.fuzz.harness import Input, Target
from tests.support.webrtc_client import H264, H264_BASELINE, OPUS, PCMA, offer_text

_ICE = IceCredentials("ours", "twenty-two characters or so")
_CANDIDATE = HostCandidate("10.0.0.1", 8189, "udp", 1)
_FINGERPRINT = ":".join(["AB"] * 32)
_LOCAL = LocalTransport(_ICE, ("sha-256", _FINGERPRINT), (_CANDIDATE,))
_PEER = ("10.0.0.7", 50_000)


def _offer(data: bytes) -> None:
    """Whatever is taken can be answered, and packets can be made for it."""
    try:
        offer = parse_offer(data.decode("utf-8", "replace"))
    except (OfferBrokenError, OfferUnsuitableError):
        return
    picture = Batch(7, 90_000, [(b"picture", 0x80, 0)], 1, starts=True)
    choices = {}
    for media in offer.media:
        for codec in media.codecs:
            shape = Shape(codec.payload_type, 1, 0)
            assert picture.plain(shape, 7, 0, 1)[0].endswith(b"picture")
            if media.usable:
                choices[media.mid] = Choice((codec,), "sendonly", ssrc=1, cname="hall")
    if not choices:
        # With no codec in common nobody answers: CodecMismatchError.
        return
    answer = write_answer(offer, choices, _LOCAL)
    assert _ICE.password in answer


def _offer_seeds() -> list[bytes]:
    common = ("theirs", "twenty-two characters of theirs", _FINGERPRINT)
    return [
        offer_text(*common).encode(),
        offer_text(*common, video=(H264_BASELINE, H264), audio=(OPUS,), direction="sendrecv").encode(),
        offer_text(*common, video=(), audio=(PCMA,), setup="passive").encode(),
    ]


_OFFER_WORDS = (
    b"a=group:BUNDLE ", b"m=video ", b"m=audio ", b" UDP/TLS/RTP/SAVPF ", b"a=rtpmap:", b"a=fmtp:", b"a=extmap:",
    b"a=mid:", b"a=ice-ufrag:", b"a=ice-pwd:", b"a=fingerprint:sha-256 ", b"a=setup:actpass", b"a=rtcp-fb:",
    b"a=bundle-only",
)  # fmt: skip


def _fragment(data: bytes) -> None:
    try:
        found = parse_fragment(data.decode("utf-8", "replace"))
    except OfferBrokenError:
        return
    assert found.ice is None or found.ice.password


def _check(data: bytes) -> None:
    """As it came; and what it says signed anew, as by somebody who has the password."""
    _answered(data)
    rest = data[20:-32]
    _answered(_signed(data[8:20].ljust(12, b"\0"), rest + bytes(-len(rest) % 4)))


def _answered(data: bytes) -> None:
    signer = Signer(_ICE.password.encode())
    request = read_request(data)
    if request is None:
        return
    try:
        check = request.check(signer)
    except StunBrokenError:
        return
    answer = success(check, _PEER, signer)
    assert aioice.parse_message(answer).attributes["XOR-MAPPED-ADDRESS"] == _PEER
    aioice.parse_message(role_conflict(check, signer))
    # Its repetition is judged as it was, or as one that has to be looked at anew.
    again = Repeated(data, _PEER, signer).answer(data)
    assert again is None or again == answer


def _signed(transaction: bytes, attributes: bytes) -> bytes:
    head = b"\0\1%b\x21\x12\xa4\x42" + transaction + attributes
    covered = head.replace(b"%b", (len(attributes) + 24).to_bytes(2, "big"), 1)
    code = b"\0\x08\0\x14" + Signer(_ICE.password.encode()).sign(covered)
    data = head.replace(b"%b", (len(attributes) + 32).to_bytes(2, "big"), 1) + code
    return data + b"\x80\x28\0\4" + (binascii.crc32(data) ^ 0x5354554E).to_bytes(4, "big")


def _check_seeds() -> list[bytes]:
    seeds = []
    for role in ("ICE-CONTROLLING", "ICE-CONTROLLED"):
        message = aioice.Message(aioice.Method.BINDING, aioice.Class.REQUEST, transaction_id=b"transaction1")
        message.attributes["USERNAME"] = f"{_ICE.fragment}:theirs"
        message.attributes["PRIORITY"] = 1
        message.attributes[role] = 2
        message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(_ICE.password.encode())
        seeds.append(bytes(message))
    return seeds


def _report(data: bytes) -> None:
    source = Input(data)
    report = read_report(source.rest())
    assert sum(map(len, report.lost.values())) <= 256
    assert all(0 <= number <= 0xFFFF for lost in report.lost.values() for number in lost)
    assert all(0 <= share < 1 for share in (report.fraction_lost or {}).values())
    assert report.bitrate_bps is None or 0 <= report.bitrate_bps <= 1 << 40


def _report_seeds() -> list[bytes]:
    nack = bytes.fromhex("81cd0003 00000001 00000002 00070003")
    picture = bytes.fromhex("81ce0002 00000001 00000002")
    full = bytes.fromhex("84ce0004 00000001 00000000 00000002 05000000")
    rate = bytes.fromhex("8fce0005 00000001 00000000 52454d42 01123456 00000002")
    losses = bytes.fromhex("81c90007 00000001 00000002 40000001 00000007 00000000 00000000 00000000")
    return [losses + nack, picture + full, losses + rate, nack + rate]


TARGETS = (
    Target("webrtc_offer", _offer, _offer_seeds, 2500, _OFFER_WORDS),
    Target(
        "webrtc_fragment", _fragment, lambda: [write_fragment(_ICE, "0", (_CANDIDATE,)).encode()], 600, _OFFER_WORDS
    ),
    Target(
        "webrtc_check", _check, _check_seeds, 200, (b"ours:", b"\x21\x12\xa4\x42", b"\0\x08\0\x14", b"\x80\x28\0\x04")
    ),
    Target("webrtc_report", _report, _report_seeds, 600, (b"REMB", b"\x81\xcd", b"\x81\xce", b"\x8f\xce", b"\x81\xc9")),
)
