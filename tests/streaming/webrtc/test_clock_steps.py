"""The machine's wall clock is set in the middle of a meeting: nobody loses the picture, and nobody is cut off."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiortc.rtp import RTCP_PSFB_PLI, RtcpPacket, RtcpPsfbPacket

from media.clock import SystemClock
from media.packetizer import Packetizer
from media.rtcp import SenderReport, build_receiver_report, parse_compound
from media.stream import LiveStream, Quality, StreamId
from media.unit import NS_PER_S
from streaming.camera_status import CameraStatus
from streaming.pushed_session import PUSHED_URL, PushedSession
from streaming.source import CameraSource
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays
from streaming.webrtc.relay_track import RelayTrack
from streaming.webrtc.whep import WhepSessions
from streaming.webrtc.whip import IngestSettings, Publisher
from tests.support.clocks import FakeClock
from tests.support.encoded import video_units
from tests.support.webrtc_client import H264_BASELINE, WebRtcClient
from tests.support.whep_house import arrived, pictures, publish, video

LIMIT_S = 60
HOUR_S = 3600


class SetClock(SystemClock):
    """The machine's clock, whose wall clock can be set."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self.ahead_s * NS_PER_S


async def test_a_viewer_is_given_keyframes_and_reports_after_the_clock_was_set_back() -> None:
    clock = SetClock()
    stream = LiveStream(StreamId("hall"), clock)
    units = pictures(80)
    async with (
        asyncio.timeout(LIMIT_S),
        WebRtcPort(PortSettings(host="127.0.0.1"), clock) as port,
        Relays(clock) as relays,
        WhepSessions(port, relays, lambda _: stream, clock) as whep,
        WebRtcClient() as client,
    ):
        publish(stream, units[:70])
        session = await whep.offer("hall", Quality.MAIN, client.offer())
        await client.connect(session.answer)
        await arrived(client, 20)
        ask = build_receiver_report(1) + bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, video(client)[0].header.ssrc))
        client.send_rtcp(ask)
        await client.until(lambda: session.viewer.counters.bursts == 2)
        publish(stream, units[70:71])
        await client.until(lambda: bool(client.reports))
        clock.ahead_s = -HOUR_S
        before = len(client.reports)
        publish(stream, units[71:])
        await client.until(lambda: len(client.reports) > before)
        assert any(isinstance(item, SenderReport) for item in parse_compound(client.reports[-1]))
        await client.until(lambda: not session.viewer.behind)
        client.send_rtcp(ask)
        await client.until(lambda: session.viewer.counters.bursts >= 3)


def test_a_streams_rate_is_measured_anew() -> None:
    clock = FakeClock()
    units = pictures(100)
    track = RelayTrack(units[0].track, 0)
    now_ns = clock.utc_ns()
    for number, unit in enumerate(units[:50]):
        track.batch(unit, now_ns + number * NS_PER_S // 25)
    rate = track.bitrate_bps
    assert rate > 0
    for number, unit in enumerate(units[50:]):
        track.batch(unit, now_ns - HOUR_S * NS_PER_S + number * NS_PER_S // 25)
    assert rate / 3 < track.bitrate_bps < rate * 3


def _unheeded(status: CameraStatus) -> None:
    pass


@contextlib.asynccontextmanager
async def publishing(
    clock: SetClock, settings: IngestSettings
) -> AsyncIterator[tuple[WebRtcClient, asyncio.Task[object]]]:
    """A connected publisher and the task that serves it."""
    session = PushedSession(CameraSource("hall", PUSHED_URL), LiveStream(StreamId("hall"), clock), clock, _unheeded)
    async with (
        asyncio.timeout(LIMIT_S),
        WebRtcPort(PortSettings(host="127.0.0.1"), clock) as port,
        WebRtcClient() as client,
    ):
        text = client.offer(direction="sendonly", video=(H264_BASELINE,), audio=())
        publisher = Publisher(text, session, port, Certificates(clock), clock, settings)
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task: asyncio.Task[object] = asyncio.create_task(publisher.run(started))
        try:
            await client.connect(await started)
            yield client, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def asked_for_keyframes(client: WebRtcClient) -> int:
    return sum(
        isinstance(item, RtcpPsfbPacket) and item.fmt == RTCP_PSFB_PLI
        for report in client.reports
        for item in RtcpPacket.parse(report)
    )


async def test_a_publisher_is_not_cut_off_by_a_clock_set_ahead_and_is_asked_for_keyframes_after_one_set_back() -> None:
    clock = SetClock()
    async with publishing(clock, IngestSettings(keyframe_s=0.2)) as (client, task):
        units = video_units(frames=10, fps=25, gop=10, start_s=1.0, bitrate=300_000)
        packetizer = Packetizer(units[0].track, 100, 4711)
        for unit in units:
            for packet in packetizer.packets(unit):
                client.send_rtp(packet)
        await client.until(lambda: asked_for_keyframes(client) > 0)
        clock.ahead_s = HOUR_S
        # It looks after the publisher some thirty times a second: two more requests are many looks.
        seen = asked_for_keyframes(client)
        await client.until(lambda: task.done() or asked_for_keyframes(client) > seen + 1)
        assert not task.done()
        clock.ahead_s = -HOUR_S
        seen = asked_for_keyframes(client)
        await client.until(lambda: task.done() or asked_for_keyframes(client) > seen + 1)
        assert not task.done()
