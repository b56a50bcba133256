"""WebRTC viewers who come and go: each looks at a camera for some seconds, with picture and sound, then at another.

    python -m bench.whep_viewers BASE_URL CAMERAS VIEWERS

They begin at random moments and stay 2 to 10 seconds, half of them end their session over HTTP, the others by DTLS
alone. Runs until standard input is closed, then prints as one JSON line how often somebody looked, how many packets
came, how many were missing among them, and how many looks failed.
"""

import asyncio
import json
import random
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass

import aiohttp
import uvloop

from bench.whep_fanout import Counter
from streaming.webrtc.dtls import DtlsFailedError
from tests.support.webrtc_client import H264, H264_BASELINE, PCMA, WebRtcClient

STAY_S = (2.0, 10.0)
AWAY_S = (0.0, 2.0)


@dataclass(slots=True)
class Seen:
    """What all viewers saw. ``empty`` looks are those that brought no packet."""

    looks: int = 0
    packets: int = 0
    missing: int = 0
    empty: int = 0
    failures: int = 0


async def _look(session: aiohttp.ClientSession, base: str, camera: int, chance: random.Random, seen: Seen) -> None:
    counters: defaultdict[bytes, Counter] = defaultdict(Counter)
    async with WebRtcClient(keep=False) as client:
        client.tap = lambda packet: counters[packet[8:12]].take(packet)
        offer = client.offer(video=(H264, H264_BASELINE), audio=(PCMA,))
        async with session.post(f"{base}/whep/c{camera}", data=offer) as answer:
            answer.raise_for_status()
            text, place = await answer.text(), answer.headers["Location"]
        try:
            await client.connect(text)
            client.widen(1 << 20)
            await asyncio.sleep(chance.uniform(*STAY_S))
        finally:
            if chance.random() < 0.5:
                async with session.delete(base + place):
                    pass
            packets = sum(counter.packets for counter in counters.values())
            seen.packets += packets
            seen.missing += sum(counter.missing for counter in counters.values())
            seen.empty += packets == 0
            seen.looks += 1


async def _person(session: aiohttp.ClientSession, base: str, cameras: int, number: int, seen: Seen) -> None:
    chance = random.Random(number)
    while True:
        await asyncio.sleep(chance.uniform(*AWAY_S))
        try:
            await _look(session, base, chance.randrange(cameras), chance, seen)
        except (aiohttp.ClientError, DtlsFailedError, TimeoutError, OSError):
            seen.failures += 1
            await asyncio.sleep(1)


async def watch(base: str, cameras: int, viewers: int) -> Seen:
    """Let ``viewers`` come and go until standard input is closed."""
    seen = Seen()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        tasks = [asyncio.create_task(_person(session, base, cameras, number, seen)) for number in range(viewers)]
        await asyncio.to_thread(sys.stdin.read)
        left = set(tasks)
        while left:
            # Once is not enough: a handshake that is cancelled ends as one that failed.
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=1)
    return seen


def main() -> None:
    """Entry point."""
    base, cameras, viewers = sys.argv[1:4]
    print(json.dumps(asdict(uvloop.run(watch(base, int(cameras), int(viewers))))), flush=True)


if __name__ == "__main__":
    main()
