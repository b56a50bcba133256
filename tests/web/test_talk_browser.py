"""Talk from one Chromium heard in another, at the camera's loudspeaker, and in the recording: the same beeps in all."""

import asyncio
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import Browser, Page, expect

from media.sound import decode_alaw
from tests.support.browser import FAKE_DEVICES, PATIENCE_MS, chromium, desk, log_in, require_browser, require_desk
from tests.support.fake_camera import Behaviour, fake_camera
from tests.web.conftest import PASSWORD, fill, run, settings
from tests.web.live_county import running_meeting
from tests.web.test_flow import add_camera, state_of

pytestmark = pytest.mark.browser

LIMIT_S = 110
_LOG_IN = """
async ([username, password]) => {
  const answer = await fetch("/api/v1/session", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({username, password})});
  window.csrf = (await answer.json()).csrf_token;
  return answer.status;
}
"""
_CONNECT = """
async ([url, speaks]) => {
  const pc = window.pc = new RTCPeerConnection();
  if (speaks) {
    const sound = await navigator.mediaDevices.getUserMedia({audio: {
      echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
    pc.addTransceiver(sound.getAudioTracks()[0], {direction: "sendonly"});
  } else {
    const player = window.player = new Audio();
    pc.ontrack = event => { player.srcObject = new MediaStream([event.track]); player.play(); };
    pc.addTransceiver("audio", {direction: "recvonly"});
  }
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(url, {method: "POST", body: pc.localDescription.sdp,
    headers: {"Content-Type": "application/sdp", "X-CSRF-Token": window.csrf}});
  if (answer.status === 201) await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
  return answer.status;
}
"""
# Loudness ten times a second, from the playing receiver's own measure (0 to 1).
_LEVELS = """
async count => {
  const levels = [];
  while (levels.length < count) {
    await new Promise(done => setTimeout(done, 50));
    for (const report of (await window.pc.getStats()).values())
      if (report.type === "inbound-rtp") levels.push(report.audioLevel ?? 0);
  }
  return levels;
}
"""


# The meeting's page plays the recording; its second sound is listened to until something is said.
_REPLAY = """
async () => {
  const until = performance.now() + 30_000;
  const voice = () => document.querySelectorAll("audio")[1];
  while (!(voice()?.currentTime > 0) && performance.now() < until) await new Promise(done => setTimeout(done, 50));
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaElementSource(voice()).connect(analyser);
  analyser.connect(context.destination);
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  while (loudest < 0.05 && performance.now() < until) {
    analyser.getFloatTimeDomainData(samples);
    for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
    await new Promise(done => setTimeout(done, 20));
  }
  return {loudest, apart: voice().currentTime - document.querySelector("video").currentTime};
}
"""


_VOLUME = "() => document.querySelector('video').volume"


async def person(browser: Browser, origin: str, name: str) -> Page:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{origin}/api/v1/session")
    assert await page.evaluate(_LOG_IN, [name, PASSWORD]) in (200, 201)
    return page


def beeps(wave: NDArray[Any], rate: int) -> int:
    """How many times sound begins after silence."""
    window = rate // 50
    levels = np.abs(wave[: len(wave) // window * window]).reshape(-1, window).max(axis=1)
    loud = levels > max(0.02, levels.max() / 4)
    return int(np.count_nonzero(~loud[:-1] & loud[1:]))


async def test_one_browser_speaks_and_everybody_hears(tmp_path: Path) -> None:
    require_browser()
    require_desk()
    loudspeaker = ("m=audio 0 RTP/AVP 8", "a=rtpmap:8 PCMA/8000")
    async with (
        asyncio.timeout(LIMIT_S),
        fake_camera(Behaviour(loudspeaker=loudspeaker)) as camera,
        run(settings(tmp_path, webrtc_host="127.0.0.1")) as service,
        chromium(*FAKE_DEVICES) as browser,
    ):
        await fill(service.services)
        system, official = await service.logged_in("system"), await service.logged_in("east")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        meeting = await running_meeting(official)
        origin = str(service.server.make_url("")).rstrip("/")
        listener, speaker = await person(browser, origin, "official"), await person(browser, origin, "east")
        assert await listener.evaluate(_CONNECT, [f"/live/meetings/{meeting}/voice", False]) == 201
        assert await speaker.evaluate(_CONNECT, [f"/live/meetings/{meeting}/talk", True]) == 201
        levels: list[float] = []
        # Rising edges: the fake microphone beeps and is silent in between.
        while sum(a < 0.005 and b > 0.01 for a, b in pairwise(levels)) < 3:
            levels += await listener.evaluate(_LEVELS, 20)
        octets = b"".join(packet[12:] for _, packet in camera.heard if packet[1] & 0x7F == 8)
        assert beeps(decode_alaw(octets), 8_000) >= 2
        await speaker.evaluate("() => window.pc.close()")
        await official.json("POST", f"/meetings/{meeting}/end")
        track = (await official.json("GET", f"/meetings/{meeting}/talks"))["track_url"]
        base = track.rpartition("/")[0]
        text = await (await official.client.get(track)).text()
        names = ["guidance/init.mp4", *(line for line in text.splitlines() if line.startswith("guidance/"))]
        data = b"".join([await (await official.client.get(f"{base}/{name}")).read() for name in names])
        with av.open(io.BytesIO(data), "r") as container:
            wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert beeps(wave, 16_000) >= 2
        # The desk plays it beside the picture.
        page = await (await browser.new_context(locale="en-GB")).new_page()
        await page.goto(f"{origin}/meetings/{meeting}")
        await page.get_by_label("User name").fill("east")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_selector("video")
        heard = await page.evaluate(_REPLAY)
        assert heard["loudest"] > 0.05
        assert abs(heard["apart"]) < 0.5


async def test_whoever_loses_the_floor_reads_who_took_it(tmp_path: Path) -> None:
    require_browser()
    require_desk()
    async with (
        asyncio.timeout(LIMIT_S),
        fake_camera(Behaviour()) as camera,
        run(settings(tmp_path, webrtc_host="127.0.0.1")) as service,
        chromium(*FAKE_DEVICES) as browser,
        desk(browser, tmp_path) as town,
    ):
        await fill(service.services)
        system, official = await service.logged_in("system"), await service.logged_in("east")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        meeting = await running_meeting(official)
        origin = str(service.server.make_url("")).rstrip("/")
        await town.page.goto(f"{origin}/meetings/{meeting}")
        await log_in(town.page, "east", PASSWORD)
        await expect(town.page.locator("button.talk")).to_be_visible(timeout=PATIENCE_MS)
        await town.page.keyboard.down("t")
        await expect(town.page.locator("button.talk")).to_contain_text("正在讲话", timeout=PATIENCE_MS)
        # Who speaks must not hear himself out of the room.
        assert await town.page.evaluate(_VOLUME) < 0.2
        county = await person(browser, origin, "official")
        assert await county.evaluate(_CONNECT, [f"/live/meetings/{meeting}/talk", True]) == 201
        trouble = town.page.get_by_role("alert")
        await expect(trouble).to_contain_text("清河县委组织部 Official接过了讲话。", timeout=PATIENCE_MS)
        await expect(trouble).not_to_contain_text("断了")

        await town.page.keyboard.up("t")
        assert await town.page.evaluate(_VOLUME) == 1
