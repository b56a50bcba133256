"""A page in Chromium that looks at a camera over WHEP, and tells what it shows, hears and measures."""

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Browser, Page

from media.testsource import read_clock

_PLAY = """
async ([url, headers]) => {
  const pc = window.pc = new RTCPeerConnection();
  window.track = {};
  const video = document.querySelector("video");
  const stream = new MediaStream();
  video.srcObject = stream;
  window.shown = [];
  const note = (now, frame) => {
    window.shown.push({at: performance.now(), presented: frame.presentedFrames, rtp: frame.rtpTimestamp});
    if (window.shown.length > 2000) window.shown.shift();
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback(note);
  pc.addTransceiver("audio", {direction: "recvonly"});
  pc.addTransceiver("video", {direction: "recvonly"});
  pc.ontrack = event => stream.addTrack(event.track);
  await pc.setLocalDescription(await pc.createOffer());
  window.asked = performance.now();
  const answer = await fetch(url, {
    method: "POST", body: pc.localDescription.sdp, headers: {"Content-Type": "application/sdp", ...headers}});
  const text = await answer.text();
  if (answer.status !== 201) return {status: answer.status, text};
  window.whep = answer.headers.get("Location");
  await pc.setRemoteDescription({type: "answer", sdp: text});
  video.play();
  return {status: answer.status, text, offer: pc.localDescription.sdp};
}
"""
_PICTURE = """
() => new Promise(resolve => {
  const video = document.querySelector("video");
  video.requestVideoFrameCallback(() => {
    const shown = Date.now();
    const canvas = new OffscreenCanvas(480, 270);
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(video, 0, 0, 480, 270);
    const pixels = context.getImageData(0, 0, 480, 270).data;
    let grey = "";
    for (let n = 1; n < pixels.length; n += 4) grey += String.fromCharCode(pixels[n]);
    resolve({grey: btoa(grey), shown});
  });
})
"""
# When beeps begin, Unix ms, and the loudest sample.
_LISTEN = """
seconds => new Promise(resolve => {
  const video = document.querySelector("video");
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 256;
  context.createMediaStreamSource(video.srcObject).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const beeps = [];
  let loud = true, since = performance.now(), peak = 0;
  const until = performance.now() + seconds * 1000;
  const listen = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    let level = 0;
    for (const sample of samples) level = Math.max(level, Math.abs(sample));
    peak = Math.max(peak, level);
    const now = performance.now();
    if (level > 0.05) { if (!loud && now - since > 200) beeps.push(Date.now()); loud = true; since = now; }
    else loud = false;
    if (now > until) { clearInterval(listen); context.close(); resolve({beeps, peak}); }
  }, 4);
})
"""
_STATS = """
async () => {
  const found = {};
  for (const item of (await window.pc.getStats()).values()) {
    if (item.type === "inbound-rtp") found[item.kind] = item;
    if (item.type === "candidate-pair" && item.nominated) found.pair = item;
    if (item.type === "codec") (found.codecs ||= []).push(item);
  }
  return found;
}
"""


@dataclass
class WhepPage:
    """A page that has begun to look."""

    page: Page
    offer: str = ""
    answer: str = ""

    async def play(self, path: str, headers: dict[str, str] | None = None) -> int:
        """Look at a camera; the status of the answer."""
        found: dict[str, Any] = await self.page.evaluate(_PLAY, [path, headers or {}])
        self.answer, self.offer = found["text"], found.get("offer", "")
        return int(found["status"])

    async def first_picture_ms(self) -> float:
        """Milliseconds from the offer to the first picture on the screen."""
        await self.page.wait_for_function("() => window.shown && window.shown.length > 0")
        return float(await self.page.evaluate("() => window.shown[0].at - window.asked"))

    async def picture(self) -> tuple[int | None, int]:
        """The clock in the next picture and when it was on the screen, both Unix ms."""
        found: dict[str, Any] = await self.page.evaluate(_PICTURE)
        grey: NDArray[np.uint8] = np.frombuffer(base64.b64decode(found["grey"]), np.uint8).reshape(270, 480)
        return read_clock(grey), int(found["shown"])

    async def sound_delays(self, seconds: float) -> list[float]:
        """How long after the whole second each beep was heard, ms; the test source beeps at whole seconds."""
        found: dict[str, Any] = await self.page.evaluate(_LISTEN, seconds)
        return [float(at % 1000) for at in found["beeps"]]

    async def stats(self) -> dict[str, Any]:
        """What the browser counts: ``video``, ``audio`` (inbound), ``pair``."""
        found: dict[str, Any] = await self.page.evaluate(_STATS)
        return found


@contextlib.asynccontextmanager
async def whep_page(browser: Browser, url: str) -> AsyncIterator[WhepPage]:
    """An empty page of the site at ``url`` with a video element."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        page.set_default_timeout(30_000)
        await page.route(
            "**/blank", lambda route: route.fulfill(body="<video playsinline></video>", content_type="text/html")
        )
        await page.goto(f"{url}/blank")
        yield WhepPage(page)
    finally:
        await context.close()
