"""The client against live555's RTSP server, which many cameras run: every picture and every sound, in order."""

from itertools import pairwise
from pathlib import Path

import av
import pytest

from media.codecs import annexb
from media.packetizer import nal_units
from media.unit import AccessUnit, AudioTrack, Codec, VideoTrack
from streaming.errors import CredentialsRefusedError
from streaming.rtsp.settings import RtspSettings
from streaming.source import Transport
from tests.streaming.watching import playing, source, until
from tests.support.encoded import picture_number, sound_units, video_units
from tests.support.live555 import live555_camera

USER, PASSWORD = "admin", "p@s:s/w%20rd汉字"
RATE = 16_000
SECONDS = 12


def byte_stream(units: list[AccessUnit]) -> bytes:
    """With start codes, parameter sets before each keyframe."""
    stream = b""
    for unit in units:
        assert isinstance(unit.track, VideoTrack)
        sets = unit.track.parameter_sets if unit.keyframe else ()
        stream += annexb.join([*sets, *nal_units(unit.data)])
    return stream


def adts(units: list[AccessUnit]) -> bytes:
    """Frames with ADTS headers (ISO/IEC 14496-3, 1.A.2.2): AAC LC, 16 kHz, mono."""
    stream = b""
    for unit in units:
        length = len(unit.data) + 7
        stream += bytes((0xFF, 0xF1, 0x60, 0x40 | length >> 11, length >> 3 & 255, (length & 7) << 5 | 0x1F, 0xFC))
        stream += unit.data
    return stream


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    pictures, sound = tmp_path / "camera.264", tmp_path / "camera.aac"
    pictures.write_bytes(byte_stream(video_units(frames=25 * SECONDS, gop=25)))
    sound.write_bytes(adts(sound_units(Codec.AAC, rate=RATE, seconds=SECONDS)))
    return pictures, sound


def shown(units: list[AccessUnit]) -> list[int]:
    """The numbers of the pictures."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = {"err_detect": "explode"}
    stream = [av.Packet(byte_stream([unit])) for unit in units]
    return [picture_number(frame) for packet in [*stream, None] for frame in decoder.decode(packet)]


@pytest.mark.parametrize("transport", list(Transport))
async def test_every_picture_and_every_sound_comes(files: tuple[Path, Path], transport: Transport) -> None:
    async with live555_camera(*files, USER, PASSWORD) as url:
        camera = source(url, user=USER, password=PASSWORD, transport=transport)
        async with playing(camera, RtspSettings()) as (client, seen, running):
            await until(lambda: len(seen.pictures) >= 75 and len(seen.sounds) >= 45, wait_s=40)
            assert client.transport is transport
            assert not running.done()
    assert not seen.gaps
    assert shown(seen.pictures) == list(range(len(seen.pictures)))
    assert {later.pts - earlier.pts for earlier, later in pairwise(seen.pictures)} <= {3599, 3600, 3601}
    track = seen.sounds[0].track
    assert isinstance(track, AudioTrack)
    assert (track.codec, track.clock_rate, track.channels) == (Codec.AAC, RATE, 1)
    assert {later.pts - earlier.pts for earlier, later in pairwise(seen.sounds)} == {1024}


async def test_a_wrong_password_is_refused(files: tuple[Path, Path]) -> None:
    async with live555_camera(*files, USER, PASSWORD) as url:
        with pytest.raises(CredentialsRefusedError):
            async with playing(source(url, user=USER, password=PASSWORD + "x"), RtspSettings()):
                pass
