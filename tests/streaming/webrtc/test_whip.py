"""WHIP ingest: packets become a stream like a camera's; loss is mended, keyframes asked for, one publisher a room."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRtpfbPacket

from media.clock import SystemClock
from media.packetizer import Packetizer
from media.rtp import HEADER
from media.segments import Part
from media.stream import LiveStream, StreamId
from media.unit import VIDEO_TRACK_ID, AccessUnit, Codec, Gap
from streaming.cameras import CameraSource, CameraState, CameraSupervisor
from streaming.errors import PublisherThereError
from streaming.pushed_session import PUSHED_URL, PushedSession
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.errors import CodecMismatchError, PictureUnsendableError
from streaming.webrtc.peer import CloseReason
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.whip import IngestSettings, Publisher
from tests.streaming.watching import GUARD
from tests.support.encoded import video_units
from tests.support.live_feed import until
from tests.support.webrtc_client import H264_BASELINE, VP8, WebRtcClient

CLOCK = SystemClock()
LIMIT_S = 40
FPS = 25


@contextlib.asynccontextmanager
async def room() -> AsyncIterator[tuple[CameraSupervisor, PushedSession, WebRtcPort]]:
    """A room that sends by itself, and the port it is sent to."""
    async with (
        CameraSupervisor(CLOCK, GUARD) as cameras,
        WebRtcPort(PortSettings(host="127.0.0.1"), CLOCK) as port,
        asyncio.timeout(LIMIT_S),
    ):
        await cameras.apply([CameraSource("hall", PUSHED_URL)])
        session = cameras.pushed(StreamId("hall"))
        assert session is not None
        yield cameras, session, port


@contextlib.asynccontextmanager
async def publishing(
    session: PushedSession, port: WebRtcPort, settings: IngestSettings | None = None, **offered: object
) -> AsyncIterator[tuple[WebRtcClient, asyncio.Task[CloseReason]]]:
    """A connected publisher and the task that serves it."""
    async with WebRtcClient() as client:
        text = client.offer(direction="sendonly", video=(H264_BASELINE,), audio=(), **offered)
        publisher = Publisher(text, session, port, Certificates(CLOCK), CLOCK, settings)
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(publisher.run(started))
        try:
            await client.connect(await started)
            yield client, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def collecting(stream: LiveStream) -> Iterator[Callable[[], list[AccessUnit | Gap]]]:
    seen: list[AccessUnit | Gap] = []

    async def read() -> None:
        with stream.read_units("test") as reader:
            while items := await reader.take():
                seen.extend(items)

    task = asyncio.create_task(read())
    try:
        yield lambda: seen
    finally:
        task.cancel()


async def send(
    client: WebRtcClient, frames: int, *, lose: Callable[[int], bool] = lambda number: False, ssrc: int = 4711
) -> int:
    """Send pictures in real time, leaving out packets that ``lose`` names and repeating those asked for; how many were
    asked for."""
    history: dict[int, bytes] = {}
    answered = asked = number = 0
    for unit in video_units(frames=frames, fps=FPS, gop=FPS, start_s=1.0, bitrate=600_000):
        if number == 0:
            packetizer = Packetizer(unit.track, 100, ssrc, sequence=65_500)
        for packet in packetizer.packets(unit):
            history[int.from_bytes(packet[2:4], "big")] = packet
            if not lose(number):
                client.send_rtp(packet)
            number += 1
        deadline = asyncio.get_running_loop().time() + 1 / FPS
        while (now := asyncio.get_running_loop().time()) < deadline:
            for report in client.reports[answered:]:
                for item in RtcpPacket.parse(report):
                    if isinstance(item, RtcpRtpfbPacket):
                        asked += len(item.lost)
                        for sequence in item.lost:
                            client.send_rtp(history[sequence])
            answered = len(client.reports)
            await asyncio.sleep(min(0.005, deadline - now))
    return asked


def pictures(seen: list[AccessUnit | Gap]) -> list[AccessUnit]:
    return [item for item in seen if isinstance(item, AccessUnit) and item.track.id == VIDEO_TRACK_ID]


async def test_a_lossy_publisher_loses_nothing_that_can_be_sent_again() -> None:
    frames = 3 * FPS
    expected = [unit.data for unit in video_units(frames=frames, fps=FPS, gop=FPS, start_s=1.0, bitrate=600_000)]
    chance = random.Random(5)
    async with room() as (cameras, session, port):
        with collecting(session.stream) as seen:
            async with publishing(session, port) as (client, _):
                asked = await send(client, frames, lose=lambda number: number > 5 and chance.random() < 0.08)
                await until(lambda: len(pictures(seen())) >= frames - 1)
                status = cameras.status("hall")
                assert status is not None
                assert status.state is CameraState.ONLINE
                assert [track.codec for track in status.tracks] == [Codec.H264]
                kinds = [item for report in client.reports for item in RtcpPacket.parse(report)]
            await until(lambda: len(pictures(seen())) == frames)
        assert asked > 3
        assert [item.data for item in pictures(seen())] == expected
        assert not [item for item in seen() if isinstance(item, Gap)]
        # It is told how much it may send, too.
        assert any(isinstance(item, RtcpPsfbPacket) and item.fmt == 15 for item in kinds)
        status = cameras.status("hall")
        assert status is not None
        assert status.state is CameraState.OFFLINE


async def test_keyframes_are_asked_for() -> None:
    async with room() as (_, session, port):
        async with publishing(session, port, IngestSettings(keyframe_s=0.5)) as (client, _task):
            await send(client, FPS)

            def asked() -> bool:
                items = [item for report in client.reports for item in RtcpPacket.parse(report)]
                return any(
                    isinstance(item, RtcpPsfbPacket) and (item.fmt, item.media_ssrc) == (1, 4711) for item in items
                )

            # Its next keyframe would come after a second only.
            await until(asked)


async def test_who_comes_back_goes_on_with_a_gap_on_record() -> None:
    async with room() as (_, session, port):
        with collecting(session.stream) as seen:
            async with publishing(session, port) as (client, _):
                await send(client, FPS)
            async with publishing(session, port) as (client, _):
                await send(client, FPS, ssrc=99)
            await until(lambda: len(pictures(seen())) == 2 * FPS)
        gaps = [item for item in seen() if isinstance(item, Gap)]
        assert len(gaps) == 1
        first, second = pictures(seen())[FPS - 1], pictures(seen())[FPS]
        assert (gaps[0].start_utc_ns, gaps[0].end_utc_ns) == (first.utc_ns, second.utc_ns)
        assert second.epoch == first.epoch + 1
        assert second.pts > first.pts


async def test_whoever_hangs_up_leaves_no_picture_behind() -> None:
    async with room() as (_, session, port):
        with session.stream.read_segments("test") as reader:
            async with publishing(session, port) as (client, _task):
                await send(client, FPS)
            kept = 0
            while kept < FPS:
                events = [event for event in await reader.take() if isinstance(event, Part)]
                kept += sum(event.chunks[VIDEO_TRACK_ID].samples for event in events)
        assert kept == FPS


async def test_a_second_publisher_is_refused_and_the_first_goes_on() -> None:
    async with room() as (_, session, port):
        with collecting(session.stream) as seen:
            async with publishing(session, port) as (client, task):
                with pytest.raises(PublisherThereError):
                    async with publishing(session, port):
                        pass
                await send(client, FPS)
                assert not task.done()
            await until(lambda: len(pictures(seen())) == FPS)


async def test_silence_ends_a_session() -> None:
    async with room() as (_, session, port):
        async with publishing(session, port, IngestSettings(silence_s=0.5)) as (client, task):
            await send(client, 5)
            assert await task is CloseReason.CONSENT
        assert not session.publishing


async def test_another_codec_than_agreed_brings_no_picture_and_ends_nothing_else() -> None:
    """By a payload type of its own it is nothing that was sent; by the one that was agreed on, pictures go on with the
    next that is one."""
    async with room() as (_, session, port):
        with collecting(session.stream) as seen:
            async with publishing(session, port, IngestSettings(silence_s=0.5)) as (client, task):
                for number in range(25):
                    client.send_rtp(HEADER.pack(0x80, 0x80 | 101, number, number * 3600, 7) + bytes(range(200)))
                    await asyncio.sleep(0.02)
                assert await task is CloseReason.CONSENT
            assert not session.publishing
            assert seen() == []
            units = video_units(frames=3 * FPS, fps=FPS, gop=FPS, start_s=1.0, bitrate=600_000)
            right = [unit.data for unit in (*units[:FPS], *units[2 * FPS :])]
            chance = random.Random(3)
            async with publishing(session, port) as (client, task):
                packetizer = Packetizer(units[0].track, 100, 4711, sequence=65_500)
                for number, unit in enumerate(units):
                    for packet in packetizer.packets(unit):
                        other = packet[:12] + chance.randbytes(len(packet) - 12)
                        client.send_rtp(other if FPS <= number < 2 * FPS else packet)
                    await asyncio.sleep(1 / FPS)
                assert not task.done()
            came = [item.data for item in pictures(seen())]
        # What is no picture may lie before the next one, in its unit.
        assert [number for number, data in enumerate(right) if not any(data in item for item in came)] == []
        assert {item.track.codec for item in pictures(seen())} == {Codec.H264}


async def test_an_offer_without_our_codecs() -> None:
    async with room() as (_, session, port), WebRtcClient() as client:
        text = client.offer(direction="sendonly", video=(VP8,), audio=())
        with pytest.raises(PictureUnsendableError) as unsendable:
            Publisher(text, session, port, Certificates(CLOCK), CLOCK)
        assert unsendable.value.params["offered"] == "VP8"
        text = client.offer(direction="sendonly", video=(), audio=(("G722/8000", ""),))
        with pytest.raises(CodecMismatchError) as caught:
            Publisher(text, session, port, Certificates(CLOCK), CLOCK)
        assert caught.value.params["offered"] == "G722"
