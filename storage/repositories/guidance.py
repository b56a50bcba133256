"""Guidance notes, who looked in, and the rooms' devices."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import func, insert, or_, select, update

from storage.models import AttendanceRow, GuidanceNoteRow, MeetingRow, RoomDeviceRow, TalkEntryRow
from storage.records import Attendance, GuidanceNote, MeetingState, RoomDevice, TalkEntry
from storage.repositories.base import Repository, values_of


class GuidanceNoteRepository(Repository):
    """Notes: written, shown, answered; never altered, never deleted."""

    kind = "guidance note"

    async def add(self, note: GuidanceNote) -> GuidanceNote:
        """The note on record: this one, or the one that its author wrote with the same key before. Raises
        ``ConflictError`` if the same key comes twice at the same moment: look again then."""
        known = await self.by_key(note.author_id, note.key)
        if known is None:
            await self._execute(insert(GuidanceNoteRow).values(values_of(note)))
        return known or note

    async def by_key(self, author_id: str, key: str) -> GuidanceNote | None:
        """The note that its author wrote with this key."""
        query = select(GuidanceNoteRow).where(GuidanceNoteRow.author_id == author_id, GuidanceNoteRow.key == key)
        return await self._first(GuidanceNote, query)

    async def may_change(self, meeting_id: str) -> bool:
        """Whether the meeting runs. It cannot end before this transaction: a note is in the manifest, or refused."""
        state = select(MeetingRow.state).where(MeetingRow.id == meeting_id).with_for_update(read=True)
        return (await self._execute(state)).scalar_one_or_none() is MeetingState.RUNNING

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


class TalkRepository(Repository):
    """Who spoke into a meeting's room, from when to when."""

    kind = "talk entry"

    async def add(self, entry: TalkEntry) -> None:
        """Somebody has the floor now."""
        await self._execute(insert(TalkEntryRow).values(values_of(entry)))

    async def close(self, entry_id: str, utc_ns: int, reason: str) -> bool:
        """They no longer have it. False if that is known already."""
        statement = update(TalkEntryRow).where(TalkEntryRow.id == entry_id, TalkEntryRow.ended_utc_ns.is_(None))
        return await self._changed(statement.values(ended_utc_ns=utc_ns, reason=reason)) == 1

    async def close_forgotten(self, utc_ns: int) -> int:
        """Close those that a crash left open, as of now; how many."""
        statement = update(TalkEntryRow).where(TalkEntryRow.ended_utc_ns.is_(None))
        return await self._changed(statement.values(ended_utc_ns=utc_ns, reason="service-down"))

    async def of_meeting(self, meeting_id: str) -> tuple[TalkEntry, ...]:
        """All entries in order of time."""
        query = select(TalkEntryRow).where(TalkEntryRow.meeting_id == meeting_id)
        return await self._all(TalkEntry, query.order_by(TalkEntryRow.started_utc_ns, TalkEntryRow.id))


class AttendanceRepository(Repository):
    """Who looked in at a meeting, from when to when."""

    kind = "attendance"

    async def save(self, entry: Attendance) -> Attendance:
        """Write a new entry (its ``id`` is 0), or how long a known one lasts; the entry with its id."""
        if entry.id == 0:
            statement = insert(AttendanceRow).values(values_of(entry, without=("id",))).returning(AttendanceRow.id)
            return replace(entry, id=(await self._execute(statement)).scalar_one())
        lasting = update(AttendanceRow).where(AttendanceRow.id == entry.id)
        await self._changed(lasting.values(seen_utc_ns=entry.seen_utc_ns, to_utc_ns=entry.to_utc_ns))
        return entry

    async def of_meeting(self, meeting_id: str) -> tuple[Attendance, ...]:
        """All entries in order of time."""
        query = select(AttendanceRow).where(AttendanceRow.meeting_id == meeting_id)
        return await self._all(Attendance, query.order_by(AttendanceRow.from_utc_ns, AttendanceRow.id))

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
