"""What the recorder has to tell the database beside objects: gaps and the meeting's story, kept until it listens."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from media.unit import NS_PER_S, Gap, GapCause
from recorder.state import RecorderMetrics
from recorder.told import Told
from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError, StorageError
from storage.records import GapRecord, Json, StoryEntry

_log = logging.getLogger(__name__)

_BETWEEN_MEDIA = frozenset({GapCause.PACKETS_LOST.value, GapCause.CLOCK_JUMP.value})
"""Causes whose rows say that something is wrong within a stretch; the others say that nothing of it is there."""
_MAX_PENDING_STORY = 10_000
_MAX_PENDING_GAPS = 1_000
"""Per recording. Past it, while the database is away, a new gap is joined to the last one of its cause."""
_MOST_PACKETS = 2**31 - 1
"""What a row can say. A camera that counts wrongly gets there in hours; no gap of any room would be saved then."""


@dataclass(slots=True)
class _Entry:
    record: GapRecord
    dirty: bool = True


def _together(grown: GapRecord, row: GapRecord) -> GapRecord:
    """A gap that has grown, and the row that it is in, which may reach further."""
    end = grown.end_utc_ns
    if end is not None and row.end_utc_ns is not None:
        end = max(end, row.end_utc_ns)
    return replace(grown, id=row.id, start_utc_ns=min(grown.start_utc_ns, row.start_utc_ns), end_utc_ns=end)


class GapBook:
    """The gaps of one recording. Owned by the recording's task; saved by the ledger.

    Lost packets and clock jumps that lie close together become one row: a thin line otherwise gives one for each
    packet. Rows that say that nothing is there are joined where they meet, never over media.
    """

    def __init__(self, recording_id: str, merge_ns: int, metrics: RecorderMetrics) -> None:
        self.recording_id = recording_id
        self._merge_ns = merge_ns
        self._metrics = metrics
        self._entries: list[_Entry] = []
        self._open: _Entry | None = None

    @property
    def open_gap(self) -> GapRecord | None:
        """The gap that lasts, if one does."""
        return self._open.record if self._open is not None else None

    @property
    def dirty(self) -> bool:
        """Whether there is something to save."""
        return any(entry.dirty for entry in self._entries)

    def adopt(self, gap: GapRecord) -> None:
        """Go on with a gap that was open when the service stopped."""
        self._open = _Entry(gap, dirty=False)
        self._entries.append(self._open)

    def begin(self, start_utc_ns: int, cause: GapCause, detail: str = "") -> None:
        """Media is missing from now on. Nothing happens if a gap is open already; one of the same cause that has just
        been closed goes on."""
        if self._open is not None:
            return
        for entry in reversed(self._entries):
            old = entry.record
            if old.cause != cause.value or old.end_utc_ns is None:
                continue
            if old.start_utc_ns <= start_utc_ns <= old.end_utc_ns:
                entry.record = replace(old, end_utc_ns=None)
                entry.dirty = True
                self._open = entry
                return
        self._open = self._new(start_utc_ns, None, cause, 0, detail)

    def finish(self, end_utc_ns: int, cause: GapCause | None = None, detail: str = "") -> GapRecord | None:
        """Media is back; the cause may have become clear. The gap, None if none was open."""
        if self._open is None:
            return None
        entry, self._open = self._open, None
        old = entry.record
        entry.record = replace(
            old,
            end_utc_ns=max(end_utc_ns, old.start_utc_ns),
            cause=old.cause if cause is None else cause.value,
            detail=detail or old.detail,
        )
        entry.dirty = True
        return entry.record

    def explain(self, cause: GapCause, detail: str) -> None:
        """It has become clear why the open gap is."""
        if self._open is not None:
            self._open.record = replace(self._open.record, cause=cause.value, detail=detail)
            self._open.dirty = True

    def add(self, gap: Gap) -> GapRecord:
        """Take a gap that is over. What is on record now, which may be an earlier gap made longer."""
        for entry in reversed(self._entries):
            old = entry.record
            if old.cause != gap.cause.value or old.end_utc_ns is None:
                continue
            within_ns = self._merge_ns if old.cause in _BETWEEN_MEDIA else 0
            near = gap.start_utc_ns - old.end_utc_ns <= within_ns and old.start_utc_ns <= gap.end_utc_ns
            if near or len(self._entries) >= _MAX_PENDING_GAPS:
                entry.record = replace(
                    old,
                    start_utc_ns=min(old.start_utc_ns, gap.start_utc_ns),
                    end_utc_ns=max(old.end_utc_ns, gap.end_utc_ns),
                    packets=min(old.packets + gap.packets, _MOST_PACKETS),
                )
                entry.dirty = True
                return entry.record
            break
        return self._new(gap.start_utc_ns, gap.end_utc_ns, gap.cause, gap.packets, gap.detail).record

    def cover(self, start_utc_ns: int, end_utc_ns: int, cause: GapCause, detail: str = "") -> GapRecord:
        """Make sure that a hole is on record whole: a gap within it is stretched, else one is added."""
        for entry in reversed(self._entries):
            old = entry.record
            if old.end_utc_ns is None or old.end_utc_ns < start_utc_ns or old.start_utc_ns > end_utc_ns:
                continue
            only_meets = old.end_utc_ns <= start_utc_ns or end_utc_ns <= old.start_utc_ns
            if only_meets and old.cause != cause.value and old.cause not in _BETWEEN_MEDIA:
                continue
            return self._stretch(entry, start_utc_ns, end_utc_ns)
        return self._new(start_utc_ns, end_utc_ns, cause, 0, detail).record

    def miss(self, start_utc_ns: int, end_utc_ns: int, cause: GapCause) -> None:
        """Put on record that nothing of this stretch is there, where no gap says so yet: no time is named twice."""
        for start, end in self._unnamed(start_utc_ns, end_utc_ns):
            for entry in reversed(self._entries):
                old = entry.record
                if old.cause == cause.value and old.start_utc_ns <= end and start <= (old.end_utc_ns or start):
                    self._stretch(entry, start, end)
                    break
            else:
                self._new(start, end, cause, 0, "")

    def _unnamed(self, start: int, end: int) -> list[tuple[int, int]]:
        pieces = []
        for entry in sorted(self._entries, key=lambda item: item.record.start_utc_ns):
            known = entry.record
            if known.cause in _BETWEEN_MEDIA or (known.end_utc_ns is not None and known.end_utc_ns <= start):
                continue
            if known.start_utc_ns >= end:
                break
            if known.start_utc_ns > start:
                pieces.append((start, known.start_utc_ns))
            start = end if known.end_utc_ns is None else known.end_utc_ns
        return [*pieces, (start, end)] if start < end else pieces

    def _stretch(self, entry: _Entry, start_utc_ns: int, end_utc_ns: int) -> GapRecord:
        old = entry.record
        start = min(old.start_utc_ns, start_utc_ns)
        end = old.end_utc_ns if old.end_utc_ns is None else max(old.end_utc_ns, end_utc_ns)
        if (start, end) != (old.start_utc_ns, old.end_utc_ns):
            entry.record = replace(old, start_utc_ns=start, end_utc_ns=end)
            entry.dirty = True
        return entry.record

    def _new(self, start: int, end: int | None, cause: GapCause, packets: int, detail: str) -> _Entry:
        entry = _Entry(
            GapRecord(
                recording_id=self.recording_id,
                start_utc_ns=start,
                end_utc_ns=end,
                cause=cause.value,
                packets=packets,
                detail=detail,
            )
        )
        self._entries.append(entry)
        self._metrics.gaps[cause.value] += 1
        return entry

    async def save(self, database: Database) -> None:
        """Bring the rows up to date. Raises StorageError; nothing is lost then."""
        dirty = [entry for entry in self._entries if entry.dirty]
        if not dirty:
            return
        records = [entry.record for entry in dirty]
        async with database.transaction() as repos:
            saved = [await repos.gaps.save(record) for record in records]
        for entry, written, now in zip(dirty, records, saved, strict=True):
            # It may have grown while the database was at work; and the row may be one that it was joined to.
            entry.dirty = entry.record is not written
            entry.record = _together(entry.record, now) if entry.dirty else now
        # The newest stay, to be merged with what comes next.
        settled = [entry for entry in self._entries[:-8] if not entry.dirty and entry is not self._open]
        self._entries = [entry for entry in self._entries if entry not in settled]


class Ledger:
    """Writes gaps and story lines as they come; while the database is away it keeps them and tries again.

    An async task runs :meth:`run`; everything else is called from the same event loop. ``told`` is what the log says
    already.
    """

    def __init__(
        self, database: Database, metrics: RecorderMetrics, told: Told, *, merge_gaps_s: float, retry_s: float
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._told = told
        self._merge_ns = int(merge_gaps_s * NS_PER_S)
        self._retry_s = retry_s
        self._books: dict[str, GapBook] = {}
        self._retired: set[str] = set()
        self._story: deque[StoryEntry] = deque(maxlen=_MAX_PENDING_STORY)
        self._wakeup = asyncio.Event()
        self._saving = asyncio.Lock()
        self.away = False

    def book(self, recording_id: str) -> GapBook:
        """The gap book of a recording."""
        self._retired.discard(recording_id)
        if recording_id not in self._books:
            self._books[recording_id] = GapBook(recording_id, self._merge_ns, self._metrics)
        return self._books[recording_id]

    def retire(self, recording_id: str) -> None:
        """The recording is over: forget its book once it is saved."""
        self._retired.add(recording_id)
        self._wakeup.set()

    def tell(self, meeting_id: str, at_utc_ns: int, kind: str, params: Mapping[str, Json] | None = None) -> None:
        """Add a line to a meeting's story."""
        self._story.append(StoryEntry(meeting_id=meeting_id, at_utc_ns=at_utc_ns, kind=kind, params=params or {}))
        self._wakeup.set()

    def changed(self) -> None:
        """A book has something to save."""
        self._wakeup.set()

    async def save(self) -> None:
        """Write all that waits. Raises StorageError; nothing is lost then."""
        async with self._saving:
            while self._story:
                entry = self._story[0]
                try:
                    async with self._database.transaction() as repos:
                        await repos.story.add_once(entry)
                except (ConflictError, RecordNotFoundError) as error:
                    # Its meeting is gone, most likely; keeping it would hold up all others.
                    _log.warning("story line %s is not kept: %s", entry.kind, error.code)
                if self._story and self._story[0] is entry:
                    self._story.popleft()
            for recording_id, book in list(self._books.items()):
                try:
                    # Again if it grew meanwhile: what is asked for here is that nothing waits.
                    while book.dirty:
                        await book.save(self._database)
                except (ConflictError, RecordNotFoundError) as error:
                    _log.warning("gaps of recording %s are not kept: %s", recording_id, error.code)
                    self._retired.add(recording_id)
                if recording_id in self._retired:
                    del self._books[recording_id]
                    self._retired.discard(recording_id)
        self.away = False

    async def run(self) -> None:
        """Save whenever something has changed, for ever."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            try:
                await self.save()
            except StorageError as error:
                if self._told.is_news("gaps and story"):
                    _log.warning("the database does not take gaps and story: %s", error.code)
                self.away = True
                self._wakeup.set()
                await asyncio.sleep(self._retry_s)
