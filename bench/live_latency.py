"""How old a live picture is on screen: from the clock drawn into it to the decoded frame in Chromium.

    python bench/live_latency.py [--pictures 60] [--settle 15] [--json]

`sanhui serve` and one simulated camera (720p25 H.264 + G.711A, a keyframe every two seconds, over RTSP) as processes of
their own; headless Chromium with hls.js and the desk's settings plays low-latency HLS, then plain HLS version 3 with
MPEG-TS, as a set-top box would. Camera, service and browser share the machine's cores and its clock.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.async_api import Browser, Page

from bench.table import Table
from bench.viewer import p95
from tests.support import county
from tests.support.browser import Desk, chromium
from tests.support.service import Person
from tests.support.village import CAMERA_USER, running_village

UI = Path(__file__).resolve().parents[1] / "web/ui"
HLS_JS = UI / "node_modules/hls.js/dist/hls.min.js"
CLOSENESS = UI / "src/lib/closeness.ts"
DESK = {
    "enableWorker": False,
    "lowLatencyMode": True,
    "backBufferLength": 20,
    "liveSyncDuration": 1.0,
    "liveSyncOnStallIncrease": 0,
}
"""As web/ui/src/composables/usePlayer.ts sets hls.js for what is live, with its keepClose()."""
PLAIN = {"enableWorker": False, "lowLatencyMode": False}
PLAYERS: Sequence[tuple[str, str, dict[str, Any], str]] = (
    ("LL-HLS, fMP4 (the desk's settings)", "index.m3u8", DESK, "1.5"),
    ("HLS version 3, MPEG-TS", "ts.m3u8", PLAIN, ""),
)
_PLAY = """
([url, config]) => {
  const video = document.querySelector("video");
  const began = performance.now();
  window.stalls = 0;
  video.requestVideoFrameCallback(() => {
    window.first = performance.now() - began;
    video.addEventListener("waiting", () => window.stalls++);
  });
  const hls = new Hls(config);
  hls.loadSource(url);
  hls.attachMedia(video);
  if (config.lowLatencyMode) keepClose(video);
  video.play();
}
"""


def closeness_script() -> str:
    """The desk's own keepClose(), without its types, as a script. Blocks."""
    program = "console.log(require('node:module').stripTypeScriptTypes(require('node:fs').readFileSync(0, 'utf8')))"
    node = Path(sys.executable).with_name("node")
    done = subprocess.run([node, "-e", program], input=CLOSENESS.read_bytes(), capture_output=True, check=True)
    return done.stdout.decode().replace("export ", "")


@asynccontextmanager
async def player(browser: Browser, person: Person) -> AsyncIterator[Page]:
    """An empty page of the service, logged in, with a ``<video>`` and hls.js."""
    context = await browser.new_context(bypass_csp=True, extra_http_headers={"Cookie": person.cookie_header})
    try:
        page = await context.new_page()
        page.set_default_timeout(60_000)
        await page.route("**/bench", lambda route: route.fulfill(body="<video></video>", content_type="text/html"))
        await page.goto(f"{person.base}/bench")
        await page.add_script_tag(path=HLS_JS)
        await page.add_script_tag(content=await asyncio.to_thread(closeness_script))
        yield page
    finally:
        await context.close()


async def watch(page: Page, url: str, config: dict[str, Any], settle_s: float, pictures: int) -> dict[str, Any]:
    """Seconds to the first picture, how old ``pictures`` of them were after ``settle_s``, stalls after the first."""
    await page.evaluate(_PLAY, [url, config])
    await page.wait_for_function("() => window.first")
    await asyncio.sleep(settle_s)
    shown = Desk(page)
    ages = []
    for _ in range(pictures):
        picture = await shown.picture()
        ages.append((picture.at - picture.clock) / 1000)
        # Not in step with keyframes, parts or segments.
        await asyncio.sleep(0.33)
    first_s = await page.evaluate("() => window.first / 1000")
    return {"first_s": first_s, "ages": ages, "stalls": await page.evaluate("() => window.stalls")}


async def run(pictures: int, settle_s: float) -> Table:
    """The table."""
    table = Table(
        "Age of a live picture on screen, seconds",
        ("player", "bar, p50", "p50", "p95", "least", "longest", "first picture after", "stalls"),
        notes=[f"{pictures} pictures each, every third of a second, {settle_s:g} s after the first."],
    )
    password = "bench"
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as temporary:
        folder = Path(temporary)
        async with (
            running_village(folder, 1, password) as village,
            county.running(folder) as here,
            chromium() as browser,
        ):
            person = here.person
            _, room = await county.add_room(person, here.town, "柳树湾村党支部")
            login = {"username": CAMERA_USER, "password": password}
            camera = await county.add_camera(person, room, village.address(), **login)
            await county.camera_in_state(person, camera, "online")
            for name, path, config, bar in PLAYERS:
                async with player(browser, person) as page:
                    seen = await watch(page, f"{here.url}/live/{camera}/{path}", config, settle_s, pictures)
                ages = seen["ages"]
                table.add(
                    name, bar, statistics.median(ages), p95(ages), min(ages), max(ages), seen["first_s"], seen["stalls"]
                )
    return table


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument(
        "--settle", type=float, default=15.0, help="seconds from the first picture to the first measured"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if not HLS_JS.exists():
        parser.error("hls.js is not there yet: make web/static/.ready")
    asyncio.run(run(options.pictures, options.settle)).print(as_json=options.json)


if __name__ == "__main__":
    main()
