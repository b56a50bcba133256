"""Meetings and their story."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, insert, or_, select, union_all, update

from storage.models import CameraRow, MeetingRow, OrganizationRow, SiteRow, StoryRow
from storage.records import (
    Camera,
    Meeting,
    MeetingKind,
    MeetingPlace,
    MeetingState,
    OpenMeeting,
    Organization,
    Site,
    StoryEntry,
)
from storage.repositories.base import Repository, record_of, subtree, values_of

_LONGEST = timedelta(days=1)
"""No meeting is looked for longer after it should have begun, once it is called missed."""
_START, _END = MeetingRow.planned_start, MeetingRow.planned_end
_NOW = bindparam("now", type_=_START.type)
_COME = and_(MeetingRow.state == MeetingState.PLANNED, _START <= _NOW)
_MISSED_TOO_SOON = and_(
    MeetingRow.state == MeetingState.MISSED,
    _START <= _NOW,
    _START > bindparam("since", type_=_START.type),
    _END > _NOW,
)
"""One that is called missed though it has not passed is planned all the same: the machine's clock was ahead for a
while."""


def _open(condition: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    recorded = and_(MeetingRow.record, CameraRow.enabled)
    started = MeetingRow.started_utc_ns
    return (
        select(MeetingRow.id, MeetingRow.camera_id, MeetingRow.state, _START, _END, started, recorded)
        .join(CameraRow, MeetingRow.camera_id == CameraRow.id)
        .where(condition)
    )


# Not one condition: SQLite would walk ten years for an OR.
_OPEN = union_all(*map(_open, (MeetingRow.state == MeetingState.RUNNING, _COME, _MISSED_TOO_SOON)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveQuery:
    """Which meetings: planned to start before ``before`` (at that time, those with an id less than ``before_id``), of
    the organization and all below it. Each of ``words`` must be in the title, the organization's name or the site's."""

    before: datetime
    before_id: str = ""
    organization_id: str | None = None
    kind: MeetingKind | None = None
    state: MeetingState | None = None
    words: tuple[str, ...] = ()


class MeetingRepository(Repository):
    """Meetings. State changes are conditional, so that two callers cannot both start one."""

    kind = "meeting"

    async def add(self, meeting: Meeting) -> None:
        """Raises ``ConflictError`` if its organization, site or camera is not there."""
        await self._execute(insert(MeetingRow).values(values_of(meeting)))

    async def get(self, meeting_id: str) -> Meeting:
        """Raises ``RecordNotFoundError``."""
        return await self._one(Meeting, select(MeetingRow).where(MeetingRow.id == meeting_id), meeting_id)

    async def replan(self, meeting: Meeting) -> bool:
        """Write what a person plans; state and times held are written by :meth:`start` and its like only. False if it
        is not planned any more: what it began as is what is recorded."""
        values = values_of(meeting, without=("id", "created_at", "created_by", *_HELD))
        return await self._move(meeting.id, (MeetingState.PLANNED,), **values)

    async def delete(self, meeting_id: str) -> None:
        """Raises ``ConflictError`` if it has recordings."""
        await self._changed_one(delete(MeetingRow).where(MeetingRow.id == meeting_id), meeting_id)

    async def place(self, meeting_id: str) -> MeetingPlace:
        """The meeting with site, organization and camera. Raises ``RecordNotFoundError``."""
        row = (await self._execute(_places().where(MeetingRow.id == meeting_id))).first()
        if row is None:
            raise self._not_found(meeting_id)
        return _place(*row)

    async def between(
        self, start: datetime, end: datetime, organization_id: str | None = None
    ) -> tuple[MeetingPlace, ...]:
        """Meetings planned to start in [start, end), of the organization and all below it (of the county if None), in
        order of time. A day is the caller's to cut, in the county's time zone."""
        query = _places().where(MeetingRow.planned_start >= start, MeetingRow.planned_start < end)
        return await self._places(_within(query, organization_id))

    async def nearest(
        self, start: datetime, end: datetime, organization_id: str | None = None
    ) -> tuple[datetime | None, datetime | None]:
        """When the last meeting planned before ``start`` starts, and the first planned from ``end`` on."""
        column = MeetingRow.planned_start
        before = _within(select(column).where(column < start).order_by(column.desc()), organization_id).limit(1)
        after = _within(select(column).where(column >= end).order_by(column), organization_id).limit(1)
        return (await self._execute(before)).scalar(), (await self._execute(after)).scalar()

    async def starts(
        self, start: datetime, end: datetime, organization_id: str | None = None
    ) -> tuple[tuple[datetime, MeetingState], ...]:
        """Of the same meetings as :meth:`between`, when each is planned to start and its state."""
        column = MeetingRow.planned_start
        query = select(column, MeetingRow.state).where(column >= start, column < end)
        return tuple((at, state) for at, state in await self._execute(_within(query, organization_id)))

    async def archive(self, wanted: "ArchiveQuery", limit: int) -> tuple[MeetingPlace, ...]:
        """Meetings, newest first. All that is asked for is decided on the rows of one index walked backwards in time;
        places are looked up for those that are found."""
        query = select(MeetingRow.id).where(
            or_(
                MeetingRow.planned_start < wanted.before,
                and_(MeetingRow.planned_start == wanted.before, MeetingRow.id < wanted.before_id),
            )
        )
        if wanted.kind is not None:
            query = query.where(MeetingRow.kind == wanted.kind)
        if wanted.state is not None:
            query = query.where(MeetingRow.state == wanted.state)
        for word in wanted.words:
            organizations = select(OrganizationRow.id).where(OrganizationRow.name.icontains(word, autoescape=True))
            sites = select(SiteRow.id).where(SiteRow.name.icontains(word, autoescape=True))
            query = query.where(
                or_(
                    MeetingRow.organization_id.in_(organizations),
                    MeetingRow.site_id.in_(sites),
                    MeetingRow.title.icontains(word, autoescape=True),
                )
            )
        newest = (MeetingRow.planned_start.desc(), MeetingRow.id.desc())
        found = _within(query, wanted.organization_id).order_by(*newest).limit(limit).subquery()
        shown = _places().join(found, MeetingRow.id == found.c.id).order_by(*newest)
        return tuple(_place(*row) for row in await self._execute(shown))

    async def running(self, organization_id: str | None = None) -> tuple[MeetingPlace, ...]:
        """Meetings that run now."""
        return await self._places(_within(_places().where(MeetingRow.state == MeetingState.RUNNING), organization_id))

    async def open(self, now: datetime) -> tuple[OpenMeeting, ...]:
        """Those that run, and those whose time has come and which have not been held, in order of their plans. In one
        statement: it is asked every few seconds."""
        rows = await self._execute(_OPEN, {"now": now, "since": now - _LONGEST})
        return tuple(
            sorted((OpenMeeting(*row) for row in rows), key=lambda meeting: (meeting.planned_start, meeting.id))
        )

    async def due(self, now: datetime) -> tuple[Meeting, ...]:
        """Planned meetings whose time has come and not yet passed."""
        times = {"now": now, "since": now - _LONGEST}
        in_time = or_(_END.is_(None), _END > _NOW)
        found = []
        for condition in (and_(_COME, in_time), _MISSED_TOO_SOON):
            rows = await self._execute(select(MeetingRow).where(condition).order_by(_START, MeetingRow.id), times)
            found += [record_of(Meeting, row) for row in rows.scalars()]
        return tuple(found)

    async def next_by_camera(self, now: datetime) -> Mapping[str, Meeting]:
        """Each camera's next planned meeting from ``now`` on, by camera id: one query."""
        rank = (
            func.row_number()
            .over(partition_by=MeetingRow.camera_id, order_by=(MeetingRow.planned_start, MeetingRow.id))
            .label("rank")
        )
        ranked = (
            select(MeetingRow.id, rank)
            .where(MeetingRow.state == MeetingState.PLANNED, MeetingRow.planned_start >= now)
            .subquery()
        )
        query = select(MeetingRow).join(ranked, MeetingRow.id == ranked.c.id).where(ranked.c.rank == 1)
        return {meeting.camera_id: meeting for meeting in await self._all(Meeting, query)}

    async def start(self, meeting_id: str, utc_ns: int, by: str) -> bool:
        """planned (or missed) → running. False if it was in another state."""
        return await self._move(
            meeting_id,
            (MeetingState.PLANNED, MeetingState.MISSED),
            state=MeetingState.RUNNING,
            started_utc_ns=utc_ns,
            started_by=by,
        )

    async def end(self, meeting_id: str, utc_ns: int, by: str) -> bool:
        """running → ended. False if it was in another state."""
        return await self._move(
            meeting_id, (MeetingState.RUNNING,), state=MeetingState.ENDED, ended_utc_ns=utc_ns, ended_by=by
        )

    async def cancel(self, meeting_id: str) -> bool:
        """planned → cancelled. False if it was in another state."""
        return await self._move(meeting_id, (MeetingState.PLANNED,), state=MeetingState.CANCELLED)

    async def miss(self, meeting_id: str) -> bool:
        """planned → missed. False if it was in another state."""
        return await self._move(meeting_id, (MeetingState.PLANNED,), state=MeetingState.MISSED)

    async def counts(self) -> Mapping[MeetingState, int]:
        """How many meetings are in each state."""
        rows = await self._execute(select(MeetingRow.state, func.count()).group_by(MeetingRow.state))
        counts = dict.fromkeys(MeetingState, 0)
        counts.update({state: count for state, count in rows})
        return counts

    async def _move(self, meeting_id: str, sources: tuple[MeetingState, ...], **values: Any) -> bool:
        statement = update(MeetingRow).where(MeetingRow.id == meeting_id, MeetingRow.state.in_(sources))
        return await self._changed(statement.values(**values)) == 1

    async def _places(self, query: Select[*tuple[Any, ...]]) -> tuple[MeetingPlace, ...]:
        ordered = query.order_by(MeetingRow.planned_start, OrganizationRow.position, MeetingRow.id)
        return tuple(_place(*row) for row in await self._execute(ordered))


_HELD = ("state", "started_utc_ns", "ended_utc_ns", "started_by", "ended_by")


class StoryRepository(Repository):
    """What happened in a meeting, line by line."""

    kind = "story entry"

    async def add(self, entry: StoryEntry) -> StoryEntry:
        """The entry with its id."""
        statement = insert(StoryRow).values(values_of(entry, without=("id",))).returning(StoryRow.id)
        return replace(entry, id=(await self._execute(statement)).scalar_one())

    async def add_once(self, entry: StoryEntry) -> None:
        """The same, for who may have written it already and not have heard that it is committed."""
        same = [getattr(StoryRow, name) == value for name, value in values_of(entry, without=("id",)).items()]
        if (await self._execute(select(StoryRow.id).where(*same).limit(1))).first() is None:
            await self.add(entry)

    async def of_meeting(self, meeting_id: str) -> tuple[StoryEntry, ...]:
        """All entries in order of time."""
        query = select(StoryRow).where(StoryRow.meeting_id == meeting_id)
        return await self._all(StoryEntry, query.order_by(StoryRow.at_utc_ns, StoryRow.id))


def _places() -> Select[MeetingRow, SiteRow, OrganizationRow, CameraRow]:
    return (
        select(MeetingRow, SiteRow, OrganizationRow, CameraRow)
        .join(SiteRow, MeetingRow.site_id == SiteRow.id)
        .join(OrganizationRow, MeetingRow.organization_id == OrganizationRow.id)
        .join(CameraRow, MeetingRow.camera_id == CameraRow.id)
    )


def _within(query: Select[*tuple[Any, ...]], organization_id: str | None) -> Select[*tuple[Any, ...]]:
    if organization_id is None:
        return query
    return query.where(MeetingRow.organization_id.in_(select(subtree(organization_id).c.id)))


def _place(meeting: MeetingRow, site: SiteRow, organization: OrganizationRow, camera: CameraRow) -> MeetingPlace:
    return MeetingPlace(
        meeting=record_of(Meeting, meeting),
        site=record_of(Site, site),
        organization=record_of(Organization, organization),
        camera=record_of(Camera, camera),
    )
