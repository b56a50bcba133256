"""How far behind the room a browser's picture is: the clock in the picture beside the clock on the wall.

    python bench/glass.py [--pictures 60] [--json]

Headless Chromium looks at a 720p25 stream over WHEP. The test picture carries the time at which it was taken; the page
notes when each one is on the screen. Capture, encoding, relay, network and decoding are all in it; a camera's own delay
and a screen's are not.
"""

import argparse
import asyncio
import statistics
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from bench.live_source import live_source, whep_site
from bench.table import Table
from media.testsource import TestSourceSettings
from tests.support.browser import chromium
from tests.support.whep_page import whep_page

SETTLE_S = 4.0


async def measure(pictures: int) -> tuple[float, list[float], list[float]]:
    """Milliseconds from offer to first picture; delays of pictures; milliseconds that sound is after the picture."""
    async with live_source(TestSourceSettings()) as stream, whep_site(stream) as (url, _), chromium() as browser:
        async with whep_page(browser, url) as page:
            # The first start of a browser's media engine is not what is measured.
            await page.play("/whep")
            await page.first_picture_ms()
        async with whep_page(browser, url) as page:
            await page.play("/whep")
            first_ms = await page.first_picture_ms()
            await asyncio.sleep(SETTLE_S)
            delays: list[float] = []
            while len(delays) < pictures:
                clock, shown = await page.picture()
                if clock is not None:
                    delays.append(shown - clock)
            return first_ms, delays, await page.sound_delays(5.0)


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    first_ms, delays, sounds = uvloop.run(measure(arguments.pictures))
    cut = statistics.quantiles(delays, n=20)
    table = Table("Behind the room, milliseconds", ("what", "p50", "p95", "longest"))
    table.add("picture on the screen", cut[9], cut[18], max(delays))
    if sounds:
        table.add("sound", statistics.median(sounds), max(sounds), max(sounds))
    table.notes.append(f"First picture {first_ms:.0f} ms after the offer, in a browser that has played before.")
    table.extra = {"p50_ms": cut[9], "p95_ms": cut[18], "first_ms": first_ms}
    table.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
