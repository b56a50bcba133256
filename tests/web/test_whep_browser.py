"""Chromium looks at a camera over WHEP: what is on the screen and in the loudspeaker is what the room has just now."""

import asyncio

import pytest

from bench.live_source import live_source, whep_site
from media.testsource import TestSourceSettings
from tests.support.browser import chromium
from tests.support.whep_page import whep_page

pytestmark = pytest.mark.browser

# Generous: the machine may be busy with anything; bench/glass.py measures.
LATE_MS = 5_000


async def test_picture_and_sound_are_of_now_and_belong_together() -> None:
    # A GOP of ten seconds: what is shown soon cannot have waited for a keyframe.
    settings = TestSourceSettings(width=640, height=360, gop_s=10.0)
    async with (
        asyncio.timeout(100),
        live_source(settings) as stream,
        whep_site(stream) as (url, whep),
        chromium() as browser,
        whep_page(browser, url) as page,
    ):
        await asyncio.sleep(1.0)
        assert await page.play("/whep") == 201
        await page.first_picture_ms()
        clocks: list[int] = []
        for _ in range(8):
            clock, shown = await page.picture()
            if clock is not None:
                assert -200 < shown - clock < LATE_MS
                clocks.append(clock)
        assert len(clocks) >= 4, "the clock in the picture can be read"
        assert clocks == sorted(clocks)
        sounds = await page.sound_delays(4.0)
        assert sounds, "a beep each second is heard"
        stats = await page.stats()
        assert stats["video"]["framesDecoded"] > 10
        assert stats["audio"]["packetsReceived"] > 10
        assert stats["video"]["keyFramesDecoded"] >= 1
        session = whep.sessions[0]
        assert session.peer.path == "udp"
        # The browser tells what its line carries: nobody has to guess.
        assert "goog-remb" in page.answer
        assert "transport-cc" not in page.answer


async def test_without_udp_the_picture_comes_over_tcp() -> None:
    settings = TestSourceSettings(width=640, height=360, audio=None)
    async with (
        asyncio.timeout(100),
        live_source(settings) as stream,
        whep_site(stream, udp=False) as (url, whep),
        chromium() as browser,
        whep_page(browser, url) as page,
    ):
        await asyncio.sleep(1.0)
        assert await page.play("/whep") == 201
        await page.first_picture_ms()
        clock, shown = await page.picture()
        assert clock is None or -200 < shown - clock < LATE_MS
        assert whep.sessions[0].peer.path == "tcp"
