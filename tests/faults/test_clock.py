"""The machine's clock is set, an hour on or back, in the middle of a meeting: it goes on, and the jump is on record."""

from pathlib import Path

import pytest

from media.unit import NS_PER_S, Gap, GapCause
from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, meeting_under_way
from tests.recorder.house import house

HOUR_S = 3600


async def test_the_clock_is_stepped_by_an_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments
) -> None:
    async with house(tmp_path, QUICK) as home:
        home.camera.second += 5 * HOUR_S
        home.clock.now_ns += 5 * HOUR_S * NS_PER_S
        async with meeting_under_way(home, caplog) as scene:
            for chance in moments:
                await scene.play(chance.uniform(0.0, 5.0))
                # Never further than some hours from the true time, as clocks go that are set and set right.
                back = home.clock.step_ns > 0 or (home.clock.step_ns == 0 and chance.random() < 0.5)
                step_s = (-1 if back else 1) * HOUR_S * chance.uniform(0.9, 1.1)
                before_ns = home.clock.utc_ns()
                home.clock.step_ns += round(step_s * NS_PER_S)
                home.camera.second += step_s
                # As a camera's session says it (streaming/camera_session.py): a new epoch, and what lies between.
                home.camera.epoch += 1
                assert home.camera.stream is not None
                after_ns = home.clock.utc_ns()
                home.camera.stream.publish(Gap(min(before_ns, after_ns), after_ns, GapCause.CLOCK_JUMP))
                await scene.goes_on()
            # However often within an hour, it is told once.
            await scene.play_until_told("clock-stepped")
            await scene.stored()
            await scene.desk.is_calm("clock-stepped")
            await scene.ends()
        gaps = await scene.is_whole()
        assert {gap.cause for gap in gaps} == {GapCause.CLOCK_JUMP.value}
        forward = [gap for gap in gaps if gap.end_utc_ns is not None and gap.end_utc_ns - gap.start_utc_ns > NS_PER_S]
        assert len(forward) >= 1
