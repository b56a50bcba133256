"""The bench's count of access units: nothing is lost where all is there, and what is left out is counted."""

import dataclasses
from pathlib import Path

import pytest

from bench.recorded_units import count_units
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import Part
from media.testloop import TestLoop
from media.unit import NS_PER_S, AccessUnit, Codec
from tests.support.encoded import g711_units, interleave, video_units

SECONDS = 4


def loop() -> TestLoop:
    """Four seconds of picture and sound, no two pictures alike."""
    pictures = [
        dataclasses.replace(unit, data=unit.data[:-2] + number.to_bytes(2, "big"))
        for number, unit in enumerate(video_units(Codec.H264, frames=25 * SECONDS, gop=25))
    ]
    units = tuple(interleave(pictures, g711_units(seconds=SECONDS)))
    tracks = {unit.track.id: unit.track for unit in units}
    return TestLoop((tracks[1], tracks[2]), units, SECONDS * NS_PER_S)


def store(folder: Path, units: list[AccessUnit]) -> None:
    """As one object of a recording."""
    segmenter = Segmenter(SegmenterSettings(), first_sequence=1)
    events = [event for unit in units for event in segmenter.push(unit)] + segmenter.flush()
    media = b"".join(chunk.data for event in events if isinstance(event, Part) for chunk in event.chunks.values())
    path = folder / "objects" / "recordings" / "one" / "000000.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(media)


@pytest.mark.parametrize(("track", "missing"), [(1, 0), (1, 1), (1, 7), (2, 1), (2, 3)])
def test_what_is_left_out_is_counted(tmp_path: Path, track: int, missing: int) -> None:
    played = loop()
    of_track = [unit for unit in played.units if unit.track.id == track]
    left_out = {id(unit) for unit in of_track[30 : 30 + missing]}
    units = [unit for unit in played.units if id(unit) not in left_out]
    store(tmp_path, units)
    counted = count_units(tmp_path / "objects", tmp_path / "spool", played)
    assert (counted.on_record, counted.lost, counted.strange) == (len(units), missing, 0)


def test_what_the_camera_did_not_send_is_strange(tmp_path: Path) -> None:
    played = loop()
    units = list(played.units)
    at = next(place for place, unit in enumerate(units) if unit.track.id == 1 and place > 40)
    other = units[at]
    units[at] = AccessUnit(other.track, other.pts, other.dts, other.utc_ns, other.data[:-1] + b"?", other.keyframe)
    store(tmp_path, units)
    counted = count_units(tmp_path / "objects", tmp_path / "spool", played)
    assert (counted.lost, counted.strange) == (1, 1)
