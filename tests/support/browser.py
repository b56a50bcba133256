"""Headless Chromium, and what its ``<video>`` really shows and sounds like."""

import base64
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from media.testsource import read_clock
from tests.support.servers import cannot_run
from tests.support.service import PASSWORD

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
BUILT = ROOT / "web/static/index.html"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
FAKE_DEVICES = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
"""A camera whose picture turns, and a microphone that beeps each second."""
PATIENCE_MS = 30_000
_BUILD_LIMIT_S = 300

# Notes when a person last clicked and when the first picture of each <video> was on screen, in ms of the page's clock.
_WATCH = """
window.seen = {clicked: null, pictures: []};
document.addEventListener("click", () => { window.seen.clicked = performance.now(); }, true);
new MutationObserver(() => {
  for (const video of document.querySelectorAll("video")) {
    if (video.watched) continue;
    video.watched = true;
    video.requestVideoFrameCallback(() => window.seen.pictures.push(performance.now()));
  }
}).observe(document, {childList: true, subtree: true});
"""
# The next picture that is shown, small and grey, with the time at which it was shown.
_PICTURE = """
() => new Promise(resolve => {
  const video = document.querySelector("video");
  const draw = (_, frame) => {
    if (video.readyState < 2) { video.requestVideoFrameCallback(draw); return; }
    const canvas = new OffscreenCanvas(480, 270);
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(video, 0, 0, 480, 270);
    // The frame's own time: on a busy machine the player's position runs ahead of its pictures.
    const shown = Date.now(), position = frame ? frame.mediaTime : video.currentTime;
    const pixels = context.getImageData(0, 0, 480, 270).data;
    let grey = "";
    for (let n = 1; n < pixels.length; n += 4) grey += String.fromCharCode(pixels[n]);
    resolve({grey: btoa(grey), shown, position});
  };
  if (video.paused) draw(); else video.requestVideoFrameCallback(draw);
})
"""
# How loud the <video> gets within so many seconds, 0 to 1.
_LOUDNESS = """
seconds => new Promise(resolve => {
  const video = document.querySelector("video");
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(video.captureStream()).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const until = performance.now() + seconds * 1000;
  let loudest = 0;
  const listen = () => {
    analyser.getFloatTimeDomainData(samples);
    for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
    if (performance.now() < until && loudest < 0.05) setTimeout(listen, 20);
    else { context.close(); resolve(loudest); }
  };
  listen();
})
"""

SLOWLY = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* { transition-duration: 1s !important; animation-duration: 1s !important }");
    document.adoptedStyleSheets.push(sheet);
}"""
"""What opens takes a second from then on."""
IS_TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""By how many pixels a page is wider than the screen."""


def require_browser() -> None:
    """Skip the test, or fail it where everything is required, unless Chromium is there."""
    if not Path(CHROMIUM).exists():
        cannot_run("needs Chromium: apt-get install chromium")


def require_desk() -> None:
    """The same for the built desk pages; they are built if they can be."""
    if BUILT.exists():
        return
    try:
        subprocess.run(["make", "web/static/.ready"], cwd=ROOT, check=True, capture_output=True, timeout=_BUILD_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as error:
        cannot_run(f"the desk pages cannot be built: make web/static/.ready ({error})")


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on screen: the clock inside it and the time it was shown, Unix ms; its time for the player, seconds."""

    clock: int
    at: int
    position: float


@dataclass
class Desk:
    """A page of one person. ``console`` is what the browser had to say."""

    page: Page
    console: list[str] = field(default_factory=list)

    async def picture(self) -> Shown:
        """The next picture. AssertionError if its clock cannot be read."""
        found: dict[str, Any] = await self.page.evaluate(_PICTURE)
        grey = np.frombuffer(base64.b64decode(found["grey"]), np.uint8).reshape(270, 480)
        clock = read_clock(grey)
        assert clock is not None, "the picture shows no clock"
        return Shown(clock, found["shown"], found["position"])

    async def loudness(self, seconds: float) -> float:
        """The loudest sample within ``seconds``, or the first that can be heard, 0 to 1."""
        return float(await self.page.evaluate(_LOUDNESS, seconds))

    async def plays_on(self, position: float) -> None:
        """Wait until the player is past a position, seconds."""
        # A function, not an expression: the pages' content policy lets nobody evaluate text.
        await self.page.wait_for_function("at => document.querySelector('video').currentTime > at", arg=position)

    async def click_to_picture_s(self) -> float:
        """Seconds from the last click to the first picture of the newest ``<video>``."""
        await self.page.wait_for_function("() => window.seen.pictures.length > 0 && window.seen.clicked !== null")
        seconds: float = await self.page.evaluate("() => (window.seen.pictures.at(-1) - window.seen.clicked) / 1000")
        return seconds


@contextlib.asynccontextmanager
async def chromium(*more: str) -> AsyncIterator[Browser]:
    """A headless Chromium; :data:`FAKE_DEVICES` gives it a camera and a microphone."""
    require_browser()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def desk(browser: Browser, folder: Path, width: int = 1920, height: int = 1080) -> AsyncIterator[Desk]:
    """A fresh browser profile in Chinese. If the block fails there is ``folder / "screen.png"`` and the console."""
    size: Any = {"width": width, "height": height}
    context: BrowserContext = await browser.new_context(
        viewport=size, locale="zh-CN", timezone_id="Asia/Shanghai", accept_downloads=True
    )
    await context.add_init_script(_WATCH)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    found = Desk(page)
    page.on("console", lambda message: found.console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.console.append(f"error: {error}"))
    try:
        yield found
    except BaseException:
        with contextlib.suppress(Exception):
            await page.screenshot(path=folder / "screen.png")
        print(
            f"at {page.url}, screen in {folder / 'screen.png'} (pid {os.getpid()}); console:",
            *found.console,
            sep="\n  ",
        )
        raise
    finally:
        await context.close()


async def log_in(page: Page, username: str = "county", password: str = PASSWORD) -> None:
    """Fill in the log-in form that is open, and send it. Where that leads is the caller's to wait for."""
    await page.locator("input[name=username]").fill(username)
    await page.locator("input[name=password]").fill(password)
    await page.locator("button[type=submit]").click()


async def log_in_in_its_language(page: Page, username: str = "county", password: str = PASSWORD) -> None:
    """The same on a log-in page, whose language becomes that of the account. For tests of several languages that share
    an account."""
    # There and back: only a language that is chosen is the account's from then on.
    for _ in range(2):
        await page.locator("footer button").click()
    await log_in(page, username, password)
