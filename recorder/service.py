"""The recorder as a whole: meetings start and end, what they need is recorded, spooled, stored and committed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from media.clock import Clock
from media.stream import LiveStream
from recorder.state import LiveState, RecorderMetrics, RecorderSettings
from storage.records import StoredSegment

if TYPE_CHECKING:
    from storage.database import Database

    from storage.objects import ObjectStore


class RecorderService:
    """An async context manager: recovers what a crash cut off, then keeps recordings as meetings want them.

    ``streams`` gives a camera's main stream by camera id, or None while there is none.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        streams: Callable[[str], LiveStream | None],
        spool_dir: Path,
        clock: Clock,
        settings: RecorderSettings | None = None,
    ) -> None:
        self.metrics = RecorderMetrics()

    async def __aenter__(self) -> RecorderService:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what an operator should look at now: ``spool-half-full``, ``spool-full``, ``spool-damaged``,
        ``store-away``, ``database-away``."""
        return self.metrics.warnings

    async def start_meeting(self, meeting_id: str, by: str | None) -> None:
        """Start a meeting and its recordings now. ``by`` is a user id, None for the plan.

        Raises MeetingStateError unless the meeting is planned.
        """
        raise NotImplementedError

    async def end_meeting(self, meeting_id: str, by: str | None) -> None:
        """End a meeting and its recordings now. Returns when all is spooled, and, unless the store is away, stored.

        Raises MeetingStateError unless the meeting is running.
        """
        raise NotImplementedError

    def live_state(self, meeting_id: str) -> LiveState | None:
        """What a running meeting's page shows; None if it is not being recorded here."""
        return None

    async def spooled_segments(self, recording_id: str) -> tuple[tuple[int, StoredSegment], ...]:
        """Whole segments of a recording that are still in the spool, in order (those in rows may be among them), each
        with the number of its period.

        ``offset`` of their track ranges is where they will be in their object.
        """
        return ()

    async def read_spooled(self, recording_id: str, sequence: int, track_id: int) -> bytes | None:
        """A track's bytes of a spooled segment; None if it has left the spool (then its object is committed)."""
        return None
