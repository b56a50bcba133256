"""Viewers of one relay: joined in the middle of a GOP, losing packets, asking for keyframes, on weak lines, late."""

import asyncio
import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_PLI, RtcpPsfbPacket, pack_remb_fci

from media.opus_live import OpusTranscoders
from media.rtcp import ReceptionReport, SenderReport, build_receiver_report, parse_compound
from media.stream import Quality
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from streaming.webrtc.adaptation import Adaptation, AdaptationSettings
from streaming.webrtc.errors import (
    CodecMismatchError,
    PictureUnplayableError,
    StreamAwayError,
    TooManySessionsError,
)
from streaming.webrtc.feedback import nack
from tests.support.clocks import FakeClock
from tests.support.webrtc_client import H264, H264_BASELINE, H265, OPUS, PCMA, Received, WebRtcClient
from tests.support.whep_house import (
    CLOCK,
    FPS,
    arrived,
    house,
    numbers,
    pictures,
    publish,
    stuffed,
    video,
    whole,
)


async def test_who_joins_in_a_gop_sees_it_all_at_once_and_then_what_comes() -> None:
    units = pictures(100)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units[:80])
        await h.look(client)
        await arrived(client, 30)
        burst = list(video(client))
        publish(h.stream(), units[80:])
        await arrived(client, 50)
        assert numbers(video(client)) == list(range(50, 100))
        stamps = [item.header.timestamp for item in video(client) if item.header.marker]
        ahead = [(later - earlier) & 0xFFFFFFFF for earlier, later in itertools.pairwise(stamps)]
        assert all(0 < step < 0x80000000 for step in ahead), "time goes on"
        # Thirty pictures in less than the time of one; from then on each takes its own.
        first, last = burst[0].header.timestamp, stamps[29]
        assert (last - first) & 0xFFFFFFFF < 90_000 // FPS
        assert ahead[30:] == [90_000 // FPS] * 19
        # The keyframe has its parameter sets before it, in band.
        assert [item.payload[0] & 31 for item in burst[:2]] == [7, 8]


async def test_viewers_who_join_at_any_place_get_the_same_pictures_and_share_packets() -> None:
    units = pictures(100)
    async with house() as h, contextlib.AsyncExitStack() as stack:
        clients = []
        publish(h.stream(), units[:55])
        for count in range(3):
            client = await stack.enter_async_context(WebRtcClient())
            await h.look(client)
            clients.append(client)
            publish(h.stream(), units[55 + 10 * count : 65 + 10 * count])
        publish(h.stream(), units[85:])
        for client in clients:
            await arrived(client, 50)
            assert numbers(video(client)) == list(range(50, 100))
        tails = [[item.packet[2:] for item in video(client)[-5:]] for client in clients]
        assert tails[0] == tails[1] == tails[2]
        assert len(h.relays) == 1


async def test_lost_packets_come_again_the_same_as_they_were() -> None:
    units = pictures(100, bitrate=2_000_000)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units[:60])
        dropped: list[int] = []
        everything: dict[int, bytes] = {}

        def lose(header: object) -> bool:
            sequence = header.sequence  # type: ignore[attr-defined]
            if sequence % 5 == 0 and sequence not in dropped:
                dropped.append(sequence)
                return True
            return False

        client.lose = lose
        session = await h.look(client)
        await client.until(lambda: len(dropped) > 3 and session.viewer.behind is False)
        publish(h.stream(), units[60:75])
        ssrc = video(client)[0].header.ssrc

        def ask() -> bool:
            missing = sorted(set(dropped) - {item.header.sequence for item in video(client)})
            if missing:
                client.send_rtcp(build_receiver_report(1) + nack(1, ssrc, missing))
            return not missing and sum(item.header.marker for item in video(client)) >= 25

        await client.until(ask)
        assert whole(client)
        assert numbers(video(client)) == list(range(50, 75))
        assert session.viewer.counters.again >= len(dropped)
        for item in video(client):
            assert everything.setdefault(item.header.sequence, item.packet) == item.packet


async def test_a_keyframe_is_given_from_the_cache() -> None:
    units = pictures(100)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units[:70])
        session = await h.look(client)
        await arrived(client, 20)
        ssrc = video(client)[0].header.ssrc
        before = len(video(client))
        for _ in range(5):
            client.send_rtcp(build_receiver_report(1) + bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, ssrc)))
        await arrived(client, 40)
        again = video(client)[before:]
        assert [item.payload[0] & 31 for item in again[:2]] == [7, 8]
        publish(h.stream(), units[70:80])
        await arrived(client, 50)
        assert numbers(video(client)[before:]) == list(range(50, 80))
        stamps = [item.header.timestamp for item in video(client) if item.header.marker]
        assert all(0 < (b - a) & 0xFFFFFFFF < 0x80000000 for a, b in itertools.pairwise(stamps))
        await client.until(lambda: session.viewer.counters.keyframes_asked == 5)
        assert session.viewer.counters.bursts == 2, "a flood of requests is one request"


async def test_a_large_gop_is_spread_out() -> None:
    async with house() as h, WebRtcClient(keep=False) as client:
        publish(h.stream(), [stuffed(unit, 24_000) for unit in pictures(50)])
        loop = asyncio.get_running_loop()
        session = await h.whep.offer("hall", Quality.MAIN, client.offer())
        came: list[float] = []
        client.on_rtp = lambda received: came.append(loop.time())
        await client.connect(session.answer)
        await client.until(lambda: bool(came) and not session.viewer.behind)
        # 1.2 MB: at once it would overrun a phone; at the bound of 40 Mb/s it takes a quarter of a second.
        assert session.peer.counters.bytes_out > 1_200_000
        assert loop.time() - came[0] > 0.15


async def test_sound_goes_through_as_it_came() -> None:
    track = AudioTrack(Codec.PCMA, 8000, 1)
    units = pictures(60)
    now = CLOCK.utc_ns()
    times = [(800_000 + 320 * n, now + 40_000_000 * n) for n in range(20)]
    sounds = [AccessUnit(track, pts, pts, at, bytes([n]) * 320) for n, (pts, at) in enumerate(times)]
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), [*units[:55], sounds[0]])
        await h.look(client)
        await arrived(client, 5)
        publish(h.stream(), sounds[1:])
        await client.until(lambda: sum(item.header.payload_type == 8 for item in client.packets) == 19)
        heard = [item for item in client.packets if item.header.payload_type == 8]
        assert [item.payload[0] for item in heard] == list(range(1, 20))
        assert [item.header.timestamp - heard[0].header.timestamp for item in heard] == [320 * n for n in range(19)]


async def test_sound_that_browsers_do_not_take_comes_as_opus() -> None:
    source = TestSource(TestSourceSettings(video=None, audio=Codec.AAC))
    now = CLOCK.utc_ns()
    sounds = itertools.takewhile(lambda unit: unit.utc_ns < now + 2 * NS_PER_S, source.units(now))
    with ThreadPoolExecutor(1) as executor:
        async with house(transcoders=OpusTranscoders(executor)) as h, WebRtcClient() as client:
            publish(h.stream(), [*pictures(10), next(sounds)])
            session = await h.look(client)
            assert "opus/48000/2" in session.answer
            await arrived(client, 1)

            def heard() -> list[Received]:
                return [item for item in client.packets if item.header.payload_type == 100]

            # Sound goes on until the transcoder, which starts with its first listener, has made some of it.
            for sound in sounds:
                publish(h.stream(), [sound])
                await asyncio.sleep(0.01)
            await client.until(lambda: len(heard()) > 10)
            stamps = [item.header.timestamp for item in heard()]
            assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == {960}


async def test_sender_reports_tie_media_to_the_wall_clock() -> None:
    units = pictures(60)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units)
        await h.look(client)
        await arrived(client, 10)
        await client.until(lambda: bool(client.reports))
        report = next(item for item in parse_compound(client.reports[0]) if isinstance(item, SenderReport))
        last = video(client)[-1].header
        assert report.ssrc == last.ssrc
        # The last picture was taken at utc_ns; the report says what the RTP clock shows a moment later.
        elapsed_s = (report.utc_ns - units[-1].utc_ns) / NS_PER_S
        shown_s = ((report.rtp_timestamp - last.timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        assert abs(shown_s / 90_000 - elapsed_s) < 0.05


async def test_what_a_viewer_cannot_take_is_refused_and_the_sub_stream_tried_first() -> None:
    async with house() as h, WebRtcClient() as client:
        with pytest.raises(StreamAwayError):
            await h.whep.offer("hall", Quality.MAIN, client.offer())
        publish(h.stream(), pictures(10, codec=Codec.H265))
        with pytest.raises(CodecMismatchError) as refused:
            await h.whep.offer("hall", Quality.MAIN, client.offer(video=(H264,)))
        assert refused.value.params["codec"] == "H.265"
        publish(h.stream(Quality.SUB), pictures(10))
        session = await h.whep.offer("hall", Quality.MAIN, client.offer(video=(H264,)))
        assert session.quality is Quality.SUB
        plain = await h.whep.offer("hall", Quality.MAIN, client.offer(video=(H265, H264)))
        assert plain.quality is Quality.MAIN
        assert "H265/90000" in plain.answer


async def test_b_frames_and_profiles_that_were_not_offered_are_refused() -> None:
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), pictures(30, b_frames=2))
        with pytest.raises(PictureUnplayableError) as refused:
            await h.whep.offer("hall", Quality.MAIN, client.offer())
        assert refused.value.params["reason"] == "b-frames"
        high = pictures(10)
        track = high[0].track
        sps, *rest = track.parameter_sets  # type: ignore[union-attr]
        other = replace(track, parameter_sets=(sps[:1] + b"\x64" + sps[2:], *rest))  # type: ignore[arg-type]
        publish(h.stream(Quality.SUB), [replace(unit, track=other) for unit in high])
        with pytest.raises(PictureUnplayableError) as refused:
            await h.whep.offer("hall", Quality.SUB, client.offer(video=(H264_BASELINE,)))
        assert refused.value.params["reason"] == "profile"
        session = await h.whep.offer("hall", Quality.SUB, client.offer(video=(H264_BASELINE, H264)))
        assert "profile-level-id=640c1f" in session.answer


async def test_a_weak_line_gets_the_sub_stream_at_a_keyframe_and_the_main_stream_back() -> None:
    main, sub = pictures(100), pictures(100, first_number=1000)
    settings = AdaptationSettings(bad_reports=2, first_retry_s=1.5)
    async with house(adaptation=settings) as h, WebRtcClient() as client:
        publish(h.stream(), main[:70])
        publish(h.stream(Quality.SUB), sub[:70])
        session = await h.look(client)
        await arrived(client, 20)
        ssrc = video(client)[0].header.ssrc
        for _ in range(2):
            client.send_rtcp(build_receiver_report(1, [ReceptionReport(ssrc, fraction_lost=100)]))
        await client.until(lambda: session.quality is Quality.SUB)
        await arrived(client, 40)
        publish(h.stream(), main[70:75])
        publish(h.stream(Quality.SUB), sub[70:75])
        await arrived(client, 45)
        await client.until(lambda: session.quality is Quality.MAIN)
        publish(h.stream(), main[75:80])
        await arrived(client, 45 + 30)
        assert numbers(video(client)) == [*range(50, 70), *range(1050, 1075), *range(50, 80)]
        assert whole(client)
        stamps = [item.header.timestamp for item in video(client) if item.header.marker]
        assert all(0 < (b - a) & 0xFFFFFFFF < 0x80000000 for a, b in itertools.pairwise(stamps))


async def test_who_leaves_does_not_wait_for_a_sub_stream_that_brings_nothing() -> None:
    async with house(adaptation=AdaptationSettings(bad_reports=2)) as h, WebRtcClient() as client:
        h.relays.settings = replace(h.relays.settings, first_keyframe_s=3600)
        publish(h.stream(), pictures(70))
        h.stream(Quality.SUB)
        session = await h.look(client)
        await arrived(client, 20)
        ssrc = video(client)[0].header.ssrc
        for _ in range(2):
            client.send_rtcp(build_receiver_report(1, [ReceptionReport(ssrc, fraction_lost=100)]))
        await client.until(lambda: len(h.relays) == 2)
        await h.whep.close(session.id)
        assert len(h.whep) == 0
        await client.until(lambda: len(h.relays) == 0)


async def test_a_slow_viewer_over_tcp_is_cut_and_the_others_are_not() -> None:
    units = pictures(50)
    async with house() as h, WebRtcClient(keep=False) as slow, WebRtcClient(keep=False) as quick:
        publish(h.stream(), units[:1])
        cut, whole = await h.look(slow, over="tcp"), await h.look(quick)
        slow.stop_reading()
        for unit in units[1:]:
            before = whole.viewer.counters.packets
            publish(h.stream(), [stuffed(unit, 300_000)])
            await slow.until(lambda sent=before: whole.viewer.counters.packets > sent and not whole.viewer.behind)  # type: ignore[misc]
            if cut.viewer.counters.cut:
                break
        assert cut.viewer.counters.cut > 0
        assert cut.peer.counters.dropped > 0
        assert whole.viewer.counters.cut == 0
        assert whole.peer.counters.dropped == 0


async def test_a_stream_that_changes_its_codec_dismisses_its_viewers() -> None:
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), pictures(10))
        await h.look(client)
        publish(h.stream(), pictures(10, codec=Codec.H265))
        await client.said_goodbye.wait()
        await client.until(lambda: len(h.whep) == 0)


async def test_the_relay_closes_when_nobody_looks_and_the_house_when_the_stream_ends() -> None:
    async with house() as h:
        publish(h.stream(), pictures(10))
        async with WebRtcClient() as client:
            session = await h.look(client)
            assert h.stream().watched
            await h.whep.close(session.id)
        await client.until(lambda: not h.stream().watched)
        assert len(h.relays) == 0
        async with WebRtcClient() as client:
            await h.look(client)
            h.stream().end()
            await client.said_goodbye.wait()


async def test_sessions_are_bounded() -> None:
    async with house(max_sessions=2) as h:
        publish(h.stream(), pictures(10))
        for _ in range(2):
            await h.whep.offer("hall", Quality.MAIN, WebRtcClient().offer(audio=(OPUS, PCMA)))
        with pytest.raises(TooManySessionsError):
            await h.whep.offer("hall", Quality.MAIN, WebRtcClient().offer())


def test_a_line_is_judged_by_loss_and_by_its_own_estimate() -> None:
    def fresh() -> tuple[FakeClock, Adaptation]:
        clock = FakeClock()
        line = Adaptation(clock)
        line.stream_bps = 4_000_000
        return clock, line

    clock, line = fresh()
    for fraction in (0.2, 0.2, 0.0, 0.2, 0.2):
        line.loss(fraction)
    assert line.look() is Quality.MAIN, "three in a row"
    line.loss(0.2)
    assert line.look() is Quality.SUB
    clock.advance(19)
    assert line.look() is Quality.SUB
    clock.advance(2)
    assert line.look() is Quality.MAIN
    for _ in range(3):
        line.loss(0.3)
    clock.advance(30)
    assert line.look() is Quality.SUB, "the second wait is twice as long"
    clock.advance(11)
    assert line.look() is Quality.MAIN

    clock, line = fresh()
    line.bitrate(300_000)
    clock.advance(3)
    line.bitrate(300_000)
    assert line.look() is Quality.MAIN, "estimates begin low"
    clock.advance(4)
    line.bitrate(1_000_000)
    clock.advance(2)
    line.bitrate(3_500_000)
    clock.advance(2)
    line.bitrate(1_000_000)
    assert line.look() is Quality.MAIN
    clock.advance(3.1)
    line.bitrate(1_000_000)
    assert line.look() is Quality.SUB


async def test_floods_of_reports_are_not_read() -> None:
    units = pictures(60)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units)
        session = await h.look(client)
        await arrived(client, 10)
        ssrc = video(client)[0].header.ssrc
        first = video(client)[0].header.sequence
        sent = session.peer.counters.packets_out
        flood = build_receiver_report(1) + nack(1, ssrc, [first + n for n in range(17)])
        wild = build_receiver_report(1) + bytes(RtcpPsfbPacket(RTCP_PSFB_APP, 1, 0, pack_remb_fci(5_000, [ssrc])))[:-3]
        for _ in range(300):
            client.send_rtcp(flood)
            client.send_rtcp(wild)
        publish(h.stream(), [replace(units[-1], pts=units[-1].pts + 3600, keyframe=True)])
        await arrived(client, 11)
        assert session.peer.counters.packets_out - sent < 1_100
