"""Segments, tracks and periods as JSON, the same in the spool, in manifests and in rows."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from media.unit import AudioTrack, Codec, Track, VideoTrack
from storage.records import StoredSegment, TrackRange


def segment_to_json(segment: StoredSegment) -> dict[str, Any]:
    """All facts of a segment."""
    return {**segment._asdict(), "ranges": [item._asdict() for item in segment.ranges]}


def segment_from_json(value: Mapping[str, Any]) -> StoredSegment:
    """The reverse of :func:`segment_to_json`. Raises KeyError or TypeError on anything else."""
    ranges = tuple(TrackRange(**item) for item in value["ranges"])
    return StoredSegment(**{**value, "ranges": ranges})


def track_to_json(track: Track) -> dict[str, Any]:
    """A track's description; octets as base64."""
    common = {"id": track.id, "codec": track.codec.value, "clock_rate": track.clock_rate}
    if isinstance(track, VideoTrack):
        sets = [base64.b64encode(item).decode() for item in track.parameter_sets]
        return {**common, "kind": "video", "width": track.width, "height": track.height, "parameter_sets": sets}
    config = base64.b64encode(track.config).decode()
    return {**common, "kind": "audio", "channels": track.channels, "config": config}


def track_from_json(value: Mapping[str, Any]) -> Track:
    """The reverse of :func:`track_to_json`. Raises KeyError, TypeError or ValueError on anything else."""
    if value["kind"] == "video":
        return VideoTrack(
            codec=Codec(value["codec"]),
            parameter_sets=tuple(base64.b64decode(item) for item in value["parameter_sets"]),
            width=value["width"],
            height=value["height"],
            clock_rate=value["clock_rate"],
            id=value["id"],
        )
    return AudioTrack(
        codec=Codec(value["codec"]),
        clock_rate=value["clock_rate"],
        channels=value["channels"],
        config=base64.b64decode(value["config"]),
        id=value["id"],
    )


def tracks_to_json(tracks: Sequence[Track]) -> list[dict[str, Any]]:
    """What ``RecordingPeriod.tracks`` holds."""
    return [track_to_json(track) for track in tracks]


def tracks_from_json(value: Sequence[Mapping[str, Any]]) -> tuple[Track, ...]:
    """The reverse of :func:`tracks_to_json`."""
    return tuple(track_from_json(item) for item in value)
