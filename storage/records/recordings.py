"""Recordings: what of a meeting is stored, where its bytes lie, and what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from storage.records.base import Json

GENESIS_HASH = "0" * 64
"""Chain hash before a recording's first segment."""


class RecordingState(StrEnum):
    """recording → finishing (spool still drains) → complete; or failed."""

    RECORDING = "recording"
    FINISHING = "finishing"
    COMPLETE = "complete"
    FAILED = "failed"


class RecordingKind(StrEnum):
    """What was recorded: a camera, or what officials said into the room."""

    CAMERA = "camera"
    GUIDANCE = "guidance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One camera's recording of one meeting, or its recording of guidance: what was said into that camera's room.
    ``chain_head`` is the hash of its newest committed segment."""

    id: str
    meeting_id: str
    camera_id: str
    state: RecordingState = RecordingState.RECORDING
    started_utc_ns: int
    ended_utc_ns: int | None = None
    chain_head: str = GENESIS_HASH
    kind: RecordingKind = RecordingKind.CAMERA


@dataclass(frozen=True, slots=True)
class UnfinishedRecording:
    """As much of a recording that runs or drains as says what has to be done with it."""

    id: str
    meeting_id: str
    camera_id: str
    state: RecordingState
    kind: RecordingKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPeriod:
    """A stretch with one set of tracks. ``tracks`` describes them in JSON, ``init`` holds each track's init segment
    (``ftyp`` + ``moov`` of that track alone) by track id."""

    recording_id: str
    number: int
    tracks: Json
    init: Mapping[int, bytes]


class TrackRange(NamedTuple):
    """Where one track's bytes of a segment lie inside the object, and what they span.

    ``dts`` and ``duration`` are ticks of the track's clock rate. A tuple, as a segment is: the index of a long
    recording has thousands of them, and a player waits for it.
    """

    track_id: int
    offset: int
    size: int
    dts: int
    duration: int
    samples: int
    sha256: str


class StoredSegment(NamedTuple):
    """One segment inside an object. ``chain`` is the chain hash after it."""

    sequence: int
    start_utc_ns: int
    duration_ns: int
    discontinuity: bool
    ranges: tuple[TrackRange, ...]
    chain: str

    @property
    def end_utc_ns(self) -> int:
        """Where the segment ends, UTC Unix nanoseconds."""
        return self.start_utc_ns + self.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaObject:
    """One stored object of a recording: some segments of one period. ``number`` counts from 0 without holes."""

    recording_id: str
    number: int
    period: int
    key: str
    size: int
    sha256: str
    start_utc_ns: int
    end_utc_ns: int
    segments: tuple[StoredSegment, ...]
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRecord:
    """Media that is missing or damaged. ``end_utc_ns`` is None while it lasts. ``cause`` is a ``media.unit.GapCause``
    value. ``id`` is 0 until stored."""

    id: int = 0
    recording_id: str
    start_utc_ns: int
    end_utc_ns: int | None
    cause: str
    packets: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingTotals:
    """Counts over a recording's stored objects and gaps."""

    objects: int
    bytes: int
    first_utc_ns: int | None
    last_utc_ns: int | None
    gaps: int
