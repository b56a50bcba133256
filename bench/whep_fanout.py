"""What one more WebRTC viewer costs: Sanhui's relay beside stock aiortc, the same 1 Mb/s stream, in the same run.

    python bench/whep_fanout.py [--viewers 100 300] [--seconds 8] [--rounds 5] [--json]

The sender is a process of its own, this one has the viewers: each does ICE and DTLS as a browser does, then counts
datagrams and looks for gaps in their sequence numbers. Processor time of the sender, all of it, is divided by the
packets that arrived. The two take turns; what counts is the middle of the rounds, each ratio of two that followed each
other. 300 viewers are a county's rooms that look at one lecture.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import uvloop

from bench.table import Table
from tests.support.webrtc_client import H264_BASELINE, WebRtcClient

MIB = 1024 * 1024
SETTLE_S = 3.0


class Subject:
    """The sending process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """One line there, one line back."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        return await self.read()

    async def read(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 120)
        if not line:
            raise RuntimeError("the sender has ended; see above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.asynccontextmanager
async def subject(kind: str) -> AsyncIterator[Subject]:
    """Start a sender, stop it at the end."""
    loop = Path(tempfile.gettempdir()) / "sanhui-bench-whep.bin"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.whep_subject",
        kind,
        str(loop),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    found = Subject(process)
    try:
        await found.read()
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


class Counter:
    """Counts one viewer's datagrams, and those that never came."""

    def __init__(self) -> None:
        self.packets = 0
        self.missing = 0
        self._highest = -1

    def take(self, packet: bytes) -> None:
        """A datagram of media."""
        if 192 <= packet[1] <= 223:
            return
        self.packets += 1
        sequence = packet[2] << 8 | packet[3]
        if self._highest >= 0:
            ahead = (sequence - self._highest) & 0xFFFF
            if ahead >= 0x8000:
                self.missing -= 1
                return
            self.missing += ahead - 1
        self._highest = sequence


@dataclass(frozen=True, slots=True)
class Result:
    """One round: microseconds of the sender's processor time per packet and viewer, those in the kernel, bytes of its
    memory per viewer, packets that arrived, packets that did not."""

    us: float
    kernel_us: float
    memory: float
    packets: int
    missing: int


async def measure(kind: str, viewers: int, seconds: float) -> Result:
    """One round with one sender."""
    async with subject(kind) as sender, contextlib.AsyncExitStack() as stack:
        # The first viewer starts what all share.
        counters = [await join(sender, stack)]
        before = await sender.ask({"usage": "memory"})
        for _ in range(viewers - 1):
            counters.append(await join(sender, stack))
        await asyncio.sleep(SETTLE_S)
        began = await sender.ask({"usage": "time"})
        had = [(counter.packets, counter.missing) for counter in counters]
        await asyncio.sleep(seconds)
        ended = await sender.ask({"usage": "time"})
        got = [counter.packets - packets for counter, (packets, _) in zip(counters, had, strict=True)]
        if not all(got):
            raise RuntimeError(f"{got.count(0)} of {viewers} viewers got nothing")
        packets = sum(got)
        missing = sum(counter.missing - missing for counter, (_, missing) in zip(counters, had, strict=True))
        us = (ended["cpu_s"] - began["cpu_s"]) / packets * 1e6
        kernel_us = (ended["system_s"] - began["system_s"]) / packets * 1e6
        after = await sender.ask({"usage": "memory"})
        memory = (after["memory"] - before["memory"]) / max(1, viewers - 1)
        return Result(us, kernel_us, memory, packets, missing)


async def join(sender: Subject, stack: contextlib.AsyncExitStack) -> Counter:
    """One more viewer."""
    client = await stack.enter_async_context(WebRtcClient(keep=False))
    answer = await sender.ask({"offer": client.offer(video=(H264_BASELINE,), audio=())})
    await client.connect(answer["answer"])
    client.widen(1 << 20)
    counter = Counter()
    client.tap = counter.take
    return counter


async def run(arguments: argparse.Namespace) -> Table:
    """All rounds, for each number of viewers."""
    table = Table(
        "WebRTC viewers of one 1 Mb/s stream",
        ("sender", "viewers", "µs CPU per packet and viewer", "in the kernel", "MiB per viewer", "packets", "lost"),
    )
    for viewers in arguments.viewers:
        results: dict[str, list[Result]] = {"ours": [], "aiortc": []}
        for _ in range(arguments.rounds):
            for kind, found in results.items():
                began = time.monotonic()
                found.append(await measure(kind, viewers, arguments.seconds))
                print(f"{viewers} {kind}: {found[-1]} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
        for kind, found in results.items():
            us, kernel_us = (statistics.median(getattr(item, name) for item in found) for name in ("us", "kernel_us"))
            memory = statistics.median(item.memory for item in found) / MIB
            packets, lost = sum(item.packets for item in found), sum(item.missing for item in found)
            table.add(kind, viewers, round(us, 2), round(kernel_us, 2), round(memory, 3), packets, lost)
            table.extra[f"{kind}_us_{viewers}"] = us
        ratios = [stock.us / ours.us for ours, stock in zip(*results.values(), strict=True)]
        table.extra[f"ratio_{viewers}"] = round(statistics.median(ratios), 2)
        table.notes.append(
            f"{viewers} viewers: stock aiortc takes {statistics.median(ratios):.1f} times as much, in the middle of "
            f"{arguments.rounds} rounds ({min(ratios):.1f} to {max(ratios):.1f})."
        )
    return table


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--viewers", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    uvloop.run(run(arguments)).print(as_json=arguments.json)


if __name__ == "__main__":
    main()
