"""The WHIP and WHEP client of the RFC's author (npm: whip-whep) in Chromium, on a page of another site, with tokens."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Page

from tests.support.browser import PATIENCE_MS, chromium
from tests.support.content import examine
from tests.support.fake_camera import Behaviour, fake_camera
from tests.support.fake_devices import FPS, LOOP_S, telling_devices
from tests.support.servers import cannot_run
from tests.web.conftest import Service, fill, run, settings
from tests.web.live_county import running_meeting
from tests.web.test_flow import add_camera, state_of
from tests.web.test_webrtc_peers import recorded, token_of

pytestmark = pytest.mark.browser

LIMIT_S = 110
CLIENT = Path(__file__).parents[2] / "web/ui/node_modules/whip-whep"
PAGE = """<video autoplay muted playsinline></video>
<script type="module">
  import { WHEPClient } from "./client/whep.js";
  import { WHIPClient } from "./client/whip.js";
  window.begin = { WHEPClient, WHIPClient };
</script>"""
SHOWN = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
VIEW = """
async ([url, token]) => {
  const pc = window.pc = new RTCPeerConnection();
  const media = new MediaStream();
  document.querySelector("video").srcObject = media;
  pc.ontrack = event => media.addTrack(event.track);
  pc.addTransceiver("audio", {direction: "recvonly"});
  pc.addTransceiver("video", {direction: "recvonly"});
  window.client = new window.begin.WHEPClient();
  await window.client.view(pc, url, token);
}
"""
PUBLISH = """
async ([url, token]) => {
  const pc = window.pc = new RTCPeerConnection();
  const media = await navigator.mediaDevices.getUserMedia({
    audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false},
    video: {width: 640, height: 360}});
  for (const track of media.getTracks()) {
    const way = pc.addTransceiver(track, {direction: "sendonly"});
    const codecs = RTCRtpSender.getCapabilities(track.kind).codecs;
    way.setCodecPreferences(codecs.filter(codec => /H264|opus/i.test(codec.mimeType)));
  }
  window.client = new window.begin.WHIPClient();
  await window.client.publish(pc, url, token);
}
"""


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[Service]:
    chosen = settings(tmp_path, reconcile_s=0.2, part_ms=200, segment_s=1, object_s=4)
    async with run(chosen) as service, asyncio.timeout(LIMIT_S):
        await fill(service.services)
        yield service


async def _page(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


@contextlib.asynccontextmanager
async def another_site(*devices: str) -> AsyncIterator[tuple[Page, list[tuple[str, int]]]]:
    """A page of another origin that has the client; and what it asked for: methods and statuses."""
    if not CLIENT.exists():
        cannot_run("needs the desk pages' packages: make lint-ui")
    asked: list[tuple[str, int]] = []
    site = web.Application()
    site.add_routes([web.get("/", _page), web.static("/client", CLIENT)])
    async with TestServer(site) as server, chromium(*devices) as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("response", lambda answer: asked.append((answer.request.method, answer.status)))
        await page.goto(str(server.make_url("/")))
        await page.wait_for_function("() => window.begin")
        asked.clear()
        yield page, asked


async def stop(page: Page, asked: list[tuple[str, int]]) -> None:
    await page.evaluate("() => window.client.stop()")
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while "DELETE" not in [method for method, _ in asked]:
            await page.wait_for_timeout(50)
    # It closes its peer connection first: our side has heard that goodbye, mostly, and the session is gone already.
    assert [item for item in asked if item[1] >= 400 and item != ("DELETE", 404)] == []


async def test_it_looks_at_a_camera(county: Service) -> None:
    async with fake_camera(Behaviour()) as camera, another_site() as (page, asked):
        system, official = await county.logged_in("system"), await county.logged_in("east")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        issued = await official.json("POST", f"/cameras/{added['id']}/view-token", 201)
        await page.evaluate(VIEW, [issued["whep_url"], issued["token"]])
        # Twice round the camera's loop.
        await page.wait_for_function(f"() => {SHOWN} > 100")
        assert await page.evaluate("() => document.querySelector('video').videoWidth") == 320
        await stop(page, asked)
        assert ("POST", 201) in asked


async def test_it_sends_a_meeting(county: Service, tmp_path: Path) -> None:
    devices = await asyncio.to_thread(telling_devices, tmp_path)
    async with another_site(*devices) as (page, asked):
        system, official = await county.logged_in("system"), await county.logged_in("east")
        hall = await add_camera(system, "whip:")
        meeting = await running_meeting(official)
        address = str(official.client.make_url(f"/live/{hall['id']}/whip"))
        await page.evaluate(PUBLISH, [address, token_of(official)])
        await recorded(official, meeting, 6)
        await stop(page, asked)
        assert ("POST", 201) in asked
        ended: Any = await official.json("POST", f"/meetings/{meeting}/end")
        data = await (await official.client.get(ended["playback"]["download_url"])).read()
    content = await asyncio.to_thread(examine, io.BytesIO(data))
    assert len(content.clocks) > 4 * FPS
    assert content.unreadable < len(content.clocks) / 20
    # What the camera shows goes on, over its loop too: a busy browser leaves pictures out or repeats one.
    steps = [
        ((b - a) % (1000 * LOOP_S), round(1000 * (then - now))) for (now, a), (then, b) in pairwise(content.clocks)
    ]
    assert all(step < 500 * LOOP_S for step, _ in steps), steps
    assert sum(abs(step - took) <= 45 for step, took in steps) > 0.8 * len(steps), steps
    # One of each a second. Chromium begins with the two files at moments of its own, so that none is beside the other.
    for seen in (content.flashes, content.beeps):
        assert len(seen) >= 3
        assert sum(abs(later - earlier - 1) < 0.15 for earlier, later in pairwise(seen)) >= 2, seen
