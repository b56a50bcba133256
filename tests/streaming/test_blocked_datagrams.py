"""A camera set to UDP behind a firewall: it promises its media, and nothing arrives. TCP is taken by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from media.clock import SystemClock
from streaming.camera_session import ReconnectSettings
from streaming.cameras import CameraSource, CameraState, CameraStatus, CameraSupervisor, SupervisorSettings
from streaming.probe import Outcome, ProbeSettings, ProbeStage, probe
from streaming.rtsp.settings import RtspSettings
from streaming.source import Transport
from tests.streaming.watching import GUARD, QUICK, source, until
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera
from tests.support.firewall import no_datagrams
from tests.support.gstreamer import gst_camera

QUICK_UDP = replace(QUICK, silence_s=3.0, datagrams_s=0.6)
RECONNECT = ReconnectSettings(first_s=0.05, longest_s=0.2, steady_s=5.0)


@asynccontextmanager
async def supervisor(camera: CameraSource, rtsp: RtspSettings = QUICK_UDP) -> AsyncIterator[CameraSupervisor]:
    settings = SupervisorSettings(sample_s=0.1, reconnect=RECONNECT, rtsp=rtsp)
    async with CameraSupervisor(SystemClock(), GUARD, settings) as cameras:
        await cameras.apply([camera])
        yield cameras


def status(cameras: CameraSupervisor) -> CameraStatus:
    found = cameras.status("hall")
    assert found is not None
    return found


def offers(camera: FakeCamera) -> list[str]:
    """By which transport each session asked for the picture."""
    setups = [request.headers.get("Transport") or "" for request in camera.asked("SETUP")]
    return ["tcp" if "TCP" in setup else "udp" for setup in setups]


@pytest.mark.gstreamer
async def test_a_real_server_behind_a_firewall_comes_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    no_datagrams(monkeypatch)
    async with gst_camera() as camera:
        wanted = source(camera.url("h264-pcma"), transport=Transport.UDP)
        async with supervisor(wanted, RtspSettings()) as cameras:
            await until(lambda: status(cameras).state is CameraState.ONLINE, wait_s=60)
            found = status(cameras)
            assert found.transport is Transport.TCP
            assert found.advice is not None
            assert found.advice.code == "udp-blocked"
            assert found.problem is None
            await until(lambda: status(cameras).fps > 0, wait_s=30)


async def test_udp_that_comes_through_stays_udp() -> None:
    async with fake_camera() as camera, supervisor(source(camera.url, transport=Transport.UDP)) as cameras:
        await until(lambda: status(cameras).state is CameraState.ONLINE)
        assert status(cameras).transport is Transport.UDP
        assert status(cameras).advice is None


async def test_tcp_is_kept_over_a_reconnect_and_given_up_when_the_camera_is_set_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_datagrams(monkeypatch)
    wanted = None
    async with fake_camera(Behaviour(sound=False)) as camera:
        wanted = source(camera.url, transport=Transport.UDP)
        async with supervisor(wanted) as cameras:
            await until(lambda: status(cameras).state is CameraState.ONLINE)
            await camera.stop()
            await until(lambda: status(cameras).state is CameraState.OFFLINE)
            assert status(cameras).transport is None
            await camera.start()
            await until(lambda: status(cameras).state is CameraState.ONLINE)
            assert offers(camera) == ["udp", "tcp", "tcp"]
            monkeypatch.undo()
            await cameras.apply([replace(wanted, username="another")])
            await until(lambda: status(cameras).state is CameraState.ONLINE)
            assert offers(camera)[3:] == ["udp"]
            assert status(cameras).advice is None


async def test_a_voice_goes_the_way_that_the_picture_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a firewall takes the camera's datagrams it takes ours, too, and nobody would know that the room is deaf."""
    no_datagrams(monkeypatch)
    async with fake_camera(Behaviour(sound=False)) as camera:
        wanted = source(camera.url, transport=Transport.UDP)
        async with supervisor(wanted) as cameras:
            assert cameras.source("hall") == wanted
            await until(lambda: status(cameras).state is CameraState.ONLINE)
            assert cameras.source("hall") == replace(wanted, transport=Transport.TCP)
            assert cameras.source("nobody") is None


async def test_where_tcp_is_no_way_either_each_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    no_datagrams(monkeypatch)
    behaviour = Behaviour(sound=False, refuse=frozenset({"tcp"}))
    async with fake_camera(behaviour) as camera, supervisor(source(camera.url, transport=Transport.UDP)) as cameras:
        await until(lambda: status(cameras).problem is not None)
        problem = status(cameras).problem
        assert problem is not None
        assert problem.code == "camera-datagrams-missing"
        assert status(cameras).state is CameraState.SILENT
        behaviour.refuse = frozenset()
        await until(lambda: status(cameras).state is CameraState.ONLINE)
        assert status(cameras).transport is Transport.TCP


async def test_a_picture_too_large_for_the_way_while_its_sound_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound alone does not pass for a way that works, and what was missing is on record."""
    behaviour = Behaviour(mute=frozenset({1}))
    async with fake_camera(behaviour) as camera, supervisor(source(camera.url, transport=Transport.UDP)) as cameras:
        await until(lambda: "tcp" in offers(camera))
        behaviour.mute = frozenset()
        await until(lambda: any(track.id == 1 for track in status(cameras).tracks))
        assert status(cameras).transport is Transport.TCP
        assert status(cameras).reconnects == 1


async def test_a_probe_tries_tcp_too_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    no_datagrams(monkeypatch)
    settings = ProbeSettings(picture_s=5.0, measure_s=2.0, clock_s=0.3, rtsp=QUICK_UDP)
    async with fake_camera() as camera:
        wanted = source(camera.url, transport=Transport.UDP)
        steps = [step async for step in probe(wanted, SystemClock(), GUARD, settings)]
    ended = {step.stage: step for step in steps if step.outcome is not Outcome.RUNNING}
    assert list(ended) == list(ProbeStage)
    assert ended[ProbeStage.DESCRIBE].facts["transport"] == "tcp"
    assert [advice.code for advice in ended[ProbeStage.DESCRIBE].advice] == ["udp-blocked"]
    assert ended[ProbeStage.PICTURE].outcome is Outcome.OK
