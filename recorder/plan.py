"""What is to be recorded, and where a recording goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from media.fmp4 import init_segment
from media.segments import Period
from media.unit import GapCause
from recorder.spool_format import SpoolHeader
from storage.records import GENESIS_HASH


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """What is to be recorded. ``metadata`` goes to the store with each object. ``stream`` names the stream where it is
    not the camera's own. ``intermittent``: nothing is missing while nothing comes (guidance is spoken now and then)."""

    recording: str
    meeting: str
    camera: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream: str = ""
    intermittent: bool = False

    @property
    def source(self) -> str:
        """Whose stream is recorded: as ``streams`` knows it."""
        return self.stream or self.camera


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a recording goes on: the number of its next object, the hash chain so far, its next period, and since when
    media is missing and why (until the first that comes)."""

    number: int
    chain: str
    period: int
    missing_since_utc_ns: int
    cause: GapCause

    @classmethod
    def fresh(cls, start_utc_ns: int) -> "ResumePoint":
        """A recording that begins at ``start_utc_ns``."""
        return cls(0, GENESIS_HASH, 0, start_utc_ns, GapCause.NOT_STARTED)


def header_of(plan: RecordingPlan, start: ResumePoint, number: int, period: Period) -> SpoolHeader:
    """What the objects of a recording's ``number``-th period begin with, as if they were its first."""
    return SpoolHeader(
        recording=plan.recording,
        meeting=plan.meeting,
        camera=plan.camera,
        number=start.number,
        period=number,
        tracks=period.tracks,
        init=init_segment(period.tracks),
        track_init=period.init,
        metadata=plan.metadata,
        chain=start.chain,
    )
