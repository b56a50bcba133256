"""A live stream whose pictures carry the time at which they were taken, for benches of delay."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator

from aiohttp import web

from media.clock import SystemClock
from media.stream import LiveStream, Quality, StreamId
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays
from streaming.webrtc.whep import WhepSessions, WhepSettings
from tests.support.loopback import on_loopback

CAMERA = "live"


@contextlib.asynccontextmanager
async def live_source(settings: TestSourceSettings) -> AsyncIterator[LiveStream]:
    """A stream fed in real time from a thread that encodes."""
    clock, loop, stop = SystemClock(), asyncio.get_running_loop(), threading.Event()
    stream = LiveStream(StreamId(CAMERA), clock)
    source = await asyncio.to_thread(TestSource, settings)
    begun = asyncio.Event()

    def feed() -> None:
        origin_ns = clock.utc_ns() - 3600 * NS_PER_S
        for unit in source.units(clock.utc_ns(), origin_utc_ns=origin_ns, now=clock.utc_ns):
            wait_ns = unit.utc_ns - clock.utc_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / NS_PER_S)
            if stop.is_set():
                return
            loop.call_soon_threadsafe(stream.publish, unit)
            loop.call_soon_threadsafe(begun.set)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        await begun.wait()
        yield stream
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, 5)


@contextlib.asynccontextmanager
async def whep_site(stream: LiveStream, *, udp: bool = True) -> AsyncIterator[tuple[str, WhepSessions]]:
    """``POST /whep`` on loopback for one stream, without log-in; its URL. Without ``udp`` no UDP candidate is told."""
    clock = SystemClock()
    limits = WhepSettings(offers_per_s=1_000, offers_burst=1_000)
    async with (
        WebRtcPort(PortSettings(), clock) as port,
        Relays(clock) as relays,
        WhepSessions(
            port, relays, lambda wanted: stream if wanted.quality is Quality.MAIN else None, clock, limits
        ) as whep,
    ):

        async def offer(request: web.Request) -> web.Response:
            session = await whep.offer(CAMERA, Quality.MAIN, await request.text())
            lines = session.answer.splitlines(keepends=True)
            told = "".join(line for line in lines if udp or not (line.startswith("a=candidate") and " udp " in line))
            headers = {"Location": f"/whep/{session.id}"}
            return web.Response(status=201, text=told, content_type="application/sdp", headers=headers)

        app = web.Application()
        app.add_routes([web.post("/whep", offer)])
        async with on_loopback(app) as address:
            yield address, whep
