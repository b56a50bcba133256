"""A stream that brings sound and no picture is not a picture that is slow to come."""

import dataclasses

import pytest

from media.clock import SystemClock
from media.unit import Codec
from streaming import stream_session
from streaming.camera_status import CameraStatus
from streaming.cameras import CameraState, CameraSupervisor, ReconnectSettings, SupervisorSettings
from tests.streaming.watching import GUARD, QUICK, source, until
from tests.support.fake_camera import Behaviour, fake_camera

# Longer than the tests take: what is looked at is the picture, not what becomes of the connection.
PATIENT = dataclasses.replace(QUICK, silence_s=120.0, no_picture_s=120.0)
SETTINGS = SupervisorSettings(sample_s=0.1, reconnect=ReconnectSettings(first_s=0.05), rtsp=PATIENT)


def _status(cameras: CameraSupervisor) -> CameraStatus:
    found = cameras.status("hall")
    assert found is not None
    return found


async def test_a_camera_that_sends_sound_alone_is_one_after_a_while() -> None:
    async with (
        fake_camera(Behaviour(video=None)) as camera,
        CameraSupervisor(SystemClock(), GUARD, SETTINGS) as cameras,
    ):
        await cameras.apply([source(camera.url)])
        await until(lambda: _status(cameras).state is CameraState.ONLINE)
        assert not _status(cameras).picture_missing, "it is given a moment"
        await until(lambda: _status(cameras).picture_missing, wait_s=60)
        advice = _status(cameras).advice
        assert advice is not None
        assert advice.code == "sound-only"
        await camera.stop()
        await until(lambda: _status(cameras).state is CameraState.OFFLINE)
        assert not _status(cameras).picture_missing, "what is away sends nothing at all"


async def test_a_picture_that_ends_while_its_sound_goes_on_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_session, "NO_PICTURE_NS", 1_000_000_000)
    behaviour = Behaviour(video=Codec.H264)
    async with fake_camera(behaviour) as camera, CameraSupervisor(SystemClock(), GUARD, SETTINGS) as cameras:
        await cameras.apply([source(camera.url)])
        await until(lambda: len(_status(cameras).tracks) == 2)
        behaviour.mute = frozenset({1})
        await until(lambda: _status(cameras).picture_missing, wait_s=60)
        behaviour.mute = frozenset()
        await until(lambda: not _status(cameras).picture_missing, wait_s=60)
        assert _status(cameras).reconnects == 0
