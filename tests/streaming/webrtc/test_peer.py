"""One session on the one port: aiortc as an independent peer; UDP, TCP and IPv6; moving, restarting, dying."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from media.clock import SystemClock
from media.rtcp import build_receiver_report
from media.rtp import HEADER
from streaming.webrtc import tcp
from streaming.webrtc.dtls import Certificates, DtlsSrtp
from streaming.webrtc.errors import SessionGoneError
from streaming.webrtc.peer import CloseReason, Peer, PeerSettings, PeerState
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.sdp import ABS_SEND_TIME, NACK, PLI, Choice, parse_offer, write_answer
from tests.support.clocks import FakeClock
from tests.support.live_feed import until
from tests.support.webrtc_client import WebRtcClient

CLOCK = SystemClock()
LIMIT_S = 20


@contextlib.asynccontextmanager
async def listening(host: str = "127.0.0.1", **more: object) -> AsyncIterator[WebRtcPort]:
    async with WebRtcPort(PortSettings(host=host, **more), CLOCK) as port:  # type: ignore[arg-type]
        yield port


def peer_of(port: WebRtcPort, text: str, settings: PeerSettings | None = None) -> tuple[Peer, str]:
    """A session for an offer, sending its video, and the answer."""
    offer = parse_offer(text)
    peer = Peer(port, offer, Certificates(CLOCK), CLOCK, settings)
    video = offer.first("video", receives=True)
    assert video is not None
    codec = video.codec("H264")
    assert codec is not None
    choice = Choice((codec,), "sendonly", frozenset({NACK, PLI}), frozenset({ABS_SEND_TIME}), ssrc=77, cname="c")
    return peer, write_answer(offer, {video.mid: choice}, peer.local)


def rtp(number: int, size: int = 900) -> bytes:
    return HEADER.pack(0x80, 110, number, 3000 * number, 77) + bytes([number & 0xFF]) * size


async def test_aiortc_is_reached_and_says_goodbye() -> None:
    async with listening() as port:
        theirs = RTCPeerConnection()
        theirs.addTransceiver("audio", direction="recvonly")
        theirs.addTransceiver("video", direction="recvonly")
        await theirs.setLocalDescription(await theirs.createOffer())
        peer, answer = peer_of(port, theirs.localDescription.sdp)
        states: list[PeerState] = []
        peer.on_state = states.append
        async with peer, asyncio.timeout(LIMIT_S):
            await theirs.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            await peer.connected()
            assert peer.path == "udp"
            await until(lambda: theirs.connectionState == "connected")
            await theirs.close()
            assert await peer.closed() is CloseReason.GOODBYE
        assert states == [PeerState.CONNECTING, PeerState.CONNECTED, PeerState.CLOSED]
        assert port.mux.sessions == 0


@pytest.mark.parametrize(("over", "host"), [("udp", "127.0.0.1"), ("tcp", "127.0.0.1"), ("udp", "::1"), ("tcp", "::1")])
async def test_packets_go_both_ways(over: str, host: str) -> None:
    async with listening(host) as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer())
        came: list[bytes] = []
        reports: list[bytes] = []
        peer.on_rtp = lambda packet, arrival_ns: came.append(packet)
        peer.on_rtcp = lambda packet, arrival_ns: reports.append(packet)
        async with peer:
            await client.connect(answer, over=over)
            await peer.connected()
            assert peer.path == over
            # Sizes that change, so that batches of one size end in the middle.
            sent = [rtp(number, 900 if number % 7 else 100) for number in range(200)]
            for at in range(0, 200, 20):
                assert peer.send_rtp(sent[at : at + 20]) == 20
                await client.until(lambda done=at + 20: len(client.packets) >= done)  # type: ignore[misc]
            assert [item.packet for item in client.packets] == sent
            client.send_rtp(rtp(5))
            client.send_rtcp(build_receiver_report(9))
            await client.until(lambda: bool(came and reports))
            assert came == [rtp(5)]
            assert reports == [build_receiver_report(9)]
            peer.send_rtcp(build_receiver_report(77))
            await client.until(lambda: client.reports == [build_receiver_report(77)])
            await peer.close()
            await client.said_goodbye.wait()


async def test_the_wildcard_listens_on_both_families() -> None:
    async with listening("", public_addresses=("127.0.0.1", "::1")) as port, asyncio.timeout(LIMIT_S):
        for number, local in ((0, "127.0.0.1"), (2, "::1")):
            async with WebRtcClient() as client:
                peer, answer = peer_of(port, client.offer())
                lines = [line for line in answer.splitlines() if "a=candidate" in line and " udp " in line]
                assert len(lines) == 2
                if number:
                    answer = answer.replace(lines[0] + "\r\n", "")
                async with peer:
                    await client.connect(answer)
                    assert peer.remote_address is not None
                    assert peer.remote_address[0] == local


async def test_without_segmentation_packets_go_one_by_one() -> None:
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        port.outlets[0].segmentation = False
        peer, answer = peer_of(port, client.offer())
        async with peer:
            await client.connect(answer)
            before = port.counters.calls
            assert peer.send_rtp([rtp(number) for number in range(8)]) == 8
            assert port.counters.calls == before + 8
            await client.until(lambda: len(client.packets) == 8)


async def test_the_peer_moves_to_another_address() -> None:
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer())
        async with peer:
            await client.connect(answer)
            before = peer.remote_address
            await client.reach(local="127.0.0.2")
            assert peer.remote_address is not None
            assert peer.remote_address != before
            assert peer.path_changes == 1
            peer.send_rtp([rtp(1)])
            await client.until(lambda: len(client.packets) == 1)


async def test_a_check_that_does_not_nominate_does_not_move_media() -> None:
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer())
        async with peer:
            await client.connect(answer)
            before = peer.remote_address
            await client.reach(local="127.0.0.3", nominate=False)
            assert peer.remote_address == before


async def test_ice_begins_anew_while_media_goes_on() -> None:
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer())
        async with peer:
            await client.connect(answer)
            old = peer.local.ice
            fresh = WebRtcClient().ice
            local = peer.restart_ice(fresh)
            assert local.ice != old
            peer.send_rtp([rtp(1)])
            await client.until(lambda: len(client.packets) == 1)
            client.ice = fresh
            client.renew(local.ice)
            await client.reach(local="127.0.0.2")
            assert peer.path_changes == 1
            peer.send_rtp([rtp(2)])
            await client.until(lambda: len(client.packets) == 2)
            assert port.mux.sessions == 1
        with pytest.raises(SessionGoneError):
            peer.restart_ice(fresh)


async def test_a_session_that_nobody_comes_to_ends() -> None:
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, _ = peer_of(port, client.offer(), PeerSettings(first_check_s=0.05))
        async with peer:
            with pytest.raises(SessionGoneError):
                await peer.connected()
            assert await peer.closed() is CloseReason.NEVER_CAME
            assert peer.send_rtp([rtp(1)]) == 0
        assert port.mux.sessions == 0


async def test_keys_that_are_never_agreed_on_end_the_session() -> None:
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer(), PeerSettings(handshake_s=0.3))
        async with peer:
            await client.connect(answer, keys=False)
            assert await peer.closed() is CloseReason.HANDSHAKE


async def test_consent_ends_with_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.webrtc.port._CONSENT_LOOK_S", 0.02)
    clock = FakeClock()
    async with (
        WebRtcPort(PortSettings(host="127.0.0.1"), clock) as port,
        WebRtcClient() as client,
        asyncio.timeout(LIMIT_S),
    ):
        offer = parse_offer(client.offer())
        peer = Peer(port, offer, Certificates(CLOCK), clock)
        async with peer:
            await client.connect(write_answer(offer, {}, peer.local))
            await peer.connected()
            clock.advance(29.0)
            client.send(client.check())
            before = port.mux.counters.checks
            await client.until(lambda: port.mux.counters.checks > before)
            clock.advance(29.0)
            await asyncio.sleep(0.1)
            assert peer.state is PeerState.CONNECTED
            clock.advance(2.0)
            assert await peer.closed() is CloseReason.CONSENT


async def test_a_taken_port_is_told_at_once() -> None:
    async with listening() as port:
        with pytest.raises(OSError, match="in use"):
            async with WebRtcPort(PortSettings(host="127.0.0.1", port=port.port), CLOCK):
                pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))


async def test_a_session_that_fails_ends_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(transport: DtlsSrtp, seconds: float) -> None:
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(DtlsSrtp, "handshake", fails)
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer())
        async with peer:
            await client.connect(answer, keys=False)
            with pytest.raises(SessionGoneError):
                await peer.connected()
            assert await peer.closed() is CloseReason.HANDSHAKE
            with pytest.raises(SessionGoneError):
                peer.restart_ice(WebRtcClient().ice)
        assert port.mux.sessions == 0


async def test_a_session_by_tcp_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "FIRST_CHECK_S", 1.5)
    async with listening() as port, WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        peer, answer = peer_of(port, client.offer())
        async with peer:
            await client.connect(answer, over="tcp")
            await peer.connected()
            # Past the time in which strangers are cut.
            await asyncio.sleep(1.6)
            # As if it had vanished: it does not answer the goodbye.
            client._dtls = None  # noqa: SLF001
        await client.cut.wait()
