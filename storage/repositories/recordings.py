"""Recordings and their periods."""

from collections.abc import Collection, Mapping

from sqlalchemy import func, insert, select, update

from storage.errors import ConflictError
from storage.models import GapRow, MediaObjectRow, RecordingPeriodRow, RecordingRow
from storage.records import (
    Recording,
    RecordingKind,
    RecordingPeriod,
    RecordingState,
    RecordingTotals,
    UnfinishedRecording,
)
from storage.repositories.base import Repository, chosen, values_of

_CAMERA = RecordingKind.CAMERA
_UNFINISHED = (
    select(RecordingRow.id, RecordingRow.meeting_id, RecordingRow.camera_id, RecordingRow.state, RecordingRow.kind)
    .where(RecordingRow.state.in_((RecordingState.RECORDING, RecordingState.FINISHING)))
    .order_by(RecordingRow.started_utc_ns, RecordingRow.id)
)


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

    async def ids(self, *, meeting_id: str | None = None, since_utc_ns: int | None = None) -> tuple[str, ...]:
        """Of all recordings, in order: for ``sanhui check``. ``since_utc_ns``: of those that began then or later."""
        query = select(RecordingRow.id).where(*chosen(meeting_id, since_utc_ns))
        return tuple((await self._execute(query.order_by(RecordingRow.id))).scalars())

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

    async def unfinished(self) -> tuple[UnfinishedRecording, ...]:
        """Recordings that run or still drain: what a restart has to look at."""
        return tuple(UnfinishedRecording(*row) for row in await self._execute(_UNFINISHED))

    async def set_state(self, recording_id: str, state: RecordingState, ended_utc_ns: int | None = None) -> None:
        """Move to ``state``; write the end too if it is given. Raises ``RecordNotFoundError``."""
        values: dict[str, object] = {"state": state}
        if ended_utc_ns is not None:
            values["ended_utc_ns"] = ended_utc_ns
        statement = update(RecordingRow).where(RecordingRow.id == recording_id).values(values)
        await self._changed_one(statement, recording_id)

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
        ).where(MediaObjectRow.recording_id == recording_id)
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
