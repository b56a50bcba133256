"""Viewers behind bad lines, in network namespaces: packets lost and late, UDP blocked, addresses that change."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from media.clock import SystemClock
from media.rtcp import build_receiver_report
from media.stream import LiveStream, Quality, StreamId
from media.testsource import TestSource, TestSourceSettings, read_clock
from media.unit import NS_PER_S, AccessUnit
from streaming.webrtc.feedback import nack
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays
from streaming.webrtc.whep import WhepSession, WhepSessions
from tests.support.bad_line import BadLine
from tests.support.webrtc_client import WebRtcClient
from tests.support.webrtc_pictures import missing, numbered, pictures_of, video_of

pytestmark = pytest.mark.interfaces

CLOCK = SystemClock()
LIMIT_S = 50
_ASK_S = 0.1
_GIVE_UP_S = 30
_SPS = 7


@dataclass
class Room:
    """A room that sends pictures with the time in them, in real time, and the service outside the line."""

    whep: WhepSessions
    units: list[AccessUnit]
    loop: asyncio.AbstractEventLoop

    async def look(self, client: WebRtcClient) -> WhepSession:
        """A session for a client on another loop."""
        asked = asyncio.run_coroutine_threadsafe(self.whep.offer("hall", Quality.MAIN, client.offer()), self.loop)
        return await asyncio.wrap_future(asked)

    def nearly_over(self, client: WebRtcClient) -> bool:
        """Whether a picture has come that is a second from the room's last, by its RTP time. What comes after it shows
        whether one before is missing."""
        stamps = [item.header.timestamp for item in video_of(client) if item.header.marker]
        goal = (self.units[-1].utc_ns - NS_PER_S) * 90_000 // NS_PER_S
        return any((stamp - goal) & 0xFFFFFFFF < 0x80000000 for stamp in stamps)


@contextlib.asynccontextmanager
async def room(line: BadLine, seconds: float) -> AsyncIterator[Room]:
    settings = TestSourceSettings(audio=None, width=320, height=180, fps=25, bitrate=1_000_000, gop_s=2, noise=60)
    source = TestSource(settings).units(0)
    made = await asyncio.to_thread(lambda: list(itertools.islice(source, round(seconds * 25))))
    now_ns = CLOCK.utc_ns()
    units = [replace(unit, utc_ns=unit.utc_ns + now_ns) for unit in made]
    stream = LiveStream(StreamId("hall"), CLOCK)
    loop = asyncio.get_running_loop()

    async def feed() -> None:
        begun = loop.time()
        for unit in units:
            await asyncio.sleep(max(0, begun + (unit.utc_ns - units[0].utc_ns) / NS_PER_S - loop.time()))
            stream.publish(unit)

    async with (
        asyncio.timeout(LIMIT_S),
        WebRtcPort(PortSettings(host=line.outside), CLOCK) as port,
        Relays(CLOCK) as relays,
        WhepSessions(
            port, relays, lambda stream_id: stream if stream_id.quality is Quality.MAIN else None, CLOCK
        ) as whep,
    ):
        feeding = asyncio.create_task(feed())
        try:
            yield Room(whep, units, loop)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


def gone(client: WebRtcClient) -> list[int]:
    """The numbers of packets to ask for: those between others, and those before, until a keyframe's first is there."""
    packets = video_of(client)
    wanted = missing(packets)
    if packets:
        first = next(iter(numbered(packets).values()))
        if first.payload[0] & 31 != _SPS:
            wanted += [(first.header.sequence - back) & 0xFFFF for back in (1, 2, 3)]
    return wanted


async def asking(client: WebRtcClient, done: Callable[[], bool]) -> None:
    """Ask for what is missing, as browsers do, until nothing is and ``done`` is so. From the first packet on: what is
    far behind the newest is taken for a replay (RFC 3711, 3.3.2). TimeoutError."""
    async with asyncio.timeout(_GIVE_UP_S):
        while (wanted := gone(client)) or not done():
            if wanted:
                ssrc = video_of(client)[0].header.ssrc
                client.send_rtcp(build_receiver_report(1) + nack(1, ssrc, sorted(wanted)[:200]))
            await asyncio.sleep(_ASK_S)


def _host(session: WhepSession) -> str:
    address = session.peer.remote_address
    return address[0] if address is not None else ""


def clocks(client: WebRtcClient) -> list[int]:
    """What the pictures' clocks show, milliseconds; each must be whole and readable."""
    shown = [read_clock(picture) for _, picture in pictures_of(video_of(client))]
    assert None not in shown
    return [clock_ms for clock_ms in shown if clock_ms is not None]


def assert_nothing_is_left_out(client: WebRtcClient) -> None:
    shown = clocks(client)
    assert len(shown) > 50
    assert [later - earlier for earlier, later in itertools.pairwise(shown)] == [40] * (len(shown) - 1)


async def test_one_in_twenty_lost_and_a_tenth_of_a_second_late_costs_no_picture() -> None:
    with BadLine(loss=0.05, delay_s=0.1) as line:
        async with room(line, 5.0) as r:

            async def watch() -> WhepSession:
                async with WebRtcClient() as client:
                    session = await r.look(client)
                    await client.connect(session.answer)
                    await asking(client, lambda: r.nearly_over(client))
                    assert_nothing_is_left_out(client)
                    return session

            session = await line.run_inside(watch)
            assert line.lost > 10
            assert session.viewer.counters.again > 5


async def test_where_udp_is_blocked_tcp_carries_the_pictures() -> None:
    with BadLine(delay_s=0.05, udp=False) as line:
        async with room(line, 5.0) as r:

            async def watch() -> str:
                async with WebRtcClient() as client:
                    session = await r.look(client)
                    while line.blocked <= 5:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.5):
                                await client.connect(session.answer)
                    await client.connect(session.answer, over="tcp")
                    line.loss = 0.02
                    await client.until(lambda: r.nearly_over(client), 40)
                    assert missing(video_of(client)) == []
                    assert_nothing_is_left_out(client)
                    return session.peer.path

            assert await line.run_inside(watch) == "tcp"
            assert line.carried > 100


async def test_an_address_that_changes_in_the_middle_is_followed() -> None:
    with BadLine(loss=0.01, delay_s=0.03) as line:
        async with room(line, 5.0) as r:

            async def watch() -> list[str]:
                async with WebRtcClient() as client:
                    session = await r.look(client)
                    await client.connect(session.answer, local=line.inside)
                    await asking(client, lambda: len(video_of(client)) > 50)
                    before = _host(session)
                    await client.reach("udp", local=line.inside_other)
                    line.take_address(line.inside)
                    await asking(client, lambda: r.nearly_over(client))
                    assert_nothing_is_left_out(client)
                    return [before, _host(session)]

            assert await line.run_inside(watch) == [line.inside, line.inside_other]
