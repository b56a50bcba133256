"""The probe: its steps, what it finds, and what it advises."""

import asyncio
import dataclasses
from contextlib import aclosing

import av
import pytest

from media.clock import SystemClock
from media.unit import Codec
from streaming.probe import Outcome, ProbeSettings, ProbeStage, ProbeStep, probe
from streaming.rtsp.sdp import write_sdp
from streaming.source import CameraSource, Transport
from tests.streaming.watching import GUARD, QUICK, source, until
from tests.support.fake_camera import Behaviour, fake_camera, media_loop, plain_server
from tests.support.gstreamer import gst_camera

SETTINGS = ProbeSettings(
    picture_s=5.0, measure_s=4.0, clock_s=0.3, rtsp=dataclasses.replace(QUICK, silence_s=3.0, answer_s=1.0)
)
G726_SOUND = b"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 G726-16/8000\r\na=control:track2\r\n"


async def steps_of(camera: CameraSource, settings: ProbeSettings = SETTINGS) -> list[ProbeStep]:
    async with asyncio.timeout(40):
        return [step async for step in probe(camera, SystemClock(), GUARD, settings)]


def ended(steps: list[ProbeStep]) -> dict[ProbeStage, ProbeStep]:
    return {step.stage: step for step in steps if step.outcome is not Outcome.RUNNING}


def advice(steps: list[ProbeStep]) -> dict[str, dict[str, str | int | float]]:
    return {one.code: one.params for step in ended(steps).values() for one in step.advice}


async def test_a_good_camera_passes_every_step() -> None:
    async with fake_camera() as camera:
        steps = await steps_of(source(camera.url))
        await until(lambda: len(camera.asked("TEARDOWN")) == 1)
    assert list(ended(steps)) == list(ProbeStage)
    found = ended(steps)
    for stage in ProbeStage:
        begun = next(step for step in steps if step.stage is stage)
        assert begun.outcome is Outcome.RUNNING
    # This camera sends no sender reports: its clock stays unknown.
    assert found[ProbeStage.CLOCK].outcome is Outcome.SKIPPED
    assert {found[stage].outcome for stage in ProbeStage if stage is not ProbeStage.CLOCK} == {Outcome.OK}
    facts = found[ProbeStage.PICTURE].facts
    assert (facts["codec"], facts["width"], facts["height"]) == ("h264", 320, 180)
    assert facts["gop_s"] == pytest.approx(1.0, abs=0.05)
    assert facts["fps"] == pytest.approx(25, abs=1.5)
    assert facts["packets_lost"] == 0
    assert found[ProbeStage.SOUND].facts == {"codec": "pcma", "rate": 8000, "channels": 1}
    assert found[ProbeStage.DESCRIBE].facts == {"transport": "tcp", "video": "H264", "audio": "PCMA"}
    jpeg = found[ProbeStage.PICTURE].still
    assert jpeg is not None
    frame = next(iter(av.CodecContext.create("mjpeg", "r").decode(av.Packet(jpeg))))
    assert (frame.width, frame.height) == (320, 180)
    early = [step for step in steps if step.stage is ProbeStage.PICTURE and step.outcome is Outcome.RUNNING][-1]
    assert early.still == jpeg


async def test_no_sound_and_h265_are_said() -> None:
    async with fake_camera(Behaviour(video=Codec.H265, sound=False)) as camera:
        steps = await steps_of(source(camera.url))
    assert set(advice(steps)) == {"no-sound", "h265-players"}
    assert ended(steps)[ProbeStage.SOUND].outcome is Outcome.WARNING


async def test_sound_nobody_takes_is_said() -> None:
    behaviour = Behaviour(sound=False)
    async with fake_camera(behaviour) as camera:
        behaviour.sdp = write_sdp([media_loop(Codec.H264, False)[0].track]).encode() + G726_SOUND
        steps = await steps_of(source(camera.url))
    assert advice(steps) == {"sound-unsupported": {"encoding": "G726-16"}}


async def test_a_long_gop_a_low_rate_and_another_transport_are_said() -> None:
    behaviour = Behaviour(stretch=5, sound=False, refuse=frozenset({"udp"}))
    slow = dataclasses.replace(SETTINGS, measure_s=7.0)
    async with fake_camera(behaviour) as camera:
        steps = await steps_of(source(camera.url, transport=Transport.UDP), slow)
    given = advice(steps)
    assert given["transport-changed"] == {"asked": "UDP", "got": "TCP"}
    assert given["fps-low"]["fps"] == pytest.approx(5, abs=1)
    assert given["gop-long"]["gop_s"] == pytest.approx(5, abs=0.6)
    assert given["gop-long"]["advised_s"] == 2.0


async def test_a_gop_longer_than_was_watched_passes_for_a_smart_codec() -> None:
    settings = dataclasses.replace(SETTINGS, measure_s=2.0, long_gop_s=0.5, smart_gop_s=1.0)
    async with fake_camera(Behaviour(stretch=3, sound=False)) as camera:
        steps = await steps_of(source(camera.url), settings)
    assert {"smart-codec", "gop-long"} <= set(advice(steps))


@pytest.mark.parametrize(
    ("behaviour", "stage", "code"),
    [
        (Behaviour(statuses={"DESCRIBE": 404}), ProbeStage.LOGIN, "camera-path-not-found"),
        (Behaviour(sdp=b"v=0\r\n"), ProbeStage.LOGIN, "camera-no-media"),
        (Behaviour(statuses={"PLAY": 454}), ProbeStage.DESCRIBE, "camera-session-lost"),
        (Behaviour(silent=True), ProbeStage.PICTURE, "camera-silent"),
    ],
)
async def test_a_failed_step_is_the_last(behaviour: Behaviour, stage: ProbeStage, code: str) -> None:
    async with fake_camera(behaviour) as camera:
        steps = await steps_of(source(camera.url))
    assert (steps[-1].stage, steps[-1].outcome) == (stage, Outcome.FAILED)
    assert steps[-1].problem is not None
    assert steps[-1].problem.code == code


async def test_what_cannot_be_reached() -> None:
    async with plain_server(b"SSH-2.0-x\r\n") as port:
        for url, code in (
            (f"rtsp://127.0.0.1:{port}/", "camera-not-rtsp"),
            ("rtsp://169.254.169.254/", "address-refused"),
            ("http://127.0.0.1/", "url-invalid"),
        ):
            steps = await steps_of(source(url))
            assert (steps[-1].stage, steps[-1].outcome) == (ProbeStage.REACH, Outcome.FAILED)
            assert steps[-1].problem is not None
            assert steps[-1].problem.code == code


async def test_leaving_a_probe_early_lets_the_camera_go() -> None:
    before = asyncio.all_tasks()
    async with fake_camera() as camera:
        async with aclosing(probe(source(camera.url), SystemClock(), GUARD, SETTINGS)) as steps:
            async for step in steps:
                if step.stage is ProbeStage.PICTURE:
                    break
        await until(lambda: len(camera.asked("TEARDOWN")) == 1)
    assert asyncio.all_tasks() == before


@pytest.mark.gstreamer
async def test_a_clock_that_is_right() -> None:
    async with gst_camera() as camera:
        steps = await steps_of(source(camera.url("h264-aac")), ProbeSettings(measure_s=4.0))
    clock = ended(steps)[ProbeStage.CLOCK]
    assert clock.outcome is Outcome.OK
    assert abs(int(clock.facts["offset_ms"])) < 1_000
    assert ended(steps)[ProbeStage.SOUND].facts["codec"] == "aac"
