"""Recordings, their periods, objects and gaps."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import (
    LargeBinary,
    Row,
    Select,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from storage.errors import ConflictError
from storage.models import GapRow, MediaObjectRow, MeetingRow, RecordingPeriodRow, RecordingRow
from storage.models.segments import unpacked_segments
from storage.records import (
    GapRecord,
    MediaObject,
    ObjectState,
    Recording,
    RecordingKind,
    RecordingPeriod,
    RecordingState,
    RecordingTotals,
)
from storage.repositories.base import Repository, values_of

_CAMERA = RecordingKind.CAMERA


class RecordingRepository(Repository):
    """Recordings and their periods."""

    kind = "recording"

    async def add(self, recording: Recording) -> None:
        """Raises ``ConflictError`` if the meeting has a recording of that camera."""
        await self._execute(insert(RecordingRow).values(values_of(recording)))

    async def get(self, recording_id: str) -> Recording:
        """Raises ``RecordNotFoundError``."""
        return await self._one(Recording, select(RecordingRow).where(RecordingRow.id == recording_id), recording_id)

    async def find(self, meeting_id: str, camera_id: str) -> Recording | None:
        """The recording of that camera in that meeting, if there is one."""
        query = select(RecordingRow).where(
            RecordingRow.meeting_id == meeting_id, RecordingRow.camera_id == camera_id, RecordingRow.kind == _CAMERA
        )
        return await self._first(Recording, query)

    async def guidance(self, meeting_id: str) -> Recording | None:
        """The recording of what was said into the meeting's room, if there is one."""
        query = select(RecordingRow).where(
            RecordingRow.meeting_id == meeting_id, RecordingRow.kind == RecordingKind.GUIDANCE
        )
        return await self._first(Recording, query)

    async def ids(self) -> tuple[str, ...]:
        """Of all recordings, in order: for ``sanhui check``."""
        return tuple((await self._execute(select(RecordingRow.id).order_by(RecordingRow.id))).scalars())

    async def exists(self, recording_id: str) -> bool:
        """Whether there is such a row."""
        return await self._number(select(func.count()).where(RecordingRow.id == recording_id)) > 0

    async def of_meeting(self, meeting_id: str) -> tuple[Recording, ...]:
        """The meeting's recordings, one per camera, in order of their start."""
        query = select(RecordingRow).where(RecordingRow.meeting_id == meeting_id, RecordingRow.kind == _CAMERA)
        return await self._all(Recording, query.order_by(RecordingRow.started_utc_ns, RecordingRow.id))

    async def all_of_meeting(self, meeting_id: str) -> tuple[Recording, ...]:
        """The meeting's recordings of every kind, in order of their start."""
        query = select(RecordingRow).where(RecordingRow.meeting_id == meeting_id)
        return await self._all(Recording, query.order_by(RecordingRow.started_utc_ns, RecordingRow.id))

    async def unfinished(self) -> tuple[Recording, ...]:
        """Recordings that run or still drain: what a restart has to look at."""
        query = select(RecordingRow).where(RecordingRow.state.in_((RecordingState.RECORDING, RecordingState.FINISHING)))
        return await self._all(Recording, query.order_by(RecordingRow.started_utc_ns, RecordingRow.id))

    async def set_state(self, recording_id: str, state: RecordingState, ended_utc_ns: int | None = None) -> None:
        """Move to ``state``; write the end too if it is given. Raises ``RecordNotFoundError``."""
        values: dict[str, object] = {"state": state}
        if ended_utc_ns is not None:
            values["ended_utc_ns"] = ended_utc_ns
        statement = update(RecordingRow).where(RecordingRow.id == recording_id).values(values)
        await self._changed_one(statement, recording_id)

    async def delete(self, recording_id: str) -> None:
        """Remove the row, its periods and gaps. Raises ``ConflictError`` while it has objects."""
        await self._changed_one(delete(RecordingRow).where(RecordingRow.id == recording_id), recording_id)

    async def add_period(self, period: RecordingPeriod) -> bool:
        """False if the very same period is there already; ``ConflictError`` if another of that number is."""
        query = select(RecordingPeriodRow).where(
            RecordingPeriodRow.recording_id == period.recording_id, RecordingPeriodRow.number == period.number
        )
        known = await self._first(RecordingPeriod, query)
        if known is None:
            await self._execute(insert(RecordingPeriodRow).values(values_of(period)))
            return True
        if dict(known.init) != dict(period.init):
            raise ConflictError("another period has this number", rule="recording_period.number")
        return False

    async def periods(self, recording_id: str) -> tuple[RecordingPeriod, ...]:
        """All periods in order."""
        query = select(RecordingPeriodRow).where(RecordingPeriodRow.recording_id == recording_id)
        return await self._all(RecordingPeriod, query.order_by(RecordingPeriodRow.number))

    async def period_spans(self, recording_id: str) -> Mapping[int, tuple[int, int]]:
        """From when to when each period's stored objects reach, by its number."""
        query = select(
            MediaObjectRow.period, func.min(MediaObjectRow.start_utc_ns), func.max(MediaObjectRow.end_utc_ns)
        ).where(MediaObjectRow.recording_id == recording_id, MediaObjectRow.state == ObjectState.STORED)
        rows = await self._execute(query.group_by(MediaObjectRow.period))
        return {number: (first, last) for number, first, last in rows}

    async def totals(self, recording_id: str) -> RecordingTotals:
        """Counts over its stored objects and its gaps. Raises ``RecordNotFoundError``."""
        found = await self.totals_of([recording_id])
        if recording_id not in found:
            raise self._not_found(recording_id)
        return found[recording_id]

    async def totals_of(self, recording_ids: Collection[str]) -> Mapping[str, RecordingTotals]:
        """The same of several recordings, by id: two queries."""
        wanted = RecordingRow.id.in_(recording_ids)
        query = select(
            RecordingRow.id,
            RecordingRow.object_count,
            RecordingRow.object_bytes,
            RecordingRow.first_utc_ns,
            RecordingRow.last_utc_ns,
        ).where(wanted)
        counted = select(GapRow.recording_id, func.count()).where(GapRow.recording_id.in_(recording_ids))
        gaps = {key: count for key, count in await self._execute(counted.group_by(GapRow.recording_id))}
        return {
            key: RecordingTotals(
                objects=objects, bytes=size, first_utc_ns=first, last_utc_ns=last, gaps=gaps.get(key, 0)
            )
            for key, objects, size, first, last in await self._execute(query)
        }

    async def of_meetings(self, meeting_ids: Collection[str]) -> Mapping[str, tuple[Recording, ...]]:
        """The recordings of several meetings, by meeting, as :meth:`of_meeting` gives them: one query."""
        query = select(RecordingRow).where(RecordingRow.meeting_id.in_(meeting_ids), RecordingRow.kind == _CAMERA)
        grouped: dict[str, list[Recording]] = {}
        for item in await self._all(Recording, query.order_by(RecordingRow.started_utc_ns, RecordingRow.id)):
            grouped.setdefault(item.meeting_id, []).append(item)
        return {meeting_id: tuple(items) for meeting_id, items in grouped.items()}


class MediaObjectRepository(Repository):
    """The index of stored objects."""

    kind = "media object"

    async def add(self, media_object: MediaObject) -> bool:
        """Commit an object that the store has confirmed, and move the recording's chain head and totals to it.

        False if the very same row is there already (a crash came between the row and the spool); ``ConflictError``
        if another object has its number or key.
        """
        known = await self.find(media_object.recording_id, media_object.number)
        if known is not None:
            if known.sha256 != media_object.sha256 or known.chain != media_object.chain:
                raise ConflictError("another object has this number", rule="media_object.number")
            return False
        await self._execute(insert(MediaObjectRow).values(values_of(media_object)))
        last, end = RecordingRow.last_utc_ns, media_object.end_utc_ns
        head = update(RecordingRow).where(RecordingRow.id == media_object.recording_id)
        await self._changed_one(
            head.values(
                chain_head=media_object.chain,
                object_count=RecordingRow.object_count + 1,
                object_bytes=RecordingRow.object_bytes + media_object.size,
                first_utc_ns=func.coalesce(RecordingRow.first_utc_ns, media_object.start_utc_ns),
                last_utc_ns=case((or_(last.is_(None), last < end), end), else_=last),
            ),
            media_object.recording_id,
        )
        return True

    async def find(self, recording_id: str, number: int) -> MediaObject | None:
        """That object, if there is one."""
        query = select(*_OBJECT_COLUMNS).where(
            MediaObjectRow.recording_id == recording_id, MediaObjectRow.number == number
        )
        return await self._first_object(query)

    async def last(self, recording_id: str) -> MediaObject | None:
        """The object of the highest number."""
        query = select(*_OBJECT_COLUMNS).where(MediaObjectRow.recording_id == recording_id)
        return await self._first_object(query.order_by(MediaObjectRow.number.desc()))

    async def of_recording(
        self, recording_id: str, start_utc_ns: int | None = None, end_utc_ns: int | None = None
    ) -> tuple[MediaObject, ...]:
        """Stored objects in order of their number; only those that overlap [start, end) where given."""
        query = select(*_OBJECT_COLUMNS).where(
            MediaObjectRow.recording_id == recording_id, MediaObjectRow.state == ObjectState.STORED
        )
        if start_utc_ns is not None:
            query = query.where(MediaObjectRow.end_utc_ns > start_utc_ns)
        if end_utc_ns is not None:
            query = query.where(MediaObjectRow.start_utc_ns < end_utc_ns)
        return await self._objects(query.order_by(MediaObjectRow.number))

    async def page(
        self, after: tuple[str, int] | None = None, limit: int = 200, *, meeting_id: str | None = None
    ) -> tuple[MediaObject, ...]:
        """Rows of every state in order of (recording, number), those after ``after``: for ``sanhui check``."""
        query = select(*_OBJECT_COLUMNS)
        if after is not None:
            query = query.where(tuple_(MediaObjectRow.recording_id, MediaObjectRow.number) > tuple_(*after))
        if meeting_id is not None:
            query = query.join(RecordingRow, RecordingRow.id == MediaObjectRow.recording_id)
            query = query.where(RecordingRow.meeting_id == meeting_id)
        query = query.order_by(MediaObjectRow.recording_id, MediaObjectRow.number).limit(limit)
        return await self._objects(query)

    async def keys(self, recording_id: str) -> frozenset[str]:
        """Keys of all its rows, whatever their state."""
        query = select(MediaObjectRow.key).where(MediaObjectRow.recording_id == recording_id)
        return frozenset((await self._execute(query)).scalars())

    async def mark_deleting(self, recording_id: str) -> int:
        """First step of deletion, for all its objects; how many were marked."""
        emptied = update(RecordingRow).where(RecordingRow.id == recording_id)
        await self._changed(
            emptied.values(object_count=0, object_bytes=0, first_utc_ns=None, last_utc_ns=None),
        )
        return await self._changed(
            update(MediaObjectRow)
            .where(MediaObjectRow.recording_id == recording_id, MediaObjectRow.state == ObjectState.STORED)
            .values(state=ObjectState.DELETING)
        )

    async def deleting(self, limit: int = 200) -> tuple[MediaObject, ...]:
        """Rows marked for deletion: their objects are to be removed, then :meth:`remove` called."""
        query = select(*_OBJECT_COLUMNS).where(_IS_DELETING)
        query = query.order_by(MediaObjectRow.recording_id, MediaObjectRow.number).limit(limit)
        return await self._objects(query)

    async def remove(self, recording_id: str, number: int) -> None:
        """Last step of deletion: the row, once its object is gone. Raises ``RecordNotFoundError`` if the row is not
        marked ``deleting``."""
        statement = delete(MediaObjectRow).where(
            MediaObjectRow.recording_id == recording_id,
            MediaObjectRow.number == number,
            MediaObjectRow.state == ObjectState.DELETING,
        )
        await self._changed_one(statement, f"{recording_id}/{number}")

    async def count(self, *, meeting_id: str | None = None) -> int:
        """How many rows :meth:`page` will give."""
        query = select(func.count()).select_from(MediaObjectRow)
        if meeting_id is not None:
            query = query.join(RecordingRow, RecordingRow.id == MediaObjectRow.recording_id)
            query = query.where(RecordingRow.meeting_id == meeting_id)
        return await self._number(query)

    async def total_bytes(self) -> int:
        """Bytes of all stored objects."""
        return await self._number(select(func.coalesce(func.sum(MediaObjectRow.size), 0)))

    async def _first_object(self, query: Select[*tuple[Any, ...]]) -> MediaObject | None:
        found = await self._objects(query.limit(1))
        return found[0] if found else None

    async def _objects(self, query: Select[*tuple[Any, ...]]) -> tuple[MediaObject, ...]:
        rows = (await self._execute(query)).all()
        if len(rows) <= _DECODED_ON_THE_LOOP:
            return _decoded(rows)
        # The index of a six-hour meeting is ten thousand ranges: 50 ms that no packet should wait for.
        return await asyncio.to_thread(_decoded, rows)


_DECODED_ON_THE_LOOP = 20
# Written out: with a bound parameter SQLite cannot know that its partial index answers.
_IS_DELETING = MediaObjectRow.state == literal_column(f"'{ObjectState.DELETING.value}'")
_OBJECT_FIELDS = tuple(field.name for field in fields(MediaObject))
_OBJECT_COLUMNS = tuple(
    type_coerce(MediaObjectRow.segments, LargeBinary) if name == "segments" else getattr(MediaObjectRow, name)
    for name in _OBJECT_FIELDS
)


def _decoded(rows: Sequence[Row[*tuple[Any, ...]]]) -> tuple[MediaObject, ...]:
    made = []
    for row in rows:
        values = dict(zip(_OBJECT_FIELDS, row, strict=True))
        values["segments"] = unpacked_segments(values["segments"])
        made.append(MediaObject(**values))
    return tuple(made)


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
            query = select(GapRow).where(
                GapRow.recording_id == gap.recording_id,
                or_(GapRow.cause == gap.cause, GapRow.end_utc_ns.is_(None)),
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

    async def close_open(self, recording_id: str, end_utc_ns: int) -> int:
        """End every open gap of a recording; how many there were."""
        statement = update(GapRow).where(GapRow.recording_id == recording_id, GapRow.end_utc_ns.is_(None))
        return await self._changed(statement.values(end_utc_ns=end_utc_ns))

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
