"""Guidance notes, who looked in, and the rooms' devices."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import func, insert, or_, select, update

from storage.models import AttendanceRow, GuidanceNoteRow, MeetingRow, RoomDeviceRow
from storage.records import Attendance, GuidanceNote, MeetingState, RoomDevice
from storage.repositories.base import Repository, values_of


class GuidanceNoteRepository(Repository):
    """Notes: written, shown, answered; never altered, never deleted."""

    kind = "guidance note"

    async def add(self, note: GuidanceNote) -> GuidanceNote | None:
        """The note on record: this one, or the one that its author wrote with the same key before. None if the meeting
        does not run. Raises ``ConflictError`` if the same key comes twice at the same moment: read again then."""
        known = await self._first(
            GuidanceNote,
            select(GuidanceNoteRow).where(GuidanceNoteRow.author_id == note.author_id, GuidanceNoteRow.key == note.key),
        )
        if known is not None:
            return known
        # Locked until the commit: a meeting that ends at this moment has the note in its manifest, or refuses it.
        running = select(MeetingRow.state).where(MeetingRow.id == note.meeting_id).with_for_update(read=True)
        if (await self._execute(running)).scalar_one_or_none() is not MeetingState.RUNNING:
            return None
        await self._execute(insert(GuidanceNoteRow).values(values_of(note)))
        return note

    async def get(self, note_id: str) -> GuidanceNote:
        """Raises ``RecordNotFoundError``."""
        return await self._one(GuidanceNote, select(GuidanceNoteRow).where(GuidanceNoteRow.id == note_id), note_id)

    async def of_meetings(self, meeting_ids: Collection[str]) -> tuple[GuidanceNote, ...]:
        """The notes of these meetings in order of the moments they are about."""
        query = select(GuidanceNoteRow).where(GuidanceNoteRow.meeting_id.in_(meeting_ids))
        return await self._all(GuidanceNote, query.order_by(GuidanceNoteRow.at_utc_ns, GuidanceNoteRow.id))

    async def count(self, meeting_id: str) -> int:
        """How many a meeting has."""
        query = select(func.count()).select_from(GuidanceNoteRow).where(GuidanceNoteRow.meeting_id == meeting_id)
        return await self._number(query)

    async def shown(self, note_id: str, utc_ns: int, device_id: str) -> bool:
        """Note that the room's page shows it. False if it did before."""
        statement = update(GuidanceNoteRow).where(GuidanceNoteRow.id == note_id, GuidanceNoteRow.shown_utc_ns.is_(None))
        return await self._changed(statement.values(shown_utc_ns=utc_ns, shown_by=device_id)) == 1

    async def answered(self, note_id: str, utc_ns: int, device_id: str) -> bool:
        """Note that the room has answered. False if it did before."""
        statement = update(GuidanceNoteRow).where(
            GuidanceNoteRow.id == note_id, GuidanceNoteRow.answered_utc_ns.is_(None)
        )
        return await self._changed(statement.values(answered_utc_ns=utc_ns, answered_by=device_id)) == 1


class AttendanceRepository(Repository):
    """Who looked in at a meeting, from when to when."""

    kind = "attendance"

    async def add(self, entry: Attendance) -> Attendance:
        """The entry with its id."""
        statement = insert(AttendanceRow).values(values_of(entry, without=("id",))).returning(AttendanceRow.id)
        return replace(entry, id=(await self._execute(statement)).scalar_one())

    async def of_meeting(self, meeting_id: str) -> tuple[Attendance, ...]:
        """All entries in order of time."""
        query = select(AttendanceRow).where(AttendanceRow.meeting_id == meeting_id)
        return await self._all(Attendance, query.order_by(AttendanceRow.from_utc_ns, AttendanceRow.id))

    async def seen(self, ids: Collection[int], utc_ns: int) -> None:
        """These last still."""
        await self._changed(update(AttendanceRow).where(AttendanceRow.id.in_(ids)).values(seen_utc_ns=utc_ns))

    async def close(self, ids: Collection[int], utc_ns: int) -> None:
        """These are over."""
        statement = update(AttendanceRow).where(AttendanceRow.id.in_(ids))
        await self._changed(statement.values(seen_utc_ns=utc_ns, to_utc_ns=utc_ns))

    async def reopen(self, entry_id: int, utc_ns: int) -> None:
        """The person came back so soon that it counts as one stretch."""
        statement = update(AttendanceRow).where(AttendanceRow.id == entry_id)
        await self._changed(statement.values(seen_utc_ns=utc_ns, to_utc_ns=None))

    async def close_forgotten(self) -> int:
        """Close those that a crash left open, at the last moment that is known of each; how many."""
        statement = update(AttendanceRow).where(AttendanceRow.to_utc_ns.is_(None))
        return await self._changed(statement.values(to_utc_ns=AttendanceRow.seen_utc_ns))


class RoomDeviceRepository(Repository):
    """The TVs and boxes of rooms."""

    kind = "room device"

    async def add(self, device: RoomDevice) -> None:
        """Raises ``ConflictError`` if the site is not there."""
        await self._execute(insert(RoomDeviceRow).values(values_of(device)))

    async def get(self, device_id: str) -> RoomDevice:
        """Raises ``RecordNotFoundError``."""
        return await self._one(RoomDevice, select(RoomDeviceRow).where(RoomDeviceRow.id == device_id), device_id)

    async def find(self, token_hash: str) -> RoomDevice | None:
        """The device that holds this token, unless it is revoked."""
        query = select(RoomDeviceRow).where(RoomDeviceRow.token_hash == token_hash, RoomDeviceRow.revoked_at.is_(None))
        return await self._first(RoomDevice, query)

    async def active(self) -> tuple[RoomDevice, ...]:
        """All that are not revoked, by site."""
        query = select(RoomDeviceRow).where(RoomDeviceRow.revoked_at.is_(None))
        return await self._all(
            RoomDevice, query.order_by(RoomDeviceRow.site_id, RoomDeviceRow.paired_at, RoomDeviceRow.id)
        )

    async def count(self, site_id: str) -> int:
        """How many of a site are not revoked."""
        query = select(func.count()).select_from(RoomDeviceRow)
        return await self._number(query.where(RoomDeviceRow.site_id == site_id, RoomDeviceRow.revoked_at.is_(None)))

    async def touch(self, device_id: str, at: datetime) -> None:
        """Note a sign of life; never an earlier one than is known."""
        statement = update(RoomDeviceRow).where(
            RoomDeviceRow.id == device_id,
            or_(RoomDeviceRow.last_seen_at.is_(None), RoomDeviceRow.last_seen_at < at),
        )
        await self._changed(statement.values(last_seen_at=at))

    async def revoke(self, device_id: str, at: datetime, by: str) -> bool:
        """Take its rights away. False if it had none any more."""
        statement = update(RoomDeviceRow).where(RoomDeviceRow.id == device_id, RoomDeviceRow.revoked_at.is_(None))
        return await self._changed(statement.values(revoked_at=at, revoked_by=by)) == 1
