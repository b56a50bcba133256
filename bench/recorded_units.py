"""Counts what is on record against what the camera sent, picture by picture.

The cameras of the bench play one loop round and round, and no two pictures of it are alike. So the pictures on record,
compared byte for byte, must run through the loop without leaving one out; how many they leave out is what was lost.
Sound comes in units of one length; what is missing of it is seen by decode times, and by units that last longer, since
the segmenter lets one last until the next begins.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from media.fmp4_read import read_fragments
from media.testloop import TestLoop
from media.unit import AUDIO_TRACK_ID, VIDEO_TRACK_ID
from recorder.spool_object import read_pieces
from recorder.spool_read import read_spool

TRACKS = (VIDEO_TRACK_ID, AUDIO_TRACK_ID)


@dataclass(slots=True)
class Counted:
    """Access units of all recordings: ``on_record``; ``lost`` between the first and the last of each; and ``strange``
    ones, which are nothing that the camera sent."""

    on_record: int = 0
    lost: int = 0
    strange: int = 0


@dataclass(slots=True)
class _Run:
    """One recording so far: the place in the loop of its newest picture, and where its sound ends."""

    picture: int = -1
    sound_end: int = -1
    counted: Counted = field(default_factory=Counted)


def _pieces(objects: Path, spool: Path) -> Iterator[dict[int, bytes]]:
    """Media of one recording by track, in order: of its objects, then of the spool files not yet stored."""
    stored = sorted(objects.glob("*.mp4"))
    for path in stored:
        data = path.read_bytes()
        yield dict.fromkeys(TRACKS, data)
    known = {path.stem for path in stored}
    for path in sorted(spool.glob("*.spool")):
        file = read_spool(path) if path.stem not in known else None
        for segment in file.segments if file is not None else ():
            yield {track: read_pieces(path, pieces) for track, pieces in segment.pieces.items()}


def _count(run: _Run, media: dict[int, bytes], places: dict[int, int], sound_ticks: int) -> None:
    counted = run.counted
    for sample in read_fragments(media.get(VIDEO_TRACK_ID, b""), VIDEO_TRACK_ID):
        place = places.get(zlib.crc32(sample.data))
        if place is None:
            counted.strange += 1
            continue
        if run.picture >= 0:
            counted.lost += (place - run.picture - 1) % len(places)
        run.picture = place
        counted.on_record += 1
    for sample in read_fragments(media.get(AUDIO_TRACK_ID, b""), AUDIO_TRACK_ID):
        # Times are slewed by a few ticks: half a unit is no unit.
        hole = sample.dts - run.sound_end if run.sound_end >= 0 else 0
        counted.lost += max(0, round((hole + sample.duration - sound_ticks) / sound_ticks))
        run.sound_end = sample.dts + sample.duration
        counted.on_record += 1


def count_units(objects: Path, spool: Path, loop: TestLoop) -> Counted:
    """Count all recordings of an object directory and a spool, both at rest. Blocks, for seconds a gigabyte."""
    pictures = [unit for unit in loop.units if unit.track.id == VIDEO_TRACK_ID]
    places = {zlib.crc32(unit.data): place for place, unit in enumerate(pictures)}
    if len(places) != len(pictures):
        raise ValueError("two pictures of the loop are alike")
    sound_ticks = next(unit.duration for unit in loop.units if unit.track.id == AUDIO_TRACK_ID)
    total = Counted()
    for folder in sorted(objects.glob("recordings/*")):
        run = _Run()
        for media in _pieces(folder, spool / folder.name):
            _count(run, media, places, sound_ticks)
        total.on_record += run.counted.on_record
        total.lost += run.counted.lost
        total.strange += run.counted.strange
    return total
