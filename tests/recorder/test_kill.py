"""``kill -9`` in the middle of a meeting: a real process, a real signal, and the next start puts it right."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from media.unit import NS_PER_S, GapCause
from recorder.check import check
from storage.records import RecordingState
from tests.recorder.house import House, house, until
from tests.support.encoded import ORIGIN_NS

ROOT = Path(__file__).parents[2]


async def record_and_kill(home: House, meeting: str, parts: int) -> int:
    """Run a recorder in another process until it has written so many parts, kill it; how many octets it had written."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.recorder_process",
        str(home.folder),
        meeting,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    done, written = 0, 0
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while done < parts:
                line = (await process.stdout.readline()).decode().split()
                assert line, "the recorder ended by itself"
                done, written = int(line[1]), int(line[2])
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    return written


@pytest.mark.parametrize("parts", [3, 9, 22])
async def test_killed_in_the_middle_and_resumed(tmp_path: Path, parts: int) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        written = await record_and_kill(home, meeting, parts)
        assert list(home.spool_dir.rglob("*.spool")), "it was killed with an object in progress"
        home.camera.second += 60
        home.camera.epoch = 7
        home.clock.now_ns = ORIGIN_NS + int(home.camera.second * NS_PER_S)
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            home.camera.feed(6.0)
            await until(lambda: recorder.metrics.parts >= 12)
            await recorder.end_meeting(meeting, "user1")
        await home.complete(meeting)
        rows = await home.verify(meeting)
        before = [row for row in rows if row.period == 0]
        kept = sum(part.size for row in before for segment in row.segments for part in segment.ranges)
        assert kept >= written, "what had left the process is kept to the last octet"
        down = [gap for gap in await home.gaps(meeting) if gap.cause == GapCause.SERVICE_DOWN]
        assert len(down) == 1
        assert down[0].start_utc_ns == before[-1].end_utc_ns
        assert down[0].end_utc_ns == ORIGIN_NS + 160 * NS_PER_S
        assert (await check(home.database, home.store)).findings == []
        assert "recording-resumed" in await home.story(meeting)


async def test_killed_twice_then_over(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(length_s=100.0)
        await record_and_kill(home, meeting, 6)
        first = sum(path.stat().st_size for path in home.spool_dir.rglob("*.spool"))
        assert first > 0
        # The second life feeds from second 100 again; it records what it gets, discontinuous.
        await record_and_kill(home, meeting, 12)
        home.clock.now_ns += 200 * NS_PER_S
        async with home.service():
            await home.complete(meeting)
        assert (await home.recording(meeting)).state is RecordingState.COMPLETE
        await home.verify(meeting)
        assert not list(home.spool_dir.rglob("*.spool"))
        report = await check(home.database, home.store)
        assert report.findings == []
