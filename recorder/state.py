"""What the recorder tells others about itself: settings in, states and counters out."""

import zlib
from collections import Counter
from dataclasses import dataclass, field

from media.unit import NS_PER_S

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """``max_bytes`` bounds the spool on disk; from ``warn_share`` of it on the operator is warned.
    ``max_pending_bytes`` bounds what waits in memory for the writer thread.

    With less than ``disk_warn_bytes`` free on a disk that matters the operator is warned, whatever the spool holds;
    with less than ``disk_reserve_bytes`` on the spool's own, new media is refused, so that what is there can still be
    stored and committed."""

    max_bytes: int = 20 * 1024 * MIB
    warn_share: float = 0.5
    max_pending_bytes: int = 256 * MIB
    disk_warn_bytes: int = 5 * 1024 * MIB
    disk_reserve_bytes: int = 512 * MIB


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """``concurrency`` objects are on their way at a time; a failed one is tried again after ``backoff_s``, doubled up
    to ``max_backoff_s``, less a random part of up to half."""

    concurrency: int = 4
    backoff_s: float = 0.5
    max_backoff_s: float = 60.0


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """An object is closed at the first segment end after ``object_s`` seconds or ``object_bytes`` bytes.

    The first object after a recording's start is shorter by up to ``stagger`` of that, by another share for each
    recording: on a theme day a county begins at the same minute, and must not store in the same second ever after.

    A camera without media for ``away_s`` counts as away. Holes up to ``tolerance_s`` are no gap. Lost packets less than
    ``merge_gaps_s`` apart, and jumps of the clock, become one row. A disk that refused to take media is tried again
    after ``disk_retry_s``.
    """

    object_s: float = 30.0
    object_bytes: int = 64 * MIB
    stagger: float = 0.5
    away_s: float = 5.0
    tolerance_s: float = 1.5
    merge_gaps_s: float = 2.0
    disk_retry_s: float = 10.0

    def object_ns(self, recording: str, *, first: bool) -> int:
        """After how much media an object of that recording is closed, in nanoseconds; the ``first`` has a share."""
        share = 1.0 - (self.stagger * (zlib.crc32(recording.encode()) % 1000) / 1000 if first else 0.0)
        return int(self.object_s * share * NS_PER_S)


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """All of the recorder's settings. ``reconcile_s`` is how often what should run is compared with what does; a
    planned meeting that starts more than ``late_s`` after its plan has the time until then on record as a gap.

    A meeting ends by itself ``end_grace_s`` after its planned end, and ``longest_s`` after its start where it has none
    (or was started after it). For ``settle_s`` after the machine's start its clock may still be wrong by hours and be
    set: until then no meeting ends by it that is not being recorded, and none was missed. Ending one waits until
    ``last_part_s`` after its end for the part that covers it, and up to ``end_wait_s`` more for its last object to be
    stored; leaving the service up to ``shutdown_s`` for all. ``retry_s`` is how soon gaps and story are tried again.
    Objects that wait longer than ``lag_warn_s`` for the store are told to the operator.
    """

    spool: SpoolSettings = field(default_factory=SpoolSettings)
    upload: UploadSettings = field(default_factory=UploadSettings)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    reconcile_s: float = 2.0
    late_s: float = 15.0
    end_grace_s: float = 0.0
    longest_s: float = 12 * 3600.0
    last_part_s: float = 2.0
    end_wait_s: float = 5.0
    shutdown_s: float = 5.0
    retry_s: float = 1.0
    lag_warn_s: float = 300.0
    settle_s: float = 300.0


@dataclass(frozen=True, slots=True)
class RecordingState:
    """One camera of a meeting now. Times are Unix nanoseconds; ``since_utc_ns`` is the first media recorded, None
    before it. ``away`` is true while the camera brings no media."""

    recording: str
    camera: str
    since_utc_ns: int | None
    last_part_utc_ns: int | None
    bytes: int
    segments: int
    away: bool


@dataclass(frozen=True, slots=True)
class LiveState:
    """A running meeting as its page shows it. ``spool_lag_s`` is the age of the oldest media not yet in the object
    store; ``warnings`` are codes for the catalogs (see ``RecorderService.warnings``)."""

    meeting: str
    recording_since_utc_ns: int | None
    last_part_utc_ns: int | None
    bytes: int
    spool_bytes: int
    spool_lag_s: float
    warnings: tuple[str, ...]
    recordings: tuple[RecordingState, ...]


@dataclass(slots=True)
class RecorderMetrics:
    """Counters and gauges for /metrics. Written by the recorder on its event loop only; everybody may read."""

    recordings: int = 0
    spool_bytes: int = 0
    spool_max_bytes: int = 0
    spool_pending_bytes: int = 0
    upload_lag_s: float = 0.0
    upload_queue: int = 0
    upload_retries: int = 0
    objects_stored: int = 0
    bytes_stored: int = 0
    segments: int = 0
    parts: int = 0
    parts_refused: int = 0
    overflows: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
