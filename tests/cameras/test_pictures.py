"""Cameras whose pictures are packed as no standard says: slices, repeated times, no pictures at all."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise

import av
import numpy as np
import pytest

from media.codecs import annexb
from media.description import MediaDescription
from media.packetizer import nal_units
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, Codec, VideoTrack
from tests.support.camera_simulator import HALL, BadCamera, Kept, described, keep, looped_hall, stamped
from tests.support.invariants import all_is_kept, holds, in_place, in_sync
from tests.support.misbehaviour import jitter, mark
from tests.support.rtp_feed import START_NS, make_units, sliced_units

LONGEST_S = 9.0
DELIMITER, END, SEI = b"\x09\xf0", b"\x0a", b"\x06\x05\x11" + bytes(range(1, 18)) + b"\x80"
BOTH = pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])


def nal_data(*nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def pictures_of(units: Iterable[AccessUnit]) -> list[AccessUnit]:
    return [unit for unit in units if isinstance(unit.track, VideoTrack)]


def hall(codec: Codec = Codec.H264, seconds: float = 6.0, settings: TestSourceSettings = HALL) -> list[AccessUnit]:
    """Pictures as the encoder made them, and sound with its time in it."""
    units = encoded(replace(settings, video=codec), LONGEST_S if settings is HALL else seconds)
    end_ns = START_NS + round(seconds * NS_PER_S)
    return [unit for unit in stamped(units, pictures=False) if unit.utc_ns < end_ns]


@cache
def encoded(settings: TestSourceSettings, seconds: float) -> tuple[AccessUnit, ...]:
    return tuple(make_units(settings, seconds))


def sizes(kept: Kept) -> list[tuple[int, int]]:
    return [(track.width, track.height) for track in kept.tracks(VideoTrack) if isinstance(track, VideoTrack)]


MARKERS: dict[str, Callable[[int], bool]] = {"on every packet": lambda n: True, "never": lambda n: False}


@pytest.mark.parametrize("marker", [None, *MARKERS])
async def test_several_slices_a_picture_whatever_the_marker_says(marker: str | None) -> None:
    changes = () if marker is None else (mark(MARKERS[marker]),)
    kept = await keep(BadCamera(sliced_units(), changes))
    holds(kept, lasted_s=2)
    all_is_kept(kept)
    in_place(kept, within_ns=60_000_000)


@pytest.mark.parametrize("marker", [None, *MARKERS])
async def test_several_slices_and_a_timestamp_repeated_for_the_next_picture(marker: str | None) -> None:
    units = sliced_units()
    for number in range(1, len(units), 2):
        units[number] = replace(units[number], pts=units[number - 1].pts)
    changes = () if marker is None else (mark(MARKERS[marker]),)
    kept = await keep(BadCamera(units, changes))
    holds(kept, lasted_s=2)
    all_is_kept(kept)
    in_place(kept, within_ns=100_000_000)


@BOTH
async def test_timestamps_of_milliseconds_that_repeat(codec: Codec) -> None:
    units = [
        replace(unit, pts=unit.pts // 7200 * 7200) if unit.track.id == 1 else unit for unit in hall(codec, seconds=6)
    ]
    kept = await keep(BadCamera(units, (jitter(0.01),)))
    holds(kept, lasted_s=6)
    all_is_kept(kept)
    in_place(kept, within_ns=120_000_000)


async def test_units_of_nothing_but_delimiters_and_sei() -> None:
    """Each has a timestamp and a marker of its own, as if it were a picture."""
    units: list[AccessUnit] = []
    for unit in looped_hall(HALL, 8.0):
        if isinstance(unit.track, VideoTrack):
            early = unit.utc_ns - 2_000_000
            for ticks, data in ((200, nal_data(DELIMITER)), (100, nal_data(SEI)), (50, nal_data(DELIMITER, SEI))):
                units.append(replace(unit, pts=unit.pts - ticks, utc_ns=early, data=data, keyframe=False))
        units.append(unit)
    kept = await keep(BadCamera(units))
    holds(kept, lasted_s=8)
    shown = kept.shown(1)
    stamps = [unit.utc_ns for unit in pictures_of(units) if len(unit.data) > 100]
    assert [sample.shown_ns - START_NS for sample in shown] == pytest.approx(
        [stamp - START_NS for stamp in stamps], abs=60_000_000
    )
    assert kept.gaps == []
    assert {later.shown_ns - earlier.shown_ns for earlier, later in pairwise(shown)} == {40_000_000}


async def test_a_delimiter_and_an_end_of_sequence_in_each_picture() -> None:
    units = list(looped_hall(HALL, 6.0))
    noisy = [
        replace(unit, data=nal_data(DELIMITER) + unit.data + nal_data(END)) if unit.track.id == 1 else unit
        for unit in units
    ]
    kept = await keep(BadCamera(noisy))
    holds(kept, lasted_s=6)
    all_is_kept(kept)
    in_sync(kept)


@BOTH
@pytest.mark.parametrize("depth", [1, 3])
async def test_b_frames(codec: Codec, depth: int) -> None:
    units = sorted(hall(codec, 4, replace(HALL, b_frames=depth)), key=lambda unit: unit.dts / unit.track.clock_rate)
    kept = await keep(BadCamera(units, (jitter(0.0),)))
    holds(kept, lasted_s=4)
    all_is_kept(kept)
    in_place(kept, within_ns=60_000_000)
    in_sync(kept)
    shown = [sample.shown_ns for sample in kept.shown(1)]
    assert shown != sorted(shown)
    steps = {later - earlier for earlier, later in pairwise(sorted(shown))}
    assert all(abs(step - 40_000_000) < 2_000_000 for step in steps)


@BOTH
async def test_parameter_sets_that_change_size_in_mid_stream(codec: Codec) -> None:
    small, large = hall(codec, seconds=9), hall(codec, 6, replace(HALL, width=640, height=360))
    units = [
        unit
        for part, from_s, to_s in ((small, 0, 3), (large, 3, 6), (small, 6, 9))
        for unit in part
        if START_NS + from_s * NS_PER_S <= unit.utc_ns < START_NS + to_s * NS_PER_S
    ]
    kept = await keep(BadCamera(units))
    holds(kept, lasted_s=9)
    all_is_kept(kept)
    assert sizes(kept) == [(320, 180), (640, 360), (320, 180)]
    assert [start.discontinuity for start in kept.starts] == [False, True, True]
    in_sync(kept)


async def test_parameter_sets_numbered_anew_with_each_keyframe() -> None:
    """As OpenH264 does: after the 31st they do not all fit into a file's header."""
    units = numbered_anew(33)
    kept = await keep(BadCamera(units))
    holds(kept, lasted_s=len(units) / 25)
    all_is_kept(kept)


def numbered_anew(keyframes: int, pictures: int = 3) -> list[AccessUnit]:
    units: list[AccessUnit] = []
    for number in range(keyframes):
        encoder = av.CodecContext.create("libx264", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": f"sps-id={number % 32}"}
        packets = []
        for at in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (number * pictures + at) % 251, np.uint8))
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        nals = [annexb.split(bytes(packet)) for packet in packets]
        track = VideoTrack(Codec.H264, tuple(nal for nal in nals[0] if nal[0] & 31 in (7, 8)), 64, 48)
        for packet, picture in zip(packets, nals, strict=True):
            ticks = len(units) * 3600
            data = nal_data(*(nal for nal in picture if nal[0] & 31 in (1, 5)))
            utc_ns = START_NS + ticks * NS_PER_S // 90_000
            units.append(AccessUnit(track, ticks, ticks, utc_ns, data, packet.is_keyframe))
    return list(stamped(units))


@BOTH
async def test_parameter_sets_that_come_only_in_the_description(codec: Codec) -> None:
    units = hall(codec)
    tracks = sorted({unit.track.id: unit.track for unit in units}.values(), key=lambda track: track.id)
    assert isinstance(tracks[0], VideoTrack)
    bare = replace(tracks[0], parameter_sets=())
    silent = [replace(unit, track=bare) if unit.track.id == 1 else unit for unit in units]
    kept = await keep(BadCamera(silent, tracks=[bare, *tracks[1:]], descriptions=described(tracks)))
    holds(kept, lasted_s=6)
    all_is_kept(kept)
    assert sizes(kept) == [(320, 180)]


@BOTH
async def test_parameter_sets_that_come_nowhere_until_later(codec: Codec) -> None:
    """Neither described nor sent in the first two seconds: sound is kept from the beginning, pictures once they can be
    shown."""
    units = hall(codec)
    tracks = sorted({unit.track.id: unit.track for unit in units}.values(), key=lambda track: track.id)
    assert isinstance(tracks[0], VideoTrack)
    bare = replace(tracks[0], parameter_sets=())
    begun = START_NS + 2 * NS_PER_S
    late = [replace(unit, track=bare) if unit.track.id == 1 and unit.utc_ns < begun else unit for unit in units]
    kept = await keep(BadCamera(late, tracks=[bare, *tracks[1:]]))
    holds(kept, lasted_s=6)
    assert [sample.true_ns for sample in kept.shown(1)] == [true_ns for true_ns in kept.sent[1] if true_ns >= begun]
    assert [sample.true_ns for sample in kept.shown(2)] == kept.sent[2]


@BOTH
async def test_a_gop_of_25_seconds(codec: Codec) -> None:
    kept = await keep(BadCamera(looped_hall(replace(HALL, video=codec, fps=5, gop_s=25.0), 60.0, loop_s=25.0)))
    holds(kept, lasted_s=60)
    all_is_kept(kept)
    in_sync(kept)
    assert [round(end.duration_ns / NS_PER_S, 1) for end in kept.ends[:2]] == [25.0, 25.0]
    parts = [part for _, part in kept.parts()]
    assert max(part.duration_ns for part in parts) <= 700_000_000


async def test_a_gop_without_end_is_cut_all_the_same() -> None:
    kept = await keep(BadCamera(looped_hall(replace(HALL, fps=5, gop_s=500.0), 100.0, loop_s=100.0)))
    holds(kept, lasted_s=100)
    all_is_kept(kept)
    assert all(end.duration_ns <= 41 * NS_PER_S for end in kept.ends)


async def test_mjpeg_beside_h264() -> None:
    units = list(looped_hall(HALL, 6.0))
    tracks = sorted({unit.track.id: unit.track for unit in units}.values(), key=lambda track: track.id)
    jpeg = MediaDescription("video", "JPEG", 26, 90_000)
    kept = await keep(BadCamera(units, descriptions=[*described(tracks), jpeg]))
    holds(kept, lasted_s=6)
    all_is_kept(kept)


@BOTH
@pytest.mark.parametrize("mtu", [500, 1_460, 9_000, 65_535])
async def test_packets_of_any_size(codec: Codec, mtu: int) -> None:
    units = hall(codec, 0.6, replace(HALL, width=640, height=360, bitrate=60_000_000, noise=100))
    assert max(max(map(len, nal_units(unit.data))) for unit in pictures_of(units)) > 65_535
    kept = await keep(BadCamera(units, mtu=mtu))
    holds(kept, lasted_s=0.6)
    all_is_kept(kept)
