"""Gaps of recordings: what is missing, from when to when, and why."""

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import case, func, insert, or_, select, update

from storage.models import GapRow, MeetingRow, RecordingRow
from storage.records import GapRecord
from storage.repositories.base import Repository, values_of

_WITHIN_MEDIA = ("packets-lost", "clock-jump")
"""Causes that say what is wrong within a stretch: never why an open gap, in which nothing comes, is there."""


class GapRepository(Repository):
    """What is missing, and why."""

    kind = "gap"

    async def add(self, gap: GapRecord) -> GapRecord:
        """The gap with its id."""
        statement = insert(GapRow).values(values_of(gap, without=("id",))).returning(GapRow.id)
        return replace(gap, id=(await self._execute(statement)).scalar_one())

    async def save(self, gap: GapRecord) -> GapRecord:
        """Write a gap once, however often and in whatever stage of its growth it is saved. With an id: that row is
        stretched to ``gap``. Without: a row of the same recording and cause that it overlaps or touches, or one still
        open that it overlaps, becomes both together; else a row is added. The gap as it is on record now. Raises
        ``RecordNotFoundError``.

        A closed row never gets shorter: it may be several gaps in one, of which the writer knows only its own.
        """
        if not gap.id:
            # One look after the other: two that write the same gap at once, a recording's book and its upload, would
            # both find none. (SQLite has one writer anyway.)
            owner = select(RecordingRow.id).where(RecordingRow.id == gap.recording_id)
            await self._execute(owner.with_for_update(key_share=True))
            alike = GapRow.cause == gap.cause
            query = select(GapRow).where(
                GapRow.recording_id == gap.recording_id,
                alike if gap.cause in _WITHIN_MEDIA else or_(alike, GapRow.end_utc_ns.is_(None)),
                or_(GapRow.end_utc_ns.is_(None), GapRow.end_utc_ns >= gap.start_utc_ns),
            )
            if gap.end_utc_ns is not None:
                query = query.where(GapRow.start_utc_ns <= gap.end_utc_ns)
                # One of another cause that is still open and only follows it is another one.
                query = query.where(or_(GapRow.cause == gap.cause, GapRow.start_utc_ns < gap.end_utc_ns))
            else:
                query = query.where(GapRow.end_utc_ns.is_(None), GapRow.start_utc_ns == gap.start_utc_ns)
            known = await self._first(GapRecord, query.order_by(GapRow.start_utc_ns))
            if known is None:
                return await self.add(gap)
            gap = replace(gap, id=known.id, detail=gap.detail or known.detail)
        start, end = gap.start_utc_ns, gap.end_utc_ns
        values = values_of(gap, without=("id", "recording_id")) | {
            "start_utc_ns": case((GapRow.start_utc_ns < start, GapRow.start_utc_ns), else_=start),
            "end_utc_ns": end if end is None else case((GapRow.end_utc_ns > end, GapRow.end_utc_ns), else_=end),
            "packets": case((GapRow.packets > gap.packets, GapRow.packets), else_=gap.packets),
        }
        # In the statement itself: between a look and a write somebody else may have stretched the row.
        statement = update(GapRow).where(GapRow.id == gap.id).values(values)
        grown = GapRow.start_utc_ns, GapRow.end_utc_ns, GapRow.packets
        row = (await self._execute(statement.returning(*grown))).one_or_none()
        if row is None:
            raise self._not_found(str(gap.id))
        return replace(gap, start_utc_ns=row[0], end_utc_ns=row[1], packets=row[2])

    async def close(
        self, gap_id: int, end_utc_ns: int, *, cause: str | None = None, packets: int = 0, detail: str = ""
    ) -> None:
        """End an open gap; its cause too where it has become clear. Raises ``RecordNotFoundError``."""
        values: dict[str, object] = {"end_utc_ns": end_utc_ns}
        if cause is not None:
            values["cause"] = cause
        if packets:
            values["packets"] = packets
        if detail:
            values["detail"] = detail
        statement = update(GapRow).where(GapRow.id == gap_id, GapRow.end_utc_ns.is_(None))
        await self._changed_one(statement.values(values), str(gap_id))

    async def of_recording(
        self, recording_id: str, start_utc_ns: int | None = None, end_utc_ns: int | None = None
    ) -> tuple[GapRecord, ...]:
        """Gaps in order of time, open ones included; only those that overlap [start, end) where given."""
        query = select(GapRow).where(GapRow.recording_id == recording_id)
        if start_utc_ns is not None:
            query = query.where(or_(GapRow.end_utc_ns.is_(None), GapRow.end_utc_ns > start_utc_ns))
        if end_utc_ns is not None:
            query = query.where(GapRow.start_utc_ns < end_utc_ns)
        return await self._all(GapRecord, query.order_by(GapRow.start_utc_ns, GapRow.id))

    async def of_recordings(self, recording_ids: Collection[str]) -> tuple[GapRecord, ...]:
        """Gaps of several recordings, each one's in order of time: one query."""
        query = select(GapRow).where(GapRow.recording_id.in_(recording_ids))
        return await self._all(GapRecord, query.order_by(GapRow.recording_id, GapRow.start_utc_ns, GapRow.id))

    async def open(self, recording_id: str | None = None) -> tuple[GapRecord, ...]:
        """Gaps that last, of one recording or of all."""
        query = select(GapRow).where(GapRow.end_utc_ns.is_(None))
        if recording_id is not None:
            query = query.where(GapRow.recording_id == recording_id)
        return await self._all(GapRecord, query.order_by(GapRow.start_utc_ns, GapRow.id))

    async def count(self, *, meeting_id: str | None = None) -> int:
        """How many gaps there are, in one meeting or in all."""
        query = select(func.count()).select_from(GapRow)
        if meeting_id is not None:
            query = query.join(RecordingRow, RecordingRow.id == GapRow.recording_id)
            query = query.join(MeetingRow, MeetingRow.id == RecordingRow.meeting_id).where(MeetingRow.id == meeting_id)
        return await self._number(query)
