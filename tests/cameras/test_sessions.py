"""Cameras whose sessions end as no session should, and cameras that come back as another one."""

import pytest

from media.unit import AudioTrack, Codec, GapCause
from tests.streaming.watching import source, until
from tests.support.camera_on_the_wire import recorded
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
