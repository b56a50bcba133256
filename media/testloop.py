"""A stretch of test media, encoded once, kept in a file, and played round and round with times that go on growing."""

import base64
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from media.errors import ContainerError
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, Track, VideoTrack

_VERSION = 2
_UNIT = struct.Struct("!BBqqII")
_MAX_LOOP_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TestLoop:
    """``units`` are in order, their times counted from 0; after ``duration_ns`` the first may follow the last."""

    __test__ = False

    tracks: tuple[Track, ...]
    units: tuple[AccessUnit, ...]
    duration_ns: int

    def play(self, start_utc_ns: int, origin_utc_ns: int) -> Iterator[AccessUnit]:
        """The units with times from ``start_utc_ns`` on, without end. Pacing is the caller's."""
        turn_ns = start_utc_ns
        while True:
            base = {t.id: (turn_ns - origin_utc_ns) * t.clock_rate // NS_PER_S for t in self.tracks}
            for unit in self.units:
                shift = base[unit.track.id]
                yield AccessUnit(
                    unit.track,
                    unit.pts + shift,
                    unit.dts + shift,
                    unit.utc_ns + turn_ns,
                    unit.data,
                    unit.keyframe,
                    unit.duration,
                )
            turn_ns += self.duration_ns


def make_loop(settings: TestSourceSettings, seconds: int) -> TestLoop:
    """Encode ``seconds`` of test media, a whole number of GOPs. Blocks for about a quarter of that time at 1080p."""
    source = TestSource(settings)
    units = []
    open_tracks = {track.id for track in source.tracks}
    for unit in source.units(0):
        if unit.utc_ns >= seconds * NS_PER_S:
            open_tracks.discard(unit.track.id)
            if not open_tracks:
                break
        elif unit.utc_ns >= 0:
            units.append(unit)
    return TestLoop(source.tracks, tuple(units), seconds * NS_PER_S)


def cached_loop(path: Path, settings: TestSourceSettings, seconds: int) -> TestLoop:
    """The loop kept in ``path``; made and written there first if it is missing or was made with other settings."""
    signature = json.dumps({"version": _VERSION, "seconds": seconds, **asdict(settings)}, sort_keys=True)
    try:
        return _read(path, signature)
    except (OSError, ContainerError):
        loop = make_loop(settings, seconds)
        _write(path, signature, loop)
        return loop


def _write(path: Path, signature: str, loop: TestLoop) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"signature": signature, "tracks": [_track_to_json(track) for track in loop.tracks]})
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(header.encode() + b"\n")
        for unit in loop.units:
            head = _UNIT.pack(unit.track.id, unit.keyframe, unit.pts, unit.dts, unit.duration, len(unit.data))
            file.write(head + unit.data)
    Path(name).replace(path)


def _read(path: Path, signature: str) -> TestLoop:
    if path.stat().st_size > _MAX_LOOP_BYTES:
        raise ContainerError("the loop file is too large")
    header, _, body = path.read_bytes().partition(b"\n")
    try:
        facts = json.loads(header)
        tracks = {int(entry["id"]): _track_from_json(entry) for entry in facts["tracks"]}
        if facts["signature"] != signature:
            raise ContainerError("the loop was made with other settings")
        units = tuple(_read_units(body, tracks))
        seconds = int(json.loads(signature)["seconds"])
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise ContainerError("not a loop file") from error
    return TestLoop(tuple(tracks[number] for number in sorted(tracks)), units, seconds * NS_PER_S)


def _read_units(body: bytes, tracks: dict[int, Track]) -> Iterator[AccessUnit]:
    at = 0
    while at < len(body):
        number, keyframe, pts, dts, duration, size = _UNIT.unpack_from(body, at)
        at += _UNIT.size
        track = tracks[number]
        utc_ns = pts * NS_PER_S // track.clock_rate
        yield AccessUnit(track, pts, dts, utc_ns, body[at : at + size], bool(keyframe), duration)
        at += size


def _track_to_json(track: Track) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": track.id, "codec": track.codec.value, "clock_rate": track.clock_rate}
    if isinstance(track, VideoTrack):
        sets = [base64.b64encode(nal).decode() for nal in track.parameter_sets]
        return {**facts, "sets": sets, "width": track.width, "height": track.height}
    return {**facts, "channels": track.channels, "config": track.config.hex()}


def _track_from_json(facts: dict[str, Any]) -> Track:
    codec, rate = Codec(facts["codec"]), int(facts["clock_rate"])
    if "sets" in facts:
        sets = tuple(base64.b64decode(text) for text in facts["sets"])
        return VideoTrack(codec, sets, int(facts["width"]), int(facts["height"]), rate)
    return AudioTrack(codec, rate, int(facts["channels"]), bytes.fromhex(facts["config"]))
