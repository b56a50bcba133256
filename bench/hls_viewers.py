"""Viewers of low-latency HLS: each follows one camera's picture and sound part by part, as a player does.

    python -m bench.hls_viewers BASE_URL CAMERAS VIEWERS

Runs until standard input is closed, then prints as one JSON line how many parts and bytes all of them took, and how
many requests failed.
"""

import asyncio
import json
import re
import sys
from dataclasses import asdict, dataclass

import aiohttp

_PART = re.compile(r'#EXT-X-PART:.*URI="([^"]+?(\d+)\.(\d+)\.m4s[^"]*)"')
_HINT = re.compile(r'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="[^"]*?(\d+)\.(\d+)\.m4s')


@dataclass(slots=True)
class Taken:
    """What all viewers took."""

    parts: int = 0
    bytes: int = 0
    failures: int = 0


async def _follow(session: aiohttp.ClientSession, base: str, rendition: str, taken: Taken) -> None:
    """Fetch each part of a rendition as it is announced, by blocking playlist reload."""
    url = f"{base}/{rendition}.m3u8"
    directive = ""
    newest = (-1, -1)
    while True:
        try:
            async with session.get(url + directive) as answer:
                answer.raise_for_status()
                text = await answer.text()
            found = [(match[1], (int(match[2]), int(match[3]))) for match in _PART.finditer(text)]
            fresh = [(uri, at) for uri, at in found if at > newest] if newest[0] >= 0 else found[-1:]
            for uri, at in fresh:
                async with session.get(f"{base}/{uri}") as answer:
                    answer.raise_for_status()
                    taken.bytes += len(await answer.read())
                    taken.parts += 1
                newest = at
            hint = _HINT.search(text)
            directive = f"?_HLS_msn={hint[1]}&_HLS_part={hint[2]}" if hint is not None else ""
        except (aiohttp.ClientError, TimeoutError):
            taken.failures += 1
            directive = ""
            await asyncio.sleep(1)


async def watch(base: str, cameras: int, viewers: int) -> Taken:
    """Let ``viewers`` watch, spread over the cameras, until standard input is closed."""
    taken = Taken()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        tasks = [
            asyncio.create_task(_follow(session, f"{base}/live/c{number % cameras}", rendition, taken))
            for number in range(viewers)
            for rendition in ("video", "sound")
        ]
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return taken


def main() -> None:
    """Entry point."""
    base, cameras, viewers = sys.argv[1:4]
    print(json.dumps(asdict(asyncio.run(watch(base, int(cameras), int(viewers))))), flush=True)


if __name__ == "__main__":
    main()
