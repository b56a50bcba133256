"""Who comes in the first moments: sound that is not cached yet, B-frames that have not come yet, sound alone."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import pytest

import media.opus_live
from media.opus_encode import OpusEncoder
from media.opus_live import OpusTranscoders
from media.rtcp import SenderReport, parse_compound
from media.stream import LiveStream, StreamId
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from streaming.webrtc import relay
from streaming.webrtc.errors import PictureUnplayableError
from streaming.webrtc.relay import Relays, RelaySettings
from streaming.webrtc.sdp import parse_offer
from streaming.webrtc.transcodes import Transcodes, TranscodeSettings
from tests.support.webrtc_client import H264, Received, WebRtcClient
from tests.support.whep_house import CLOCK, arrived, house, pictures, publish

TRACK = AudioTrack(Codec.PCMA, 8000, 1)


def sounds(count: int) -> list[AccessUnit]:
    now = CLOCK.utc_ns()
    times = [(800_000 + 320 * n, now + 40_000_000 * n) for n in range(count)]
    return [AccessUnit(TRACK, pts, pts, at, bytes([n]) * 320) for n, (pts, at) in enumerate(times)]


def heard(client: WebRtcClient, payload_type: int = 8) -> list[Received]:
    return [item for item in client.packets if item.header.payload_type == payload_type]


async def test_right_behind_a_keyframe_there_is_sound_too() -> None:
    units, said = pictures(60), sounds(10)
    async with house() as h, WebRtcClient() as client:
        # None of the sound is cached: the newest keyframe came after it.
        publish(h.stream(), [*units[:50], said[0], units[50]])
        await h.look(client)
        await arrived(client, 1)
        publish(h.stream(), said[1:])
        await client.until(lambda: len(heard(client)) == 9)


async def test_sound_that_begins_behind_the_first_picture_is_waited_for() -> None:
    units, said = pictures(60), sounds(10)
    async with house() as h, WebRtcClient() as client:
        stream = h.stream()
        looking = asyncio.create_task(h.look(client))
        while not stream.watched:  # noqa: ASYNC110
            await asyncio.sleep(0)
        publish(stream, units[50:51])
        for _ in range(20):
            await asyncio.sleep(0)
        publish(stream, said[:1])
        await looking
        publish(stream, said[1:])
        await client.until(lambda: len(heard(client)) == 9)


async def test_b_frames_that_come_after_the_viewer_end_the_session() -> None:
    settings = TestSourceSettings(video=Codec.H264, audio=None, width=320, height=180, gop_s=2.0, b_frames=2)
    start_ns = CLOCK.utc_ns()
    source = TestSource(settings).units(start_ns, origin_utc_ns=start_ns - 100 * NS_PER_S)
    units = list(takewhile(lambda unit: unit.utc_ns < start_ns + NS_PER_S, source))
    async with house() as h, WebRtcClient() as client, WebRtcClient() as again:
        publish(h.stream(), units[:1])
        await h.look(client, video=(H264,))
        await arrived(client, 1)
        publish(h.stream(), units[1:])
        await client.said_goodbye.wait()
        with pytest.raises(PictureUnplayableError):
            await h.look(again, video=(H264,))


async def test_sound_alone_is_reported_on() -> None:
    said = sounds(5)
    async with house() as h, WebRtcClient() as client:
        h.stream().announced = TRACK
        await h.look(client, video=())
        for sound in said:
            publish(h.stream(), [sound])
        await client.until(lambda: len(heard(client)) == 5)
        await client.until(lambda: bool(client.reports))
        report = next(item for item in parse_compound(client.reports[0]) if isinstance(item, SenderReport))
        assert report.ssrc == heard(client)[0].header.ssrc


async def test_sound_comes_back_after_its_transcoder_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_OPUS_AGAIN_S", 0.05)
    encode: Callable[[OpusEncoder, list[AccessUnit]], list[AccessUnit]] = media.opus_live._encode  # noqa: SLF001
    failures = 0

    def fails_once(encoder: OpusEncoder, units: list[AccessUnit]) -> list[AccessUnit]:
        nonlocal failures
        if not failures:
            failures += 1
            raise RuntimeError("broken")
        return encode(encoder, units)

    monkeypatch.setattr(media.opus_live, "_encode", fails_once)
    source = TestSource(TestSourceSettings(video=None, audio=Codec.AAC))
    now = CLOCK.utc_ns()
    said = takewhile(lambda unit: unit.utc_ns < now + 20 * NS_PER_S, source.units(now))
    with ThreadPoolExecutor(1) as executor:
        async with house(transcoders=OpusTranscoders(executor)) as h, WebRtcClient() as client:
            publish(h.stream(), [*pictures(10), next(said)])
            await h.look(client)
            for sound in said:
                publish(h.stream(), [sound])
                await asyncio.sleep(0.01)
                if len(heard(client, 100)) > 10:
                    break
            assert failures == 1
            assert len(heard(client, 100)) > 10


async def test_who_comes_as_a_relay_closes_gets_one_that_is_open() -> None:
    units = pictures(60)
    async with house() as h, Relays(CLOCK, None, RelaySettings(idle_s=0.0)) as relays:
        stream = h.stream()
        publish(stream, units)
        for turns in range(12):
            async with relays.of(stream) as opened:
                await opened.ready(5)
            for _ in range(turns):
                await asyncio.sleep(0)
            async with relays.of(stream) as opened:
                await opened.ready(5)
                for _ in range(12):
                    await asyncio.sleep(0)
                assert not opened.ended, f"{turns} turns of the loop after the last viewer"


async def test_who_comes_as_a_transcode_ends_gets_one_that_goes_on() -> None:
    offer = parse_offer(WebRtcClient().offer())
    settings = TranscodeSettings(linger_s=0.0)
    async with asyncio.timeout(60), Transcodes(CLOCK, settings, lambda _: ("sleep", "60")) as transcodes:
        stream = LiveStream(StreamId("hall"), CLOCK)
        for turns in range(6):
            async with transcodes.plain(stream, offer):
                pass
            for _ in range(turns):
                await asyncio.sleep(0)
            async with transcodes.plain(stream, offer) as target:
                for _ in range(12):
                    await asyncio.sleep(0)
                with target.read_units("test") as reader, contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        assert await reader.take(), f"over, {turns} turns of the loop after the last viewer"
