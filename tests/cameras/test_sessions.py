"""Cameras whose sessions end as no session should, and cameras that come back as another one."""

import dataclasses
import itertools
from collections.abc import Iterable

import pytest

from media.unit import NS_PER_S, AudioTrack, Codec, Gap, GapCause
from tests.streaming.watching import QUICK, source, until
from tests.support.camera_on_the_wire import SETTINGS, recorded
from tests.support.fake_camera import Behaviour, fake_camera


async def test_a_session_that_falls_silent_without_closing() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        await until(lambda: recording.pictures() > 20)
        behaviour.silent = True
        await until(lambda: recording.problem == "camera-silent")
        behaviour.silent = False
        await until(lambda: recording.online)
        before = recording.pictures()
        await until(lambda: recording.pictures() > before + 20)
        assert [gap.cause for gap in recording.gaps] == [GapCause.SILENT]
        assert camera.connections >= 2
        assert len(recording.kept.periods) == 1
        assert any(start.discontinuity for start in recording.kept.starts)


async def test_a_picture_that_falls_silent_while_sound_goes_on() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        await until(lambda: recording.pictures() > 20)
        behaviour.mute = frozenset({1})
        await until(lambda: recording.problem == "camera-silent")
        behaviour.mute = frozenset()
        await until(lambda: recording.online)
        before = recording.pictures()
        await until(lambda: recording.pictures() > before + 20)
        assert GapCause.SILENT in {gap.cause for gap in recording.gaps}


async def test_a_picture_that_stays_away_while_sound_goes_on_is_missing_all_the_time() -> None:
    behaviour = Behaviour()
    patient = dataclasses.replace(SETTINGS, rtsp=dataclasses.replace(QUICK, silence_s=4.0))
    async with fake_camera(behaviour) as camera, recorded(source(camera.url), patient) as recording:
        await until(lambda: recording.pictures() > 20)
        behaviour.mute = frozenset({1})
        # On record while it lasts, not only once the camera has been called again.
        await until(lambda: any(gap.cause is GapCause.SILENT and gap.detail == "video" for gap in recording.gaps))
        assert recording.online
        await until(lambda: recording.problem == "camera-silent")
        behaviour.mute = frozenset()
        await until(lambda: recording.online)
        before = recording.pictures()
        await until(lambda: recording.pictures() > before + 20)
        shown = sorted(sample.shown_ns for sample in recording.kept.shown(1))
        (hole,) = [later - earlier for earlier, later in itertools.pairwise(shown) if later - earlier > NS_PER_S]
        assert abs(missing_ns(recording.gaps) - hole) < NS_PER_S // 4


def missing_ns(gaps: Iterable[Gap]) -> int:
    """How much time the gaps tell of, none of it twice."""
    missing = at = 0
    for gap in sorted(gaps, key=lambda gap: gap.start_utc_ns):
        missing += max(0, gap.end_utc_ns - max(at, gap.start_utc_ns))
        at = max(at, gap.end_utc_ns)
    return missing


@pytest.mark.parametrize("cut_within", [1, 2, 3, 4, 10, 100], ids=lambda n: f"after {n} bytes")
async def test_a_connection_cut_inside_of_a_frame(cut_within: int) -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        await until(lambda: recording.pictures() > 10)
        behaviour.cut_within = cut_within
        await until(lambda: camera.connections == 2 and recording.online)
        before = recording.pictures()
        await until(lambda: recording.pictures() > before + 10)
        assert [gap.cause for gap in recording.gaps] == [GapCause.DISCONNECTED]
        assert len(recording.kept.periods) == 1


async def test_a_camera_that_comes_back_with_another_codec_is_a_new_period() -> None:
    behaviour = Behaviour(video=Codec.H264)
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        await until(lambda: recording.pictures() > 20)
        await camera.stop()
        await until(lambda: not recording.online)
        behaviour.video = Codec.H265
        await camera.start()
        await until(lambda: len(recording.kept.periods) == 2 and recording.pictures(1) > 20)
        await camera.stop()
        await until(lambda: not recording.online)
        behaviour.video = Codec.H264
        await camera.start()
        await until(lambda: len(recording.kept.periods) == 3 and recording.pictures(2) > 20)
        assert recording.codecs() == ["h264", "h265", "h264"]
        assert [gap.cause for gap in recording.gaps] == [GapCause.DISCONNECTED] * 2
        firsts = {start.period.number: start for start in reversed(recording.kept.starts)}
        assert [firsts[number].discontinuity for number in range(3)] == [False, True, True]


async def test_a_camera_that_comes_back_without_sound() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        await until(lambda: recording.pictures() > 10)
        await camera.stop()
        await until(lambda: not recording.online)
        behaviour.sound = False
        await camera.start()
        await until(lambda: len(recording.kept.periods) == 2 and recording.pictures(1) > 10)
        assert len(recording.kept.tracks(AudioTrack)) == 1
        assert [gap.cause for gap in recording.gaps] == [GapCause.DISCONNECTED]


async def test_a_camera_that_hangs_up_again_and_again() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        for times in range(1, 5):
            await until(lambda times=times: camera.connections == times and recording.online)  # type: ignore[misc]
            before = recording.pictures()
            await until(lambda before=before: recording.pictures() > before + 12)  # type: ignore[misc]
            behaviour.cut_within = 7
        # A gap is on record when the picture after it is.
        await until(lambda: camera.connections == 5 and len(recording.gaps) >= 4)
        assert [gap.cause for gap in recording.gaps] == [GapCause.DISCONNECTED] * 4
