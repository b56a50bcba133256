"""Pictures made plain, judged by what they show when they are decoded."""

import io
import itertools

import pytest

from media.codecs.h264 import H264Depacketizer
from media.packetizer import nal_units
from media.plain_picture import PlainEncoder, PlainSettings
from media.plain_wire import Picture, Plain, prefixed
from media.transcode_worker import work
from media.unit import AccessUnit, Codec, VideoTrack
from tests.support.content import decode_pictures
from tests.support.encoded import video_units


def picture(unit: AccessUnit, *, silent: bool = False, anew: bool = False) -> Picture:
    assert isinstance(unit.track, VideoTrack)
    sets = b"".join(map(prefixed, unit.track.parameter_sets)) if unit.keyframe else b""
    return Picture(unit.track.codec, unit.pts, unit.dts, unit.utc_ns, unit.epoch, sets + unit.data, silent, anew)


def units_of(made: list[Plain]) -> list[AccessUnit]:
    units, track = [], None
    for plain in made:
        if plain.sets:
            track = VideoTrack(Codec.H264, plain.sets, plain.width, plain.height)
        assert track is not None
        units.append(AccessUnit(track, plain.pts, plain.pts, plain.utc_ns, plain.data, plain.keyframe))
    return units


def numbers(made: list[Plain]) -> list[int]:
    found = []
    for shown in decode_pictures(units_of(made)):
        bar = shown.shape[1] // 16
        line = shown[shown.shape[0] // 2]
        found.append(sum(int(line[bar * n + bar // 2] > 128) << (15 - n) for n in range(16)))
    return found


@pytest.mark.parametrize(("codec", "b_frames"), [(Codec.H265, 0), (Codec.H265, 2), (Codec.H264, 2)])
def test_pictures_keep_their_order_and_their_times(codec: Codec, b_frames: int) -> None:
    units = video_units(codec, frames=40, gop=20, b_frames=b_frames)
    encoder = PlainEncoder(PlainSettings(gop_s=0.4))
    made = [plain for unit in units for plain in encoder.push(picture(unit))]
    assert len(made) >= 40 - 2 * b_frames
    shown = numbers(made)
    assert shown == list(range(len(made)))
    times = {unit.pts: unit.utc_ns for unit in units}
    first = min(times)
    assert [plain.pts for plain in made] == [first + 3600 * n for n in range(len(made))]
    assert all(times[plain.pts] == plain.utc_ns for plain in made)
    assert [n for n, plain in enumerate(made) if plain.keyframe] == list(range(0, len(made), 10))


def test_it_is_constrained_baseline_and_not_larger_than_asked() -> None:
    units = video_units(Codec.H265, frames=3, size=(640, 360))
    encoder = PlainEncoder(PlainSettings(max_height=180))
    made = [plain for unit in units for plain in encoder.push(picture(unit))]
    assert (made[0].width, made[0].height) == (320, 180)
    sps = made[0].sets[0]
    # profile_idc 66 with constraint_set1_flag (H.264, A.2.1.1).
    assert sps[1] == 66
    assert sps[2] & 0x40
    track = H264Depacketizer(made[0].sets).current_track()
    assert track is not None
    assert (track.width, track.height) == (320, 180)
    small = PlainEncoder().push(picture(video_units(frames=1, size=(176, 144))[0]))
    assert (small[0].width, small[0].height) == (176, 144)


def test_what_is_only_there_to_be_decoded_is_not_shown() -> None:
    units = video_units(Codec.H265, frames=20, gop=20)
    encoder = PlainEncoder()
    made = [plain for n, unit in enumerate(units) for plain in encoder.push(picture(unit, silent=n < 15))]
    assert made[0].keyframe
    assert numbers(made) == [15, 16, 17, 18, 19]


def test_more_pictures_a_second_than_asked_for_are_thinned_out() -> None:
    units = video_units(frames=50, fps=50)
    encoder = PlainEncoder(PlainSettings(max_fps=25))
    made = [plain for unit in units for plain in encoder.push(picture(unit))]
    assert numbers(made) == list(range(0, 50, 2))


def test_damage_costs_pictures_and_no_more() -> None:
    units = video_units(Codec.H265, frames=40, gop=20)
    encoder = PlainEncoder()
    made = []
    for n, unit in enumerate(units):
        source = picture(unit)
        if n in (5, 6):
            # Zeros where lengths should be, then octets that no encoder wrote.
            data = bytes(len(unit.data)) if n == 5 else unit.data[:8] + b"\xa5" * (len(unit.data) - 8)
            source = Picture(source.codec, source.pts, source.dts, source.utc_ns, source.epoch, data)
        made += encoder.push(source)
    assert numbers(made)[-20:] == list(range(20, 40))
    times = [plain.pts for plain in made]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_a_new_epoch_begins_with_a_keyframe_whatever_its_times() -> None:
    encoder = PlainEncoder()
    made = [p for unit in video_units(frames=3, start_s=100) for p in encoder.push(picture(unit))]
    again = video_units(frames=3, start_s=50, epoch=1)
    made += [p for n, unit in enumerate(again) for p in encoder.push(picture(unit, anew=n == 0))]
    assert [plain.keyframe for plain in made] == [True, False, False, True, False, False]


def test_the_worker_speaks_in_messages() -> None:
    units = video_units(Codec.H265, frames=5)
    out = io.BytesIO()
    work(PlainSettings(), io.BytesIO(b"".join(picture(unit).pack() for unit in units) + b"cut"), out)
    made, view, at = [], out.getvalue(), 0
    while at < len(view):
        head = view[at : at + Plain.HEADER.size]
        sets, data = Plain.sizes(head)
        at += len(head)
        nals = tuple(nal_units(view[at : at + sets]))
        made.append(Plain.read(head, nals, view[at + sets : at + sets + data]))
        at += sets + data
    assert numbers(made) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="not a picture"):
        work(PlainSettings(), io.BytesIO(b"\xff" * 100), out)
