"""Cameras whose RTSP server answers as few servers do."""

import itertools
from dataclasses import replace
from functools import cache

import pytest

from media.clock import SystemClock
from media.packetizer import nal_units
from media.unit import AccessUnit, Codec
from streaming.rtsp.auth import ServerAuthenticator, Verdict
from streaming.rtsp.sdp import write_sdp
from streaming.secret import Secret
from streaming.source import Transport
from tests.streaming.watching import source, until
from tests.support.camera_on_the_wire import Recording, recorded
from tests.support.camera_simulator import HALL
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera, media_loop
from tests.support.rtp_feed import make_units

PASSWORD = "p@ss:w/rd汉字"


def secret(user: str) -> Secret:
    return Secret(PASSWORD)


def protected(*algorithms: str) -> ServerAuthenticator:
    return ServerAuthenticator("摄像机", secret, SystemClock(), algorithms=algorithms, allow_basic=False)


async def plays(recording: Recording) -> None:
    await until(lambda: recording.pictures() > 25)
    assert recording.gaps == []


class Restless(ServerAuthenticator):
    """Realm and nonce are others after each request that was let in, and nobody says that the old ones are stale."""

    def __init__(self, *algorithms: str) -> None:
        super().__init__("0", secret, SystemClock(), algorithms=algorithms, allow_basic=False)
        self._numbers = itertools.count(1)
        self._algorithms = algorithms
        self._now = protected(*algorithms)
        self.let_in = 0

    def challenges(self, *, stale: bool = False) -> list[str]:
        return self._now.challenges()

    def check(self, method: str, url: str, authorization: str | None) -> Verdict:
        verdict = self._now.check(method, url, authorization)
        if verdict.user is not None:
            self.let_in += 1
            realm = f"camera {next(self._numbers)}"
            self._now = ServerAuthenticator(
                realm, secret, SystemClock(), algorithms=self._algorithms, allow_basic=False
            )
        return verdict


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("SHA-256", "MD5")], ids=lambda names: "+".join(names))
async def test_a_digest_realm_and_nonce_that_change_with_each_request(algorithms: tuple[str, ...]) -> None:
    restless = Restless(*algorithms)
    behaviour = Behaviour(authenticator=restless, session="1;timeout=2")
    async with fake_camera(behaviour) as camera:
        async with recorded(source(camera.url, user="admin", password=PASSWORD)) as recording:
            await plays(recording)
            await until(lambda: len(camera.asked("GET_PARAMETER")) >= 2)
            assert camera.connections == 1
            # DESCRIBE, two SETUPs, PLAY and a keep-alive at least.
            await until(lambda: restless.let_in >= 5)


async def test_a_sha_256_digest_alone() -> None:
    async with fake_camera(Behaviour(authenticator=protected("SHA-256"))) as camera:
        async with recorded(source(camera.url, user="admin", password=PASSWORD)) as recording:
            await plays(recording)
        sent = [value for request in camera.requests if (value := request.headers.get("Authorization"))]
        assert sent
        assert all("algorithm=SHA-256" in value for value in sent)


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE"])
async def test_a_redirect(method: str) -> None:
    async with fake_camera(Behaviour(authenticator=protected("MD5"))) as target:
        nearer = Behaviour(statuses={method: 302}, location=target.url)
        async with fake_camera(nearer) as between:
            first = Behaviour(statuses={method: 301}, location=between.url)
            async with fake_camera(first) as camera:
                async with recorded(source(camera.url, user="admin", password=PASSWORD)) as recording:
                    await plays(recording)
                assert not camera.asked("SETUP")
                assert target.asked("PLAY")


@pytest.mark.parametrize("video", [Codec.H264, Codec.H265])
async def test_one_byte_writes(video: Codec) -> None:
    async with fake_camera(Behaviour(video=video, one_byte_writes=True)) as camera:
        async with recorded(source(camera.url)) as recording:
            await plays(recording)


async def test_rtp_before_the_answer_to_play() -> None:
    async with fake_camera(Behaviour(play_answer_after=30)) as camera, recorded(source(camera.url)) as recording:
        await plays(recording)


async def test_rtp_before_an_answer_to_play_that_comes_in_single_bytes() -> None:
    behaviour = Behaviour(play_answer_after=10, one_byte_writes=True)
    async with fake_camera(behaviour) as camera, recorded(source(camera.url)) as recording:
        await plays(recording)


def mjpeg_first(camera: FakeCamera) -> bytes:
    """The description with an MJPEG stream in front, as some encoders have it."""
    tracks = sorted({unit.track.id: unit.track for unit in media_loop()}.values(), key=lambda track: track.id)
    head, video, rest = write_sdp(tracks).partition("m=video")
    jpeg = "m=video 0 RTP/AVP 26\r\na=control:track9\r\na=sendonly\r\n"
    return (head + jpeg + video + rest).encode()


async def test_mjpeg_in_front_of_h264() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera:
        behaviour.sdp = mjpeg_first(camera)
        async with recorded(source(camera.url)) as recording:
            await plays(recording)
            assert recording.codecs() == ["h264"]
        assert [request.url[-6:] for request in camera.asked("SETUP")] == ["track1", "track2"]


@cache
def large_pictures() -> tuple[AccessUnit, ...]:
    settings = replace(HALL, audio=None, width=640, height=360, bitrate=30_000_000, noise=100)
    units = tuple(make_units(settings, 2.0))
    assert max(max(map(len, nal_units(unit.data))) for unit in units) > 65_535
    return units


@pytest.mark.parametrize(
    ("mtu", "transport"), [(65_535, Transport.TCP), (9_000, Transport.UDP), (1_460, Transport.TCP)]
)
async def test_packets_over_1400_bytes_and_up_to_64_kb(mtu: int, transport: Transport) -> None:
    behaviour = Behaviour(media=large_pictures(), mtu=mtu)
    async with fake_camera(behaviour) as camera:
        async with recorded(source(camera.url, transport=transport)) as recording:
            await plays(recording)
