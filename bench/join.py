"""How long from an offer to the first picture that can be decoded, joined at random moments of a GOP.

    python bench/join.py [--joins 40] [--json]

A viewer offers over HTTP on loopback, does ICE and DTLS, and is done when the last packet of the first keyframe has
come, its parameter sets before it and nothing missing. The stream is 720p25 at 2 Mb/s with a keyframe every 2 s, then
every 10 s. Beside it stands what a viewer waits that gets only what comes: the time to the next keyframe.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
import uvloop

from bench.live_source import live_source, whep_site
from bench.table import Table
from media.testsource import TestSourceSettings
from tests.support.webrtc_client import Received, WebRtcClient

_SPS, _PPS, _IDR, _FU_A = 7, 8, 5, 28


class FirstPicture:
    """Waits for a whole keyframe."""

    def __init__(self) -> None:
        self.at: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._seen: set[int] = set()
        self._next: int | None = None

    def take(self, received: Received) -> None:
        """A packet of the pictures."""
        header, payload = received.header, received.payload
        if header.payload_type < 100 or self.at.done():
            return
        if self._next is not None and header.sequence != self._next:
            self._seen.clear()
        self._next = (header.sequence + 1) & 0xFFFF
        kind = payload[0] & 31
        self._seen.add(payload[1] & 31 if kind == _FU_A else kind)
        if header.marker and {_SPS, _PPS, _IDR} <= self._seen:
            self.at.set_result(time.monotonic())


async def join(url: str, http: aiohttp.ClientSession) -> float:
    """One join; milliseconds."""
    async with WebRtcClient(keep=False) as client:
        first = FirstPicture()
        client.on_rtp = first.take
        began = time.monotonic()
        async with http.post(f"{url}/whep", data=client.offer()) as answer:
            text = await answer.text()
        await client.connect(text)
        return (await asyncio.wait_for(first.at, 30) - began) * 1000


async def measure(gop_s: float, joins: int) -> tuple[list[float], list[float]]:
    """Waits of ``joins`` viewers, and what they would have waited for the next keyframe, in ms."""
    settings = TestSourceSettings(bitrate=2_000_000, gop_s=gop_s, noise=30)
    chance = random.Random(7)
    waits: list[float] = []
    keyframes: list[float] = []
    async with live_source(settings) as stream, whep_site(stream) as (url, _), aiohttp.ClientSession() as http:
        await asyncio.sleep(min(gop_s, 4) + 1)
        await join(url, http)
        for _ in range(joins):
            await asyncio.sleep(chance.uniform(0.05, 0.45))
            newest = stream.last_keyframe
            age_ms = (time.time_ns() - newest.utc_ns) / 1e6 if newest is not None else 0.0
            keyframes.append(max(0.0, gop_s * 1000 - age_ms))
            waits.append(await join(url, http))
    return waits, keyframes


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--joins", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    table = Table(
        "Offer → first decodable picture, milliseconds",
        ("keyframe every", "p50", "p95", "longest", "next keyframe, p50", "next keyframe, p95"),
    )
    for gop_s in (2.0, 10.0):
        waits, keyframes = uvloop.run(measure(gop_s, arguments.joins))
        cut, late = statistics.quantiles(waits, n=20), statistics.quantiles(keyframes, n=20)
        table.add(f"{gop_s:.0f} s", cut[9], cut[18], max(waits), late[9], late[18])
        table.extra[f"p95_ms_gop_{gop_s:.0f}s"] = cut[18]
    table.notes.append("Sender, encoder and viewers share one machine and one process, loopback.")
    table.print(as_json=arguments.json)


if __name__ == "__main__":
    main()
