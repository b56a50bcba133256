"""Viewers that can take neither of a camera's streams: converted pictures, by real workers, and what bounds them."""

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from media.clock import SystemClock
from media.plain_picture import PlainSettings
from media.rtcp import SenderReport, parse_compound
from media.stream import LiveStream, Quality, StreamId
from media.testsource import TestSource, TestSourceSettings, read_clock
from media.unit import NS_PER_S, AccessUnit, Codec
from streaming.webrtc.errors import CodecMismatchError, TranscodesFullError
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays, RelaySettings
from streaming.webrtc.transcode_process import Command, worker_command
from streaming.webrtc.transcodes import Transcodes, TranscodeSettings
from streaming.webrtc.whep import WhepSession, WhepSessions
from tests.support.live_feed import until
from tests.support.webrtc_client import H264_BASELINE, H265, PCMA, VP8, WebRtcClient
from tests.support.webrtc_pictures import pictures_of, video_of

CLOCK = SystemClock()
LIMIT_S = 100
FPS = 25


@dataclass
class House:
    """Streams fed by hand, the sessions that look at them, the transcodes between."""

    whep: WhepSessions
    transcodes: Transcodes
    streams: dict[str, LiveStream]

    def stream(self, camera: str = "hall") -> LiveStream:
        return self.streams.setdefault(camera, LiveStream(StreamId(camera), CLOCK))

    async def look(self, client: WebRtcClient, camera: str = "hall") -> WhepSession:
        session = await self.whep.offer(camera, Quality.MAIN, client.offer(video=(H264_BASELINE,)))
        await client.connect(session.answer)
        return session


@contextlib.asynccontextmanager
async def house(
    *, max_running: int = 2, linger_s: float = 0.3, stall_s: float = 30, command: Command = worker_command
) -> AsyncIterator[House]:
    streams: dict[str, LiveStream] = {}
    settings = TranscodeSettings(max_running, linger_s, stall_s, PlainSettings(gop_s=1))
    async with (
        asyncio.timeout(LIMIT_S),
        WebRtcPort(PortSettings(host="127.0.0.1"), CLOCK) as port,
        Relays(CLOCK, None, RelaySettings(idle_s=0.05, first_keyframe_s=40)) as relays,
        Transcodes(CLOCK, settings, command) as transcodes,
        WhepSessions(
            port,
            relays,
            lambda stream_id: streams.get(stream_id.camera) if stream_id.quality is Quality.MAIN else None,
            CLOCK,
            plainer=transcodes.plain,
        ) as whep,
    ):
        yield House(whep, transcodes, streams)


def clock_pictures(
    seconds: float, *, b_frames: int = 0, codec: Codec = Codec.H265, ago_s: float = 0
) -> list[AccessUnit]:
    """Pictures with the time in them, the first ``ago_s`` before now, with G.711 sound."""
    settings = TestSourceSettings(
        video=codec, width=320, height=180, fps=FPS, bitrate=300_000, gop_s=2.0, b_frames=b_frames
    )
    start_ns = CLOCK.utc_ns() - int(ago_s * NS_PER_S)
    units = TestSource(settings).units(start_ns, origin_utc_ns=start_ns - 100 * NS_PER_S)
    return list(itertools.takewhile(lambda unit: unit.utc_ns < start_ns + seconds * NS_PER_S, units))


def publish(stream: LiveStream, units: Sequence[AccessUnit]) -> None:
    for unit in units:
        stream.publish(unit)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def feed(stream: LiveStream, units: Sequence[AccessUnit]) -> None:
    """Publish in real time."""
    loop = asyncio.get_running_loop()
    begun, first = loop.time(), units[0].utc_ns
    for unit in units:
        await asyncio.sleep(max(0, begun + (unit.utc_ns - first) / NS_PER_S - loop.time()))
        stream.publish(unit)


async def test_an_h265_room_is_seen_by_who_takes_h264_alone_and_the_process_ends_with_the_last() -> None:
    units = await asyncio.to_thread(clock_pictures, 6.0)
    async with house() as h, WebRtcClient() as one, WebRtcClient() as two:
        publish(h.stream(), units[:60])
        feeding = asyncio.create_task(feed(h.stream(), units[60:]))
        session, other = await h.look(one), await h.look(two)
        assert "H264/90000" in session.answer
        assert "H265" not in session.answer
        assert session.adapts is False
        assert session.converted
        (pid,) = h.transcodes.pids
        assert h.transcodes.running == 1
        for client in (one, two):
            await client.until(lambda c=client: sum(item.header.marker for item in video_of(c)) >= 40, 60)  # type: ignore[misc]
        await one.until(lambda: any(item.header.payload_type == 8 for item in one.packets))
        reports = [item for compound in one.reports for item in parse_compound(compound)]
        ssrc = video_of(one)[0].header.ssrc
        report = next(item for item in reports if isinstance(item, SenderReport) and item.ssrc == ssrc)
        shown = pictures_of(video_of(one))
        known = {unit.utc_ns // 1_000_000 for unit in units}
        clocks = [(timestamp, read_clock(picture)) for timestamp, picture in shown]
        assert len(shown) >= 40
        for timestamp, clock_ms in clocks:
            assert clock_ms is not None
            assert min(abs(clock_ms - utc_ms) for utc_ms in known) <= 1
            since = ((timestamp - report.rtp_timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
            told_ms = report.utc_ns / 1e6 + since / 90
            if (timestamp, clock_ms) in clocks[-5:]:
                assert abs(told_ms - clock_ms) < 60, "the sender report ties the pictures to the wall clock"
        times = [clock_ms for _, clock_ms in clocks]
        assert all(b > a for a, b in itertools.pairwise(times))  # type: ignore[operator]
        assert is_running(pid)
        await h.whep.close(session.id)
        assert is_running(pid), "the other one still looks"
        await h.whep.close(other.id)
        await until(lambda: h.transcodes.running == 0 and not is_running(pid), 30)
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def test_b_frames_are_made_plain() -> None:
    units = await asyncio.to_thread(lambda: clock_pictures(4.0, b_frames=2, codec=Codec.H264))
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units[:100])
        await h.look(client)
        publish(h.stream(), units[100:])
        await client.until(lambda: sum(item.header.marker for item in video_of(client)) >= 2, 60)
        clocks = [read_clock(picture) for _, picture in pictures_of(video_of(client))]
        assert None not in clocks
        assert clocks == sorted(clocks)  # type: ignore[type-var]


async def test_the_number_of_transcodes_is_bounded_and_one_that_nobody_looks_at_makes_room() -> None:
    units = await asyncio.to_thread(clock_pictures, 3.0)
    async with house(max_running=1, linger_s=600) as h, WebRtcClient() as client, WebRtcClient() as other:
        for camera in ("hall", "yard"):
            publish(h.stream(camera), units)
        session = await h.look(client)
        with pytest.raises(TranscodesFullError) as refused:
            await h.whep.offer("yard", Quality.MAIN, other.offer(video=(H264_BASELINE,)))
        assert refused.value.params == {"limit": 1}
        as_it_is = await h.whep.offer("yard", Quality.MAIN, other.offer(video=(H265, H264_BASELINE)))
        assert not as_it_is.converted
        assert "H265" in as_it_is.answer, "who takes the camera's own pictures needs none"
        (first,) = h.transcodes.pids
        await h.whep.close(session.id)
        assert h.transcodes.pids == (first,), "it lingers"
        await h.look(other, "yard")
        assert h.transcodes.running == 1
        assert not is_running(first)
        with pytest.raises(CodecMismatchError) as mismatch:
            await h.whep.offer("yard", Quality.MAIN, client.offer(video=(VP8,), audio=(PCMA,)))
        assert mismatch.value.params["codec"] == "H.265"
        (last,) = h.transcodes.pids
    assert not is_running(last)


async def test_a_worker_that_dies_is_replaced_and_pictures_go_on() -> None:
    units = await asyncio.to_thread(clock_pictures, 8.0)
    async with house() as h, WebRtcClient() as client:
        publish(h.stream(), units[:100])
        await h.look(client)
        (pid,) = h.transcodes.pids
        os.kill(pid, 9)
        await until(lambda: bool(h.transcodes.pids) and h.transcodes.pids != (pid,), 60)
        before = len(video_of(client))
        feeding = asyncio.create_task(feed(h.stream(), units[100:]))
        await client.until(lambda: len(video_of(client)) > before + 20, 60)
        clocks = [read_clock(picture) for _, picture in pictures_of(video_of(client))]
        assert None not in clocks
        assert all(b > a for a, b in itertools.pairwise(clocks))  # type: ignore[operator]
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


@pytest.mark.parametrize("program", ["raise SystemExit('no codec')", "import time; time.sleep(600)"])
async def test_workers_that_are_of_no_use_end_their_viewers_and_not_the_service(
    program: str, caplog: pytest.LogCaptureFixture
) -> None:
    units = await asyncio.to_thread(clock_pictures, 3.0)
    async with house(stall_s=0.3, command=lambda settings: (sys.executable, "-c", program)) as h:
        publish(h.stream(), units)
        async with WebRtcClient() as client:
            offer = asyncio.create_task(h.whep.offer("hall", Quality.MAIN, client.offer(video=(H264_BASELINE,))))
            feeding = asyncio.create_task(feed(h.stream(), units))
            with pytest.raises(Exception, match="no pictures come"):
                await offer
            await until(lambda: h.transcodes.running == 0)
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
    died = [record.getMessage() for record in caplog.records if "died" in record.getMessage()]
    assert len(died) == 3
    assert all("no codec" in text or "does not answer" in text for text in died)


async def test_a_source_that_ends_ends_its_transcode() -> None:
    units = await asyncio.to_thread(clock_pictures, 3.0)
    async with house(linger_s=600) as h, WebRtcClient() as client:
        publish(h.stream(), units)
        session = await h.look(client)
        (pid,) = h.transcodes.pids
        h.stream().end()
        await until(lambda: h.transcodes.running == 0 and session.over, 60)
        assert not is_running(pid)
