"""What is known of a segment: the facts that are hashed, stored in the object's row, and played from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from media.unit import AUDIO_TRACK_ID, VIDEO_TRACK_ID


@dataclass(frozen=True, slots=True)
class TrackRange:
    """One track's bytes of a segment: ``offset`` and ``length`` in the object, ``dts`` and ``duration`` in ticks of
    the track's clock rate, ``sha256`` (hex) of the bytes."""

    track_id: int
    offset: int
    length: int
    dts: int
    duration: int
    samples: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One whole segment. ``period`` counts within the recording; ``discontinuity`` is true where time or tracks do
    not run on from the segment before; ``chain`` (hex) is the hash chain after this segment, see recorder.chain."""

    sequence: int
    period: int
    start_utc_ns: int
    duration_ns: int
    discontinuity: bool
    tracks: tuple[TrackRange, ...]
    chain: str

    @property
    def end_utc_ns(self) -> int:
        """Where its longest track ends, Unix nanoseconds."""
        return self.start_utc_ns + self.duration_ns

    def track(self, track_id: int) -> TrackRange | None:
        """The range of a track, or None where the segment has nothing of it."""
        return next((item for item in self.tracks if item.track_id == track_id), None)

    @property
    def video(self) -> TrackRange | None:
        """The video track's range."""
        return self.track(VIDEO_TRACK_ID)

    @property
    def audio(self) -> TrackRange | None:
        """The sound track's range."""
        return self.track(AUDIO_TRACK_ID)

    def to_json(self) -> dict[str, Any]:
        """As kept in the object's row, in the manifest and in the spool."""
        return {
            "sequence": self.sequence,
            "period": self.period,
            "start_utc_ns": self.start_utc_ns,
            "duration_ns": self.duration_ns,
            "discontinuity": self.discontinuity,
            "tracks": [
                {
                    "track": item.track_id,
                    "offset": item.offset,
                    "length": item.length,
                    "dts": item.dts,
                    "duration": item.duration,
                    "samples": item.samples,
                    "sha256": item.sha256,
                }
                for item in self.tracks
            ],
            "chain": self.chain,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SegmentFacts":
        """The reverse of :meth:`to_json`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            sequence=int(value["sequence"]),
            period=int(value["period"]),
            start_utc_ns=int(value["start_utc_ns"]),
            duration_ns=int(value["duration_ns"]),
            discontinuity=bool(value["discontinuity"]),
            tracks=tuple(
                TrackRange(
                    track_id=int(item["track"]),
                    offset=int(item["offset"]),
                    length=int(item["length"]),
                    dts=int(item["dts"]),
                    duration=int(item["duration"]),
                    samples=int(item["samples"]),
                    sha256=str(item["sha256"]),
                )
                for item in value["tracks"]
            ),
            chain=str(value["chain"]),
        )
