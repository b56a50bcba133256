"""The test source says truly when its media was taken, and stays readable."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from media.errors import BitstreamError
from media.picture import still
from media.testloop import cached_loop, make_loop
from media.testpicture import TestPicture
from media.testsource import TestSource, TestSourceSettings, beep_starts, flash_visible, read_clock
from media.unit import NS_PER_S, AccessUnit, Codec, VideoTrack
from tests.support.clocks import FakeClock
from tests.support.content import beeps_of, decode_pictures
from tests.support.rtp_feed import START_NS, make_units, of_track


@pytest.mark.parametrize(
    ("codec", "width", "height", "bitrate"),
    [
        (Codec.H264, 1280, 720, 1_000_000),
        (Codec.H264, 640, 360, 200_000),
        (Codec.H265, 640, 360, 150_000),
        (Codec.H265, 1280, 720, 400_000),
    ],
)
def test_the_clock_survives_compression_and_scaling(codec: Codec, width: int, height: int, bitrate: int) -> None:
    units = make_units(TestSourceSettings(codec, None, width, height, 25, bitrate), 1.2)
    pictures = decode_pictures(units)
    assert len(pictures) == len(units)
    for unit, picture in zip(units, pictures, strict=True):
        expected = unit.utc_ns // 1_000_000
        colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
        for size in ((width, height), (480, 270), (427, 240), (1000, 600), (320, 180)):
            assert read_clock(cv2.resize(colour, size, interpolation=cv2.INTER_AREA)) == expected
        assert flash_visible(picture) == (expected % 1000 < 100)


def test_a_picture_without_a_clock_reads_as_none() -> None:
    chance = np.random.default_rng(1)
    noise = [chance.integers(0, 256, (360, 640), dtype=np.uint8) for _ in range(50)]
    assert sum(read_clock(picture) is not None for picture in noise) <= 2
    assert read_clock(np.zeros((360, 640), np.uint8)) is None
    assert read_clock(np.zeros((4, 4), np.uint8)) is None
    damaged = TestPicture(640, 360).draw(START_NS)[:360].copy()
    damaged[300:330, 100:140] = 255 - damaged[300:330, 100:140]
    assert read_clock(damaged) is None


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.PCMU, Codec.AAC, Codec.OPUS])
def test_beeps_begin_with_the_second(codec: Codec) -> None:
    units = of_track(make_units(TestSourceSettings(None, codec), 3.5), 2)
    beeps = beeps_of(units)
    assert len(beeps) == 3 or len(beeps) == 4
    assert all(abs(beep - round(beep)) < 0.015 for beep in beeps)


def test_beeps_are_found_where_they_are() -> None:
    rate = 8000
    line = np.zeros(rate * 2, np.int16)
    for start in (4000, 12_345):
        line[start : start + 800] = 10_000 * np.sin(np.arange(800) * 0.8)
    assert beep_starts(line, rate) == pytest.approx([0.5, 12_345 / rate], abs=0.002)
    assert beep_starts(np.zeros(rate, np.int16), rate) == []


def test_real_time_leaves_out_what_is_late() -> None:
    clock = FakeClock(START_NS)
    source = TestSource(TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, gop_s=1.0))
    seen: list[AccessUnit] = []
    for unit in source.units(START_NS, now=clock.utc_ns):
        seen.append(unit)
        if len(seen) == 20:
            clock.advance(10)
        if len(seen) == 40:
            break
    for number in (1, 2):
        times = [unit.utc_ns for unit in of_track(seen, number)]
        assert times == sorted(times)
        assert times[-1] >= START_NS + 9 * NS_PER_S


def test_a_still_is_a_small_jpeg_of_the_keyframe() -> None:
    unit = make_units(TestSourceSettings(Codec.H264, None, 1280, 720), 0.1)[0]
    assert isinstance(unit.track, VideoTrack)
    jpeg = still(unit.track, unit.data, 480)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (270, 480, 3)
    assert read_clock(picture) == unit.utc_ns // 1_000_000


def test_a_broken_keyframe_gives_an_error() -> None:
    unit = make_units(TestSourceSettings(Codec.H264, None, 320, 180), 0.1)[0]
    assert isinstance(unit.track, VideoTrack)
    with pytest.raises(BitstreamError):
        still(unit.track, b"\0\0\0\4junk")


def test_a_loop_is_made_once_and_plays_on(tmp_path: Path) -> None:
    settings = TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, gop_s=1.0)
    loop = make_loop(settings, 2)
    path = tmp_path / "loop.bin"
    assert cached_loop(path, settings, 2) == loop
    written = path.stat().st_mtime_ns
    assert cached_loop(path, settings, 2) == loop
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"rubbish")
    assert cached_loop(path, settings, 2) == loop

    played = loop.play(START_NS, START_NS)
    units = [next(played) for _ in range(len(loop.units) * 3)]
    for number, step in ((1, 3600), (2, 320)):
        pts = [unit.pts for unit in of_track(units, number)]
        assert pts == [step * n for n in range(len(pts))]
        assert all(u.utc_ns - START_NS == u.pts * NS_PER_S // u.track.clock_rate for u in of_track(units, number))
