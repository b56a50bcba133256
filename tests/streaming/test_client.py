"""The client against cameras that do what cameras do."""

import asyncio
import dataclasses
import logging

import pytest

from media.clock import SystemClock
from media.unit import Codec
from streaming.errors import (
    CameraDisconnectedError,
    CameraRedirectError,
    CameraRefusedError,
    CameraSilentError,
    CredentialsMissingError,
    CredentialsRefusedError,
    SessionLostError,
    TransportRefusedError,
)
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.client import RtspClient
from streaming.secret import Secret
from streaming.source import Transport
from tests.streaming.watching import GUARD, QUICK, playing, source, until
from tests.support.clocks import FakeClock
from tests.support.fake_camera import Behaviour, fake_camera

WEIRD = "p@ss:w/rd汉字"


def protected(password: str = WEIRD, clock: FakeClock | None = None, **options: object) -> ServerAuthenticator:
    return ServerAuthenticator("摄像机", lambda user: Secret(password), clock or FakeClock(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("video", [Codec.H264, Codec.H265])
async def test_picture_and_sound_come(video: Codec, transport: Transport) -> None:
    async with fake_camera(Behaviour(video=video)) as camera:
        async with playing(source(camera.url, transport=transport)) as (client, seen, _):
            await until(lambda: len(seen.pictures) > 20 and len(seen.sounds) > 20)
            assert client.transport is transport
            assert seen.pictures[0].keyframe
            assert seen.pictures[0].track.codec is video
            assert not seen.gaps
        await until(lambda: len(camera.asked("TEARDOWN")) == 1)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(one_byte_writes=True),
        Behaviour(play_answer_after=20),
        Behaviour(play_answer_after=-1),
        Behaviour(answered_channels="6-7", sound=False),
        Behaviour(answered_channels="0-1"),
        Behaviour(channel_shift=8),
        Behaviour(between_frames=b"\r\n"),
        Behaviour(between_frames=b"\0garbage$Rx"),
        Behaviour(session="no timeout here"),
        Behaviour(session="a;timeout=never"),
        Behaviour(statuses={"OPTIONS": 501}),
    ],
    ids=[
        "one-byte writes",
        "media before the answer to PLAY",
        "no answer to PLAY",
        "other channels than asked for",
        "two media on one channel",
        "channels nobody agreed on",
        "line breaks between frames",
        "garbage between frames",
        "session without timeout",
        "session with a timeout that is no number",
        "no OPTIONS",
    ],
)
async def test_careless_cameras_play(behaviour: Behaviour) -> None:
    async with fake_camera(behaviour) as camera, playing(source(camera.url)) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 20 and (len(seen.sounds) > 20 or not behaviour.sound))
        assert not seen.gaps
        assert not running.done()


@pytest.mark.parametrize(
    ("asked", "refused", "got"),
    [(Transport.TCP, "tcp", Transport.UDP), (Transport.UDP, "udp", Transport.TCP)],
)
async def test_a_refused_transport_is_answered_with_the_other(asked: Transport, refused: str, got: Transport) -> None:
    behaviour = Behaviour(refuse=frozenset({refused}))
    async with fake_camera(behaviour) as camera, playing(source(camera.url, transport=asked)) as (client, seen, _):
        await until(lambda: len(seen.pictures) > 10)
        assert client.transport is got


async def test_no_transport_at_all() -> None:
    async with fake_camera(Behaviour(refuse=frozenset({"tcp", "udp"}))) as camera:
        with pytest.raises(TransportRefusedError):
            async with playing(source(camera.url)):
                pass


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("MD5", "SHA-256"), ()])
async def test_log_in_with_a_difficult_password(algorithms: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    behaviour = Behaviour(authenticator=protected(algorithms=algorithms))
    camera_source = None
    async with fake_camera(behaviour) as camera:
        camera_source = source(camera.url, user="admin", password=WEIRD)
        async with playing(camera_source) as (client, seen, _):
            await until(lambda: len(seen.pictures) > 5)
            assert WEIRD not in repr(client.source)
    assert WEIRD not in repr(camera_source)
    assert WEIRD not in caplog.text


async def test_a_wrong_password_is_tried_no_more_than_needed() -> None:
    async with fake_camera(Behaviour(authenticator=protected())) as camera:
        with pytest.raises(CredentialsRefusedError) as caught:
            async with playing(source(camera.url, user="admin", password="wrong")):
                pass
        assert len([request for request in camera.requests if "Authorization" in request.headers]) == 1
        assert "wrong" not in f"{caught.value!r}{caught.value.params}"


async def test_a_log_in_is_asked_for_and_none_is_set() -> None:
    async with fake_camera(Behaviour(authenticator=protected())) as camera:
        with pytest.raises(CredentialsMissingError):
            async with playing(source(camera.url)):
                pass


async def test_a_nonce_that_gets_old_in_mid_session() -> None:
    clock = FakeClock()
    behaviour = Behaviour(authenticator=protected(clock=clock, nonce_lifetime_s=60), session="1;timeout=2")
    async with (
        fake_camera(behaviour) as camera,
        playing(source(camera.url, user="admin", password=WEIRD)) as (_, _, running),
    ):
        clock.advance(100)
        await until(lambda: len(camera.asked("GET_PARAMETER")) >= 2)
        assert not running.done()


async def test_a_password_changed_in_mid_session_ends_nothing_and_locks_no_account() -> None:
    behaviour = Behaviour(authenticator=protected(), session="1;timeout=2")
    async with (
        fake_camera(behaviour) as camera,
        playing(source(camera.url, user="admin", password=WEIRD)) as (client, seen, running),
    ):
        await until(lambda: len(camera.asked("GET_PARAMETER")) >= 1)
        behaviour.authenticator, behaviour.options_protected = protected("new"), True
        told = len(camera.requests)
        # The session goes on, for as long as the camera likes; nobody knocks more than once in each way.
        await until(lambda: client.keeps_alive_no_more)
        before = len(seen.pictures)
        await until(lambda: len(seen.pictures) > before + 60)
        assert not running.done()
        # Each time once with the nonce of before, and once with the one that was given in its place.
        assert len(camera.requests) - told <= 4
        behaviour.silent = True
        with pytest.raises(CameraSilentError):
            await asyncio.wait_for(running, 10)


@pytest.mark.parametrize(
    ("public", "method"),
    [("OPTIONS, GET_PARAMETER", "GET_PARAMETER"), ("OPTIONS, DESCRIBE", "OPTIONS")],
)
async def test_the_session_is_kept_alive_by_its_timeout(public: str, method: str) -> None:
    behaviour = Behaviour(public=public, session="abc;timeout=2")
    async with fake_camera(behaviour) as camera, playing(source(camera.url)):
        before = len(camera.asked(method))
        await until(lambda: len(camera.asked(method)) >= before + 2)
        assert camera.asked(method)[-1].headers.get("Session") == "abc"


async def test_a_keep_alive_that_is_not_known_becomes_options() -> None:
    behaviour = Behaviour(statuses={"GET_PARAMETER": 501}, session="abc;timeout=2")
    async with fake_camera(behaviour) as camera, playing(source(camera.url)) as (_, _, running):
        await until(lambda: len(camera.asked("OPTIONS")) >= 2)
        assert len(camera.asked("GET_PARAMETER")) == 1
        assert not running.done()


async def test_a_session_the_camera_forgot() -> None:
    patient = dataclasses.replace(QUICK, silence_s=60.0, forgotten_s=0.3)
    behaviour = Behaviour(statuses={"GET_PARAMETER": 454}, session="abc;timeout=2")
    async with fake_camera(behaviour) as camera, playing(source(camera.url), patient) as (_, _, running):
        await until(lambda: len(camera.asked("GET_PARAMETER")) >= 1)
        behaviour.silent = True
        with pytest.raises(SessionLostError):
            await asyncio.wait_for(running, 10)


async def test_a_camera_that_knows_no_session_and_goes_on_sending() -> None:
    behaviour = Behaviour(statuses={"GET_PARAMETER": 454}, session="abc;timeout=2")
    async with fake_camera(behaviour) as camera, playing(source(camera.url)) as (_, seen, running):
        asked = len(camera.asked("OPTIONS"))
        await until(lambda: len(camera.asked("OPTIONS")) >= asked + 2)
        before = len(seen.pictures)
        await until(lambda: len(seen.pictures) > before + 20)
        assert not running.done()
        assert len(camera.asked("GET_PARAMETER")) == 1


async def test_silence_is_noticed() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, playing(source(camera.url)) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 5)
        behaviour.silent = True
        with pytest.raises(CameraSilentError) as caught:
            await asyncio.wait_for(running, 10)
        assert float(caught.value.params["seconds"]) >= 0.6


async def test_sound_alone_does_not_pass_for_a_living_camera() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, playing(source(camera.url)) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 5)
        behaviour.mute = frozenset({1})
        with pytest.raises(CameraSilentError):
            await asyncio.wait_for(running, 10)


async def test_packets_that_never_make_a_picture() -> None:
    quick = dataclasses.replace(QUICK, first_picture_s=1.0)
    # Every packet says it is a middle fragment: well-formed RTP, and no picture.
    behaviour = Behaviour(payload=lambda packet: packet[:12] + b"\x7c\x05" + packet[14:], sound=False)
    async with fake_camera(behaviour) as camera, playing(source(camera.url), quick) as (_, seen, running):
        with pytest.raises(CameraSilentError):
            await asyncio.wait_for(running, 10)
        assert not seen.pictures


async def test_pictures_that_end_while_packets_go_on() -> None:
    """A camera that was told to send another codec does so in the session it has, and says nothing."""
    quick = dataclasses.replace(QUICK, no_picture_s=1.0)
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, playing(source(camera.url), quick) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 20)
        # The heads of H.265's fragments, where H.264's were.
        behaviour.payload = lambda packet: packet[:12] + b"\x62\x01\x13" + packet[15:]
        with pytest.raises(CameraSilentError):
            await asyncio.wait_for(running, 10)


async def test_options_behind_the_log_in() -> None:
    behaviour = Behaviour(authenticator=protected(), options_protected=True, session="1;timeout=2")
    async with (
        fake_camera(behaviour) as camera,
        playing(source(camera.url, user="admin", password=WEIRD)) as (_, seen, running),
    ):
        await until(lambda: len(camera.asked("GET_PARAMETER")) >= 1)
        assert seen.pictures
        assert not running.done()


def test_silence_is_noticed_within_ten_seconds_by_default() -> None:
    settings = type(QUICK)()
    assert settings.silence_s + settings.tick_s < 10


async def test_a_camera_that_goes_away() -> None:
    async with fake_camera() as camera, playing(source(camera.url)) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 5)
        await camera.stop()
        with pytest.raises(CameraDisconnectedError):
            await asyncio.wait_for(running, 10)


@pytest.mark.parametrize("transport", list(Transport))
async def test_receiver_reports_are_sent(transport: Transport) -> None:
    async with fake_camera() as camera, playing(source(camera.url, transport=transport)) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 20)
        if transport is Transport.TCP:
            await until(lambda: len(camera.reports) >= 2)
            # RFC 3550, 6.4.2: version 2, packet type 201.
            assert all(report[0] >> 6 == 2 and report[1] == 201 for report in camera.reports)
        assert not running.done()


async def test_garbage_in_rtp_is_counted_and_ends_as_silence() -> None:
    behaviour = Behaviour(payload=lambda packet: b"\x17" * len(packet))
    async with fake_camera(behaviour) as camera, playing(source(camera.url)) as (_, seen, running):
        with pytest.raises(CameraSilentError):
            await asyncio.wait_for(running, 10)
        assert not seen.units


async def test_a_redirect_is_followed_and_bounded() -> None:
    async with fake_camera() as target:
        moved = Behaviour(statuses={"DESCRIBE": 302}, location=target.url)
        async with fake_camera(moved) as camera, playing(source(camera.url)) as (client, seen, _):
            await until(lambda: len(seen.pictures) > 5)
            assert client.url == target.url
    circle = Behaviour(statuses={"DESCRIBE": 302})
    async with fake_camera(circle) as camera:
        circle.location = camera.url
        with pytest.raises(CameraRedirectError) as caught:
            async with playing(source(camera.url)):
                pass
        assert caught.value.params["reason"] == "too-often"
        assert camera.connections <= QUICK.max_redirects + 1


async def test_a_clear_password_is_not_carried_to_another_host() -> None:
    behaviour = Behaviour(authenticator=protected(algorithms=()))
    async with fake_camera(behaviour) as target:
        moved = Behaviour(statuses={"DESCRIBE": 302}, location=target.url.replace("127.0.0.1", "localhost"))
        async with fake_camera(moved) as camera:
            with pytest.raises(CredentialsRefusedError):
                async with playing(source(camera.url, user="admin", password=WEIRD)):
                    pass
        assert not [request for request in target.requests if "Authorization" in request.headers]


async def test_sound_that_cannot_be_set_up_is_left_out() -> None:
    async with fake_camera(Behaviour()) as camera:
        description_only = RtspClient(source(camera.url), SystemClock(), GUARD, QUICK)
        async with description_only as client:
            await client.connect()
            description = await client.describe()
            assert [media.kind for media in description.media] == ["video", "audio"]
        assert not camera.asked("SETUP")
        assert not camera.asked("TEARDOWN")


@pytest.mark.parametrize("sound_first", [False, True])
@pytest.mark.parametrize("status", [0, 400, 454, 455, 459, 461, 500])
async def test_a_camera_that_does_not_give_its_sound_gives_its_picture(status: int, sound_first: bool) -> None:
    quick = dataclasses.replace(QUICK, answer_s=0.5)
    behaviour = Behaviour(refused_tracks={2: status}, sound_first=sound_first)
    async with fake_camera(behaviour) as camera, playing(source(camera.url), quick) as (client, seen, running):
        await until(lambda: len(seen.pictures) > 20)
        assert not seen.sounds
        assert not running.done()
        assert client.transport is Transport.TCP


@pytest.mark.parametrize("sound_first", [False, True])
async def test_a_camera_that_does_not_give_its_picture_is_refused_whatever_its_sound(sound_first: bool) -> None:
    behaviour = Behaviour(refused_tracks={1: 453}, sound_first=sound_first)
    async with fake_camera(behaviour) as camera:
        with pytest.raises(CameraRefusedError) as caught:
            async with playing(source(camera.url)):
                pass
        assert caught.value.params["status"] == 453
