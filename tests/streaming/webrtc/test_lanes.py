"""Many viewers of one stream at once: one system call for many, the same packets as for one, nobody hurt by another."""

import asyncio
import contextlib
import errno
import itertools
import random
import socket
import sys
from dataclasses import replace

import pylibsrtp
import pytest
from aiortc.rtp import RTCP_PSFB_PLI, RtcpPsfbPacket

from media.rtcp import SenderReport, build_receiver_report, parse_compound
from media.unit import AccessUnit, AudioTrack, Codec
from streaming.webrtc import audience
from streaming.webrtc.feedback import nack
from streaming.webrtc.relay_track import Shape
from streaming.webrtc.volley import packed_address
from streaming.webrtc.whep import WhepSession
from tests.support.webrtc_client import H264_BASELINE, PCMA, WebRtcClient
from tests.support.whep_crowd import TOGETHER, counted, crowd, large
from tests.support.whep_house import CLOCK, arrived, house, numbers, pictures, publish, stuffed, video, whole

_SO_NO_CHECK = 11
"""socket.h of Linux: no UDP checksums; then the kernel does not cut packets either."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sendmmsg and UDP_SEGMENT are Linux's")


async def test_a_picture_goes_to_all_in_one_call() -> None:
    units = large()
    async with house() as h:
        volley = counted(h)
        async with crowd(h, 5, units) as (clients, sessions):
            before, sent = len(volley.fired), [session.peer.counters.packets_out for session in sessions]
            counters = h.port.counters
            left = counters.sent
            publish(h.stream(), units[TOGETHER:80])
            for client in clients:
                await arrived(client, 30)
            assert volley.fired[before:] == [5] * (80 - TOGETHER)
            for client in clients:
                assert whole(client)
                assert numbers(video(client)) == list(range(50, 80))
                # Sizes and order are those that everybody gets.
                assert [item.payload for item in video(client)] == [item.payload for item in video(clients[0])]
            gone = [session.peer.counters.packets_out for session in sessions]
            assert len({after - earlier for after, earlier in zip(gone, sent, strict=True)}) == 1
            assert gone[0] - sent[0] > 18, "several packets a picture"
            assert counters.sent - left >= 5 * (gone[0] - sent[0])
            for session, client in zip(sessions, clients, strict=True):
                assert session.viewer.counters.packets == len(video(client))


async def test_more_viewers_than_one_call_takes() -> None:
    units = pictures(75)
    async with house() as h:
        volley = counted(h)
        async with crowd(h, 19, units) as (clients, _):
            before = len(volley.fired)
            publish(h.stream(), units[TOGETHER:70])
            for client in clients:
                await arrived(client, 20)
                assert numbers(video(client)) == list(range(50, 70))
            assert volley.fired[before:] == [16, 3] * (70 - TOGETHER)


@pytest.mark.parametrize("why", ["the kernel refuses", "known before"])
async def test_without_segmentation_all_packets_come(why: str) -> None:
    units = large()
    async with house() as h:
        volley = counted(h)
        outlet = h.port.outlets[0]
        if why == "known before":
            outlet.segmentation = False
        else:
            outlet.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        async with crowd(h, 3, units) as (clients, _):
            assert not outlet.segmentation
            publish(h.stream(), units[TOGETHER:80])
            for client in clients:
                await arrived(client, 30)
                assert whole(client)
                assert numbers(video(client)) == list(range(50, 80))
        assert volley.fired, "packets go one by one, but still to many in a call"
        assert h.port.counters.refused == 0


async def test_where_the_kernel_begins_to_refuse_nothing_is_lost() -> None:
    units = large()
    async with house() as h:
        volley = counted(h)
        async with crowd(h, 3, units) as (clients, sessions):
            outlet = h.port.outlets[0]
            outlet.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
            publish(h.stream(), units[TOGETHER:80])
            for client in clients:
                await arrived(client, 30)
                assert whole(client)
                assert numbers(video(client)) == list(range(50, 80))
            assert {error for _, error in volley.refused} == {errno.EINVAL}
            assert h.port.counters.refused == 0
            assert all(session.peer.counters.dropped == 0 for session in sessions)


async def test_a_lane_that_learns_of_a_kernel_without_segmentation_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audience, "MAX_MEMBERS", 1)
    for module in ("lane", "volley"):
        monkeypatch.setattr(f"streaming.webrtc.{module}.MAX_MESSAGES", 16)
    units = pictures(100)
    # More packets than one call takes, unless the kernel cuts them.
    crumbs = units[TOGETHER]
    for _ in range(30):
        crumbs = stuffed(crumbs, 98)
    async with house() as h, crowd(h, 3, units) as (clients, sessions):
        assert sessions[0].relay.viewers == 3
        outlet = h.port.outlets[0]
        outlet.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        outlet._proven = False  # noqa: SLF001 as if nothing had been cut before
        publish(h.stream(), [crumbs])
        for client in clients:
            await arrived(client, TOGETHER + 1 - 50)
        assert not outlet.segmentation
        publish(h.stream(), units[TOGETHER + 1 : 80])
        for client in clients:
            await arrived(client, 30)
            assert whole(client)
            assert numbers(video(client)) == list(range(50, 80))


async def test_what_nobody_was_sent_for_want_of_room_does_not_prove_that_the_kernel_cuts() -> None:
    """Believed to cut, it would refuse each viewer's packets one by one for ever, and none would go with others'."""
    units = large()
    # One run of packets, all but the last of one size.
    even = stuffed(replace(units[TOGETHER], data=b""), 4_000)
    async with house() as h:
        volley = counted(h)
        async with crowd(h, 3, units) as (clients, sessions):
            outlet = h.port.outlets[0]
            outlet.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
            outlet._proven = False  # noqa: SLF001 as if nothing had been cut before
            volley.full = 1
            publish(h.stream(), [even, *units[TOGETHER + 1 : 80]])
            for client in clients:
                await arrived(client, 29)
            assert not outlet.segmentation
            assert all(map(in_lane, sessions))


async def test_a_unit_with_nothing_in_it_stops_nobody() -> None:
    units = pictures(100)
    async with house() as h, crowd(h, 2, units) as (clients, sessions):
        publish(h.stream(), [replace(units[TOGETHER], data=bytes(4)), *units[TOGETHER + 1 : 80]])
        for client in clients:
            await arrived(client, 29)
            assert whole(client)
        assert all(map(in_lane, sessions))


async def test_a_viewer_for_whom_no_packets_can_be_made_is_let_go_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    units = pictures(100)
    async with house() as h, crowd(h, 3, units) as (clients, sessions):
        wrong = sessions[1]
        assert wrong.viewer.video is not None
        wrong.viewer.video.leave()
        wrong.viewer.video.shape = Shape(300, 1, 0)
        publish(h.stream(), units[TOGETHER:80])
        for client in (clients[0], clients[2]):
            await arrived(client, 30)
            assert numbers(video(client)) == list(range(50, 80))
        await clients[1].until(lambda: wrong.over)
    assert "a viewer cannot be served" in caplog.text


async def test_who_can_no_longer_be_protected_is_let_go_and_the_others_stay() -> None:
    units = pictures(100)
    # Keys of one SSRC that nobody uses: libsrtp refuses every packet.
    useless = pylibsrtp.Session(pylibsrtp.Policy(bytes(30), pylibsrtp.Policy.SSRC_SPECIFIC, 1))
    async with house() as h, crowd(h, 3, units) as (clients, sessions):
        lost = sessions[1]
        assert lost.viewer.video is not None
        lost.peer._dtls._out = useless  # noqa: SLF001
        lost.viewer.video.leave()
        had = len(video(clients[1]))
        # At once: nobody else has a turn before the pictures are given.
        publish(h.stream(), units[TOGETHER:80])
        for client in (clients[0], clients[2]):
            await arrived(client, 30)
            assert numbers(video(client)) == list(range(50, 80))
        await clients[1].until(lambda: lost.over)
        assert len(video(clients[1])) == had


async def test_who_leaves_while_lanes_are_being_given_gets_each_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two to a lane, and the loop's turn is given up after each lane and each viewer.
    monkeypatch.setattr(audience, "MAX_MEMBERS", 2)
    monkeypatch.setattr(audience, "_LOOK_EVERY", 1)
    units = large()
    dice = random.Random(3)
    async with house() as h, crowd(h, 6, units) as (clients, sessions):
        monkeypatch.setattr(audience, "_LONGEST_TURN_S", 0.0)
        for at in range(TOGETHER, 90):
            publish(h.stream(), units[at : at + 1])
            for _ in range(dice.randrange(1, 8)):
                await asyncio.sleep(0)
            outgoing = dice.choice(sessions).viewer.video
            assert outgoing is not None
            outgoing.leave()
            if at == 75:
                await h.whep.close(sessions.pop(2).id)
                clients.pop(2)
            for client in clients:
                await arrived(client, at + 1 - 50)
        for client, session in zip(clients, sessions, strict=True):
            assert whole(client)
            assert numbers(video(client)) == list(range(50, 90))
            assert session.viewer.counters.packets == len(video(client))


async def test_without_sendmmsg_each_is_served_alone() -> None:
    units = pictures(100)
    async with house() as h:
        h.port.outlets[0].volley = None
        async with crowd(h, 2, units) as (clients, _):
            publish(h.stream(), units[TOGETHER:80])
            for client in clients:
                await arrived(client, 30)
                assert numbers(video(client)) == list(range(50, 80))


def in_lane(session: WhepSession) -> bool:
    return session.viewer.video is not None and session.viewer.video.lane is not None


async def test_who_cannot_be_reached_costs_the_others_nothing() -> None:
    units = pictures(100)
    async with house() as h, crowd(h, 3, units) as (clients, sessions):
        lost = sessions[1]
        path = lost.peer.shared_path
        assert path is not None
        assert lost.viewer.video is not None
        # Not allowed without SO_BROADCAST: the kernel refuses it at once.
        path.name = packed_address(socket.AF_INET, ("255.255.255.255", 9))
        lost.viewer.video.leave()
        publish(h.stream(), units[TOGETHER:80])
        for client in (clients[0], clients[2]):
            await arrived(client, 30)
            assert numbers(video(client)) == list(range(50, 80))
        assert lost.peer.counters.dropped > 0
        assert lost.viewer.counters.packets + lost.peer.counters.dropped == sessions[0].viewer.counters.packets
        assert sessions[0].peer.counters.dropped == sessions[2].peer.counters.dropped == 0


async def test_viewers_with_other_numbers_are_in_the_same_call_and_get_lost_packets_again() -> None:
    units = large()
    async with house() as h:
        volley = counted(h)
        async with crowd(h, 3, units) as (clients, sessions):
            # One begins anew: its numbers and times stand otherwise from then on.
            odd = clients[1]
            ssrc, had = video(odd)[0].header.ssrc, len(video(odd))
            odd.send_rtcp(build_receiver_report(1) + bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, ssrc)))
            await arrived(odd, 2 * (TOGETHER - 50))
            publish(h.stream(), units[TOGETHER : TOGETHER + 1])
            await arrived(odd, 2 * (TOGETHER - 50) + 1)
            assert all(map(in_lane, sessions))
            before, dropped = len(volley.fired), dict[int, bytes | None]()

            def lose(header: object) -> bool:
                sequence = header.sequence  # type: ignore[attr-defined]
                if sequence % 4 or sequence in dropped:
                    return False
                dropped[sequence] = None
                return True

            odd.lose = lose
            publish(h.stream(), units[TOGETHER + 1 : 80])
            await arrived(clients[0], 30)
            assert volley.fired[before:] == [3] * (79 - TOGETHER)

            def ask() -> bool:
                missing = sorted(set(dropped) - {item.header.sequence for item in video(odd)})
                if missing:
                    odd.send_rtcp(build_receiver_report(1) + nack(1, ssrc, missing))
                return len(dropped) > 5 and not missing and whole(odd)

            await odd.until(ask)
            anew = sorted(video(odd)[had:], key=lambda item: item.header.sequence)
            assert numbers(anew) == list(range(50, 80))
            stamps = [item.header.timestamp for item in anew if item.header.marker]
            assert all(0 < (b - a) & 0xFFFFFFFF < 0x80000000 for a, b in itertools.pairwise(stamps))
            assert numbers(video(clients[2])) == list(range(50, 80))


async def test_who_moves_or_goes_leaves_the_others_and_loses_nothing() -> None:
    units = pictures(100)
    async with house() as h, crowd(h, 4, units) as (clients, sessions):
        moved = clients[1]
        await moved.reach()
        await h.whep.close(sessions[2].id)
        gone = len(video(clients[2]))
        publish(h.stream(), units[TOGETHER:80])
        for client in (clients[0], moved, clients[3]):
            await arrived(client, 30)
            assert whole(client)
            assert numbers(video(client)) == list(range(50, 80))
        assert sessions[1].peer.path_changes == 1
        assert in_lane(sessions[1])
        assert len(video(clients[2])) == gone


async def test_reports_count_what_went_together() -> None:
    units = pictures(100)
    async with house() as h, crowd(h, 2, units) as (clients, sessions):
        publish(h.stream(), units[TOGETHER:80])
        for client, session in zip(clients, sessions, strict=True):
            await arrived(client, 30)
            session.viewer.report(CLOCK.utc_ns())

            def newest(one: WebRtcClient = client) -> SenderReport:
                told = [item for data in one.reports for item in parse_compound(data)]
                return [item for item in told if isinstance(item, SenderReport)][-1]

            came = video(client)
            await client.until(lambda: newest().packets == len(came))  # noqa: B023
            assert newest().octets == sum(len(item.payload) for item in came)


async def test_sound_goes_together_too_and_tcp_beside_it() -> None:
    units = pictures(60)
    track = AudioTrack(Codec.PCMA, 8000, 1)
    now = CLOCK.utc_ns()
    sounds = [
        AccessUnit(track, 800_000 + 320 * n, 800_000 + 320 * n, now + 40_000_000 * n, bytes([n]) * 320)
        for n in range(20)
    ]
    async with house() as h, contextlib.AsyncExitStack() as stack:
        volley = counted(h)
        publish(h.stream(), [*units[:55], sounds[0]])
        clients = [await stack.enter_async_context(WebRtcClient()) for _ in range(3)]
        for client, over in zip(clients, ("udp", "tcp", "udp"), strict=True):
            await h.look(client, over=over, video=(H264_BASELINE,), audio=(PCMA,))
            await arrived(client, 5)
        for unit in sounds[1:]:
            publish(h.stream(), [unit])
            await asyncio.sleep(0)
        for client in clients:
            await client.until(
                lambda one=client: sum(item.header.payload_type == 8 for item in one.packets) == 19  # type: ignore[misc]
            )
            heard = [item for item in client.packets if item.header.payload_type == 8]
            assert [item.payload[0] for item in heard] == list(range(1, 20))
        assert 2 in volley.fired
