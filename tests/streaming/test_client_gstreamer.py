"""The client against GStreamer's RTSP server: pictures and sound, counted after decoding."""

import contextlib
import itertools
from collections.abc import AsyncIterator

import av
import pytest

from media.clock import SystemClock
from media.stream import StreamId
from media.unit import AccessUnit, AudioTrack, Codec, Gap, GapCause, VideoTrack
from streaming.cameras import CameraState, CameraSupervisor, ReconnectSettings, SupervisorSettings
from streaming.errors import CredentialsRefusedError
from streaming.rtsp.settings import RtspSettings
from streaming.source import Transport
from tests.streaming.watching import GUARD, playing, source, until
from tests.support.gstreamer import GstCamera, gst_camera, require_gstreamer

pytestmark = pytest.mark.gstreamer

PASSWORD = "p@ss:w/rd汉字"
START = b"\0\0\0\1"
DECODERS = {Codec.H264: "h264", Codec.H265: "hevc", Codec.AAC: "aac", Codec.PCMA: "pcm_alaw"}


@pytest.fixture
async def camera() -> AsyncIterator[GstCamera]:
    require_gstreamer()
    async with gst_camera(auth="digest", password=PASSWORD) as running:
        yield running


def decoded_pictures(units: list[AccessUnit]) -> list[av.VideoFrame]:
    track = units[0].track
    assert isinstance(track, VideoTrack)
    decoder = av.CodecContext.create(DECODERS[track.codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    sets = b"".join(START + unit for unit in track.parameter_sets)
    frames = []
    for unit in units:
        nals, at = b"", 0
        while at < len(unit.data):
            size = int.from_bytes(unit.data[at : at + 4], "big")
            nals += START + unit.data[at + 4 : at + 4 + size]
            at += 4 + size
        frames += decoder.decode(av.Packet(sets + nals if unit.keyframe else nals))
    return [*frames, *decoder.decode(None)]


def decoded_seconds(units: list[AccessUnit]) -> float:
    track = units[0].track
    assert isinstance(track, AudioTrack)
    decoder = av.CodecContext.create(DECODERS[track.codec], "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = track.clock_rate, "mono"
    if track.config:
        decoder.extradata = track.config
    return sum(frame.samples for unit in units for frame in decoder.decode(av.Packet(unit.data))) / track.clock_rate


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize(
    ("mount", "video", "audio"), [("h264-pcma", Codec.H264, Codec.PCMA), ("h265-aac", Codec.H265, Codec.AAC)]
)
async def test_pictures_and_sound_decode(
    camera: GstCamera, mount: str, video: Codec, audio: Codec, transport: Transport
) -> None:
    wanted = source(camera.url(mount), user="admin", password=PASSWORD, transport=transport)
    async with playing(wanted, RtspSettings()) as (client, seen, running):
        await until(lambda: len(seen.pictures) >= 50 and len(seen.sounds) >= 20, wait_s=30)
        assert client.transport is transport
        assert not running.done()
    pictures, sounds = seen.pictures, seen.sounds
    assert not seen.gaps
    assert (pictures[0].track.codec, sounds[0].track.codec) == (video, audio)
    frames = decoded_pictures(pictures)
    assert len(frames) == len(pictures)
    assert all((frame.width, frame.height) == (320, 240) for frame in frames)
    # 25 pictures a second, steadily.
    steps = [(b.pts - a.pts) / 90_000 for a, b in itertools.pairwise(pictures)]
    assert sum(steps) / len(steps) == pytest.approx(0.04, abs=0.004)
    span_s = (sounds[-1].pts - sounds[0].pts + sounds[-1].duration) / sounds[0].track.clock_rate
    assert decoded_seconds(sounds) == pytest.approx(span_s, abs=0.15)
    # Sound and picture are on one timeline.
    assert abs(sounds[0].utc_ns - pictures[0].utc_ns) < 1_000_000_000


async def test_basic_log_in() -> None:
    async with gst_camera(auth="basic", password="secret") as camera:
        async with playing(source(camera.url("h264"), user="admin", password="secret"), RtspSettings()) as (_, seen, _):
            await until(lambda: len(seen.pictures) >= 10, wait_s=30)
        with pytest.raises(CredentialsRefusedError):
            async with playing(source(camera.url("h264"), user="admin", password="wrong"), RtspSettings()):
                pass


async def test_a_wrong_password_is_refused(camera: GstCamera) -> None:
    with pytest.raises(CredentialsRefusedError):
        async with playing(source(camera.url("h264"), user="admin", password="wrong"), RtspSettings()):
            pass


async def test_a_camera_that_restarts_is_found_again() -> None:
    settings = SupervisorSettings(reconnect=ReconnectSettings(first_s=0.2, longest_s=0.5))
    async with contextlib.AsyncExitStack() as stack:
        async with gst_camera(auth="digest", password=PASSWORD) as first:
            wanted = source(first.url("h264-pcma"), user="admin", password=PASSWORD)
            cameras = await stack.enter_async_context(CameraSupervisor(SystemClock(), GUARD, settings))
            await cameras.apply([wanted])
            stream = cameras.stream(StreamId("hall"))
            assert stream is not None
            reader = stack.enter_context(stream.read_units("test"))
            await until(lambda: cameras.statuses()[0].state is CameraState.ONLINE, wait_s=30)
        await until(lambda: cameras.statuses()[0].state is CameraState.OFFLINE, wait_s=30)
        # The same port and password, yet a new realm, nonce, session, SSRC and timestamps.
        async with gst_camera(port=first.port, auth="digest", password=PASSWORD):
            await until(lambda: cameras.statuses()[0].state is CameraState.ONLINE, wait_s=30)
            await until(lambda: stream.last_keyframe is not None and stream.last_keyframe.epoch > 0, wait_s=30)
        items = await reader.take()
    gaps = [item for item in items if isinstance(item, Gap)]
    assert [gap.cause for gap in gaps] == [GapCause.DISCONNECTED]
    pictures = [item for item in items if isinstance(item, AccessUnit) and item.track.id == 1]
    assert [unit.dts for unit in pictures] == sorted(unit.dts for unit in pictures)
    assert pictures[0].epoch < pictures[-1].epoch
