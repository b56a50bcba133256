"""What many viewers who come and go leave behind, and how long they keep the loop: nothing, and not long."""

import asyncio
import gc
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvloop
from aiortc.rtcdtlstransport import SRTP_PROFILES
from OpenSSL import SSL

from media.stream import Quality
from streaming.webrtc import audience, whep
from streaming.webrtc.audience import Turns
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.errors import CodecMismatchError
from streaming.webrtc.peer import Peer, PeerSettings
from streaming.webrtc.relay import Relay
from streaming.webrtc.relay_track import AGAIN_S, Batch, History, RelayTrack, Shape
from streaming.webrtc.sdp import Offer
from streaming.webrtc.whep import WhepSession
from tests.support.clocks import FakeClock
from tests.support.webrtc_client import H264_BASELINE, PCMA, VP8, WebRtcClient
from tests.support.whep_house import House, arrived, house, pictures, publish, video

LIMIT_S = 60


@contextmanager
def no_collector() -> Iterator[None]:
    """What is freed inside is freed by reference counts."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def held_by(session: WhepSession) -> list[weakref.ref[object]]:
    viewer = session.viewer
    return [weakref.ref(one) for one in (session, viewer, session.peer)]


async def look(h: House, *, goodbye: bool) -> list[weakref.ref[object]]:
    """One viewer who comes, sees pictures and goes."""
    async with WebRtcClient() as client:
        session = await h.look(client, video=(H264_BASELINE,), audio=(PCMA,))
        refs = held_by(session)
        await arrived(client, 10)
        if goodbye:
            await h.whep.close(session.id)
        del session
    return refs


async def until_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - nobody tells when something is freed
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("goodbye", [True, False], ids=["over HTTP", "by DTLS"])
async def test_an_ended_session_is_freed_without_the_garbage_collector(goodbye: bool) -> None:
    units = pictures(100)
    async with house() as h:
        publish(h.stream(), units[:60])
        # Who comes first leaves behind what is made once.
        await look(h, goodbye=goodbye)
        await until_true(lambda: len(h.whep) == 0)
        with no_collector():
            refs = [ref for _ in range(3) for ref in await look(h, goodbye=goodbye)]
            assert len(refs) == 9
            await until_true(lambda: len(h.whep) == 0 and not any(ref() for ref in refs))


def alive(*kinds: type[object]) -> int:
    return sum(isinstance(one, kinds) for one in gc.get_objects())


async def test_who_is_refused_leaves_no_pictures_to_the_garbage_collector() -> None:
    async with house() as h:
        publish(h.stream(), pictures(60))
        with no_collector():
            for quality in Quality:
                with pytest.raises(CodecMismatchError):
                    await h.whep.offer("hall", quality, WebRtcClient().offer(video=(VP8,), audio=()))
            await until_true(lambda: not alive(Relay, Offer))


async def test_who_agrees_on_no_keys_leaves_no_session_to_the_garbage_collector() -> None:
    async with house(peer=PeerSettings(handshake_s=0.2)) as h:
        publish(h.stream(), pictures(60))
        with no_collector():
            before = alive(SSL.Connection)
            for _ in range(2):
                async with WebRtcClient() as client:
                    session = await h.whep.offer("hall", Quality.MAIN, client.offer(video=(H264_BASELINE,)))
                    await client.connect(session.answer, keys=False)
                    await session.peer.closed()
                    del session
            await until_true(lambda: not alive(Relay, Peer, WhepSession) and alive(SSL.Connection) == before)


async def test_the_last_viewer_is_not_held_by_who_looks_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whep, "_LOOK_S", 0.001)
    async with house() as h:
        publish(h.stream(), pictures(60))
        with no_collector():
            await look(h, goodbye=True)
            await until_true(lambda: not alive(Relay, Peer, WhepSession))


async def test_a_relay_and_its_pictures_are_freed_after_its_last_viewer_without_the_garbage_collector() -> None:
    units = pictures(100)
    async with house() as h:
        publish(h.stream(), units[:60])
        await look(h, goodbye=True)
        with no_collector():
            async with WebRtcClient() as client:
                session = await h.look(client, video=(H264_BASELINE,), audio=())
                relay: weakref.ref[Relay] = weakref.ref(session.relay)
                assert session.relay.video is not None
                track: weakref.ref[RelayTrack] = weakref.ref(session.relay.video)
                await arrived(client, 10)
                del session
            await until_true(lambda: relay() is None and track() is None)


def batch(number: int, at_s: float) -> Batch:
    return Batch(number, number * 320, [(b"sound", 0, 0)], round(at_s * (1 << 18)) & 0xFFFFFF, starts=True)


def test_what_nobody_asks_for_any_more_is_not_kept() -> None:
    history = History()
    kept = [batch(number, number / 25) for number in range(900)]
    for one in kept:
        history.add(one)
    # Sound is one packet a unit: a thousand would be forty seconds of it.
    assert history.find(899 - 25 * (AGAIN_S - 1)) is kept[899 - 25 * (AGAIN_S - 1)]
    assert history.find(899 - 25 * (AGAIN_S + 1)) is None


def test_a_batch_is_one_thing_for_the_garbage_collector() -> None:
    one = batch(7, 1.0)
    one.live(Shape(100, 1, 0), 7, 0, 16)
    one.distributed()
    gc.collect()
    below = gc.get_referents(one)
    assert [thing for thing in below if gc.is_tracked(thing) and not isinstance(thing, type)] == []


async def test_who_goes_with_others_does_not_keep_what_it_began_with() -> None:
    units = pictures(100)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units[:60])
        session = await h.look(client, video=(H264_BASELINE,), audio=())
        await arrived(client, 10)
        outgoing = session.viewer.video
        assert outgoing is not None
        assert len(outgoing._sent) > 5  # noqa: SLF001
        publish(h.stream(), units[60:70])
        await arrived(client, 20)
        assert outgoing.lane is not None
        # As if a lane had gone on for long.
        outgoing.lane.number += 2_000
        outgoing.settle()
        assert len(outgoing._sent) == 1  # noqa: SLF001
        outgoing.lane.number -= 2_000
        outgoing._number_mark -= 2_000  # noqa: SLF001
        outgoing.first -= 2_000
        publish(h.stream(), units[70:80])
        await arrived(client, 30)
        assert len({item.header.sequence for item in video(client)}) == len(video(client))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_turn_ends_for_all_who_hand_out_and_the_next_one_begins(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "_LONGEST_TURN_S", 0.02)

    async def main() -> None:
        turns, others = Turns(), 0

        def somebody_else() -> None:
            nonlocal others
            others += 1

        asyncio.get_running_loop().call_soon(somebody_else)
        began = time.monotonic()
        while not turns.is_over():
            assert time.monotonic() - began < LIMIT_S, "the clock stands still"
        assert time.monotonic() - began >= 0.02
        assert others == 0
        async with asyncio.timeout(LIMIT_S):
            await turns.wait()
        assert others == 1

    run(main())


async def test_where_others_take_long_a_turn_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "_TURN_S", 0.001)
    monkeypatch.setattr(audience, "_LONGEST_TURN_S", LIMIT_S)
    turns = Turns()
    assert not turns.is_over()
    await asyncio.sleep(0)
    # Everybody else, for a twentieth of a second.
    time.sleep(0.05)  # noqa: ASYNC251
    began = time.monotonic()
    while not turns.is_over():
        assert time.monotonic() - began < LIMIT_S
    assert time.monotonic() - began >= 0.05


def test_handshakes_share_what_openssl_prepares_and_no_session_of_before_is_kept() -> None:
    clock = FakeClock(time.time_ns())
    certificates = Certificates(clock)
    certificate = certificates.current()
    assert certificates.current() is certificate
    context = certificate._create_ssl_context(SRTP_PROFILES)  # noqa: SLF001
    assert certificate._create_ssl_context(list(SRTP_PROFILES)) is context  # noqa: SLF001
    assert certificate._create_ssl_context(SRTP_PROFILES[:1]) is not context  # noqa: SLF001
    # The call gives back what was set before.
    assert context.set_session_cache_mode(SSL.SESS_CACHE_OFF) == SSL.SESS_CACHE_OFF
    clock.advance(28 * 24 * 3600)
    assert certificates.current() is not certificate
