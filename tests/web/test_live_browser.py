"""Chromium with hls.js plays what the media handlers serve: live within two seconds, recorded over a gap, the MP4."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from media.unit import Codec
from tests.recorder.recordings import archive, record, stretch, with_gap
from tests.support.browser import chromium
from tests.support.live_feed import live_stream, looped, until
from tests.support.media_site import KEY, media_site
from tests.support.servers import cannot_run
from tests.web.test_live_loss import losing_site

HLS_JS = Path(__file__).parents[2] / "web/ui/node_modules/hls.js/dist/hls.min.js"

pytestmark = pytest.mark.browser

# Shows what is on screen: the number that a picture carries in its sixteen bars, and the player's own account.
_LOOK = """
() => {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth || 1; canvas.height = video.videoHeight || 1;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const bar = Math.floor(canvas.width / 16);
  let number = 0;
  for (let n = 0; n < 16; n++) {
    const pixel = context.getImageData(n * bar + bar / 2, canvas.height / 2, 1, 1).data;
    number = number * 2 + (pixel[1] > 128 ? 1 : 0);
  }
  return {time: video.currentTime, number, width: video.videoWidth, duration: video.duration,
          buffered: [...Array(video.buffered.length).keys()].map(n => [video.buffered.start(n), video.buffered.end(n)]),
          sound: video.webkitAudioDecodedByteCount, dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
          errors: window.errors || [], latency: window.hls ? window.hls.latency : null,
          first: window.first || null};
}
"""
_PLAY = """
([url, config]) => {
  window.errors = [];
  const video = document.querySelector("video");
  const began = performance.now();
  video.requestVideoFrameCallback(() => { window.first = performance.now() - began; });
  const hls = window.hls = new Hls(Object.assign({enableWorker: false}, config));
  hls.on(Hls.Events.ERROR, (_, data) => window.errors.push(`${data.fatal} ${data.details} ${data.reason || ""}`));
  hls.loadSource(url);
  hls.attachMedia(video);
  video.play();
}
"""
# What it missed while it waited it leaves out, as our own page does.
_CLOSE = {
    "lowLatencyMode": True, "liveSyncDuration": 1.0, "liveMaxLatencyDuration": 4.0, "liveSyncOnStallIncrease": 0
}  # fmt: skip


@asynccontextmanager
async def page_at(url: str) -> AsyncIterator[Page]:
    """An empty page of the site with a video element."""
    if not HLS_JS.exists():
        cannot_run("needs the packages of the desk pages: make web/static/.ready")
    async with chromium("--mute-audio") as browser:
        context = await browser.new_context(extra_http_headers={KEY: "let-me-in"})
        page = await context.new_page()
        await page.route("**/blank", lambda route: route.fulfill(body="<video></video>", content_type="text/html"))
        await page.goto(f"{url}/blank")
        yield page


async def look(page: Page) -> dict[str, Any]:
    """What is on screen."""
    found: dict[str, Any] = await page.evaluate(_LOOK)
    return found


async def test_live_is_on_screen_within_two_seconds_and_goes_on() -> None:
    """In the quickest of three looks: other work on the machine only adds to one."""
    async with live_stream(looped(stretch(100.0, 8.0), 8.0), ahead_s=1.2) as stream:
        async with media_site(lambda _: stream) as site, page_at(site.url) as page:
            await until(lambda: stream.last_keyframe is not None)
            took_ms: list[float] = []
            while len(took_ms) < 3 and min(took_ms, default=2_000) >= 2_000:
                await page.goto(f"{site.url}/blank")
                await page.add_script_tag(path=HLS_JS)
                await page.evaluate(_PLAY, [f"{site.url}/live/camera/index.m3u8", {"lowLatencyMode": True}])
                await page.wait_for_function("window.first", timeout=10_000)
                first = await look(page)
                took_ms.append(first["first"])
            assert min(took_ms) < 2_000, took_ms
            await page.wait_for_function(f"document.querySelector('video').currentTime > {first['time'] + 5}")
            later = await look(page)
            assert later["sound"] > 0
            assert later["width"] == 320
            assert not [error for error in later["errors"] if error.startswith("true")]
            assert later["latency"] < 4
            assert len(later["buffered"]) == 1


async def test_live_goes_on_by_itself_after_the_camera_was_away() -> None:
    async with losing_site() as (url, lose), page_at(url) as page:
        await page.add_script_tag(path=HLS_JS)
        await page.evaluate(_PLAY, [f"{url}/live/camera/index.m3u8", {"lowLatencyMode": True}])
        await page.wait_for_function("window.first", timeout=20_000)
        lose()
        numbers = [(await look(page))["number"]]
        async with asyncio.timeout(60):
            while numbers[-1] < numbers[0] + 350:
                await asyncio.sleep(0.1)
                seen = await look(page)
                numbers.append(seen["number"])
        assert numbers == sorted(numbers)
        assert not [error for error in seen["errors"] if error.startswith("true")]


async def test_live_goes_on_by_itself_after_eight_seconds_of_pictures_were_lost() -> None:
    """The line is bad and the camera there: one segment with the last picture, the rest of the time a gap. Pictures are
    back with a keyframe: what is built upon lost ones would show numbers that no picture ever had."""
    round_s, hole = 40.0, (8.3, 16.0)
    units = [u for u in stretch(100.0, round_s) if not hole[0] <= u.dts / u.track.clock_rate - 100.0 < hole[1]]
    async with live_stream(looped(units, round_s), ahead_s=4.0) as stream:
        async with media_site(lambda _: stream) as site, page_at(site.url) as page:
            await until(lambda: stream.last_keyframe is not None)
            await page.add_script_tag(path=HLS_JS)
            await page.evaluate(_PLAY, [f"{site.url}/live/camera/index.m3u8", _CLOSE])
            await page.wait_for_function("window.first", timeout=10_000)
            numbers = [(await look(page))["number"]]
            async with asyncio.timeout(60):
                while numbers[-1] < 18 * 25:
                    await asyncio.sleep(0.1)
                    seen = await look(page)
                    numbers.append(seen["number"])
            assert numbers == sorted(numbers)
            assert not [error for error in seen["errors"] if error.startswith("true")]
            await page.wait_for_function("window.hls.latency < 4", timeout=30_000)


async def test_a_recording_plays_over_its_gap_and_seeks(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        async with media_site(database=home.database, store=home.store) as site, page_at(site.url) as page:
            await page.add_script_tag(path=HLS_JS)
            await page.evaluate(_PLAY, [f"{site.url}/meetings/{made.meeting.id}/vod/index.m3u8", {}])
            await page.wait_for_function("document.querySelector('video').currentTime > 0.5", timeout=10_000)
            begin = await look(page)
            assert abs(begin["duration"] - 20) < 0.2
            # A gap takes no time: second 11 of the playlist is before it, second 13 after it.
            for at, number in ((11.0, 275), (13.0, 450), (3.0, 75), (19.0, 600)):
                await page.evaluate(f"document.querySelector('video').currentTime = {at}")
                await page.wait_for_function(f"document.querySelector('video').currentTime > {at} + 0.3")
                now = await look(page)
                wanted = number + (now["time"] - at) * 25
                assert abs(now["number"] - wanted) < 6, (at, now)
            await page.evaluate("document.querySelector('video').currentTime = 11.5")
            await page.wait_for_function("document.querySelector('video').currentTime > 12.6", timeout=10_000)
            now = await look(page)
            assert not [error for error in now["errors"] if error.startswith("true")]


async def test_the_mp4_plays_and_seeks_in_the_browser_itself(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        async with media_site(database=home.database, store=home.store) as site, page_at(site.url) as page:
            await page.evaluate(
                "url => { const video = document.querySelector('video'); video.src = url; video.play(); }",
                f"{site.url}/meetings/{made.meeting.id}/download.mp4",
            )
            await page.wait_for_function("document.querySelector('video').currentTime > 0.5", timeout=10_000)
            assert abs((await look(page))["duration"] - 25) < 0.2
            # The gap is there, with the last picture before it.
            for at, number in ((14.0, 299), (20.0, 500), (5.0, 125)):
                await page.evaluate(f"document.querySelector('video').currentTime = {at}")
                await page.wait_for_function(
                    f"Math.abs(document.querySelector('video').currentTime - {at} - 0.5) < 0.4 && "
                    "!document.querySelector('video').seeking",
                )
                now = await look(page)
                wanted = number if number == 299 else number + (now["time"] - at) * 25
                assert abs(now["number"] - wanted) < 6, (at, now)
            assert (await look(page))["sound"] > 0


_HEAR = """
async (url) => {
  const video = document.querySelector("video");
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaElementSource(video).connect(analyser);
  analyser.connect(context.destination);
  const wave = new Float32Array(analyser.fftSize);
  window.heard = [];
  video.addEventListener("timeupdate", () => {
    analyser.getFloatTimeDomainData(wave);
    window.heard.push([video.currentTime, Math.max(...wave)]);
  });
  video.src = url;
  await new Promise((done) => video.addEventListener("loadeddata", done, {once: true}));
  video.currentTime = 9;
  await context.resume();
  await video.play();
}
"""


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.AAC])
async def test_the_mp4_is_silent_in_its_gap_and_sounds_after_it(tmp_path: Path, codec: Codec) -> None:
    """Browsers play sound straight on, whatever the times of its samples say."""
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap(codec)])
        async with media_site(database=home.database, store=home.store) as site, page_at(site.url) as page:
            await page.evaluate(_HEAR, f"{site.url}/meetings/{made.meeting.id}/download.mp4")
            await page.wait_for_function("document.querySelector('video').currentTime > 20", timeout=30_000)
            heard = await page.evaluate("window.heard")
    assert min(level for at, level in heard if 10.0 < at < 11.5) > 0.1
    assert max(level for at, level in heard if 12.7 < at < 16.5) < 0.05
    assert min(level for at, level in heard if 17.8 < at < 20.0) > 0.1
