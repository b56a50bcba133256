"""``kill -9`` in the middle of a meeting: real processes, real signals, and the next start puts it right."""

import asyncio
from pathlib import Path

import pytest

from media.unit import NS_PER_S
from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, meeting_resumed
from tests.recorder.house import house
from tests.support.encoded import ORIGIN_NS
from tests.support.recorder_process import RecorderProcess

LIFE_S = 1000.0
"""On the timeline, from one life's first media to the next one's."""


async def test_killed_again_and_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments) -> None:
    async with house(tmp_path, QUICK) as home:
        meeting = await home.plan(length_s=LIFE_S * (moments.count + 2))
        begun = home.camera.second
        promised = []
        for number, chance in enumerate(moments):
            life = RecorderProcess(tmp_path, meeting, begun + number * LIFE_S)
            life.start()
            for _ in range(chance.randrange(5)):
                await asyncio.to_thread(life.hear)
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            await asyncio.to_thread(life.kill)
            promised.append(life.written)
        home.camera.second = begun + moments.count * LIFE_S
        home.camera.epoch = 1 << 20
        home.clock.now_ns += round(moments.count * LIFE_S * NS_PER_S)
        async with meeting_resumed(home, caplog, meeting) as scene:
            await scene.goes_on()
            assert "recording-resumed" in await home.story(meeting)
            await scene.ends()
        gaps = await scene.is_whole()
        assert {gap.cause for gap in gaps} <= {"service-down", "not-started"}
        segments = await scene.segments()
        for number, written in enumerate(promised):
            if written is None:
                continue
            first = ORIGIN_NS + round((begun + number * LIFE_S) * NS_PER_S)
            kept = [item for item in segments if first <= item.start_utc_ns < first + LIFE_S * NS_PER_S]
            octets = sum(part.size for item in kept for part in item.ranges)
            assert octets >= written.octets, f"life {number}: what had left the process is kept to the last octet"
            assert kept[-1].end_utc_ns >= written.media_end_ns
