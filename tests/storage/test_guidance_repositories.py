"""Guidance notes, attendance and the rooms' devices: on SQLite and PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError
from storage.records import Attendance, GuidanceNote, Meeting, NoteKind, RoomDevice, Site, new_id
from tests.support.rows import NOON, NOON_NS, S, SampleCounty, digest


def note(meeting: Meeting, key: str = "key-00000001", at_s: int = 60) -> GuidanceNote:
    """A note about a minute after noon."""
    return GuidanceNote(
        id=new_id(),
        meeting_id=meeting.id,
        author_id="wang",
        author_name="王敏",
        office_id=None,
        office_name="临河县委组织部",
        kind=NoteKind.CORRECT,
        text="表决前请先宣布应到、实到人数。",
        key=key,
        at_utc_ns=NOON_NS + at_s * S,
        written_utc_ns=NOON_NS + (at_s + 2) * S,
    )


def device(site: Site, token: str = "token") -> RoomDevice:
    """A paired TV."""
    return RoomDevice(
        id=new_id(), site_id=site.id, name="会议室电视", token_hash=digest(token), paired_by="wang", paired_at=NOON
    )


@pytest.fixture
async def meeting(database: Database, county: SampleCounty) -> Meeting:
    """A meeting that runs since noon."""
    planned = county.meeting()
    async with database.transaction() as repos:
        await repos.meetings.add(planned)
        await repos.meetings.start(planned.id, NOON_NS, "plan")
        return await repos.meetings.get(planned.id)


async def test_a_note_is_written_once_and_shown_and_answered_once(database: Database, meeting: Meeting) -> None:
    first, second = note(meeting), note(meeting, "key-00000002", at_s=30)
    async with database.transaction() as repos:
        assert await repos.notes.may_change(meeting.id)
        assert await repos.notes.add(first) == first
        assert await repos.notes.add(replace(first, id=new_id(), text="另一段")) == first
        await repos.notes.add(second)
    async with database.transaction() as repos:
        assert [await repos.notes.shown(first.id, NOON_NS + at * S, "tv") for at in (70, 80)] == [True, False]
        assert [await repos.notes.answered(first.id, NOON_NS + at * S, "tv") for at in (90, 95)] == [True, False]
    seen = replace(
        first, shown_utc_ns=NOON_NS + 70 * S, shown_by="tv", answered_utc_ns=NOON_NS + 90 * S, answered_by="tv"
    )
    async with database.read() as repos:
        assert await repos.notes.of_meetings([meeting.id, "none"]) == (second, seen)
        assert await repos.notes.get(first.id) == seen
        assert await repos.notes.count(meeting.id) == 2
        with pytest.raises(RecordNotFoundError):
            await repos.notes.get("none")


async def test_the_same_note_from_two_sides_at_once_is_one(database: Database, meeting: Meeting) -> None:
    async def write() -> bool:
        try:
            async with database.transaction() as repos:
                await repos.notes.add(note(meeting))
        except ConflictError:
            return False
        return True

    assert any(await asyncio.gather(*(write() for _ in range(4))))
    async with database.read() as repos:
        assert await repos.notes.count(meeting.id) == 1


async def test_a_meeting_with_notes_or_looks_stays(database: Database, meeting: Meeting) -> None:
    async with database.transaction() as repos:
        await repos.notes.add(note(meeting))
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.meetings.delete(meeting.id)


async def test_no_note_comes_in_between_the_end_and_the_manifest(database: Database, meeting: Meeting) -> None:
    """Whoever has seen the meeting run writes before it ends, or not at all."""
    looked, ending = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with database.transaction() as repos:
            assert await repos.notes.may_change(meeting.id)
            looked.set()
            await ending.wait()
            await repos.notes.add(note(meeting))

    async def end() -> int:
        await looked.wait()
        ending.set()
        async with database.transaction() as repos:
            assert await repos.meetings.end(meeting.id, NOON_NS + 90 * S, "wang")
            return await repos.notes.count(meeting.id)

    async with asyncio.timeout(30):
        _, notes_at_the_end = await asyncio.gather(write(), end())
    assert notes_at_the_end == 1
    async with database.transaction() as repos:
        assert not await repos.notes.may_change(meeting.id)
        assert not await repos.notes.may_change("none")


async def test_looks_last_end_and_are_ended_after_a_crash(database: Database, meeting: Meeting) -> None:
    look = Attendance(
        meeting_id=meeting.id,
        user_id="wang",
        name="王敏",
        office_id=None,
        office_name="临河县委组织部",
        superior=True,
        from_utc_ns=NOON_NS,
        seen_utc_ns=NOON_NS,
    )
    async with database.transaction() as repos:
        first = await repos.attendance.save(look)
        second = await repos.attendance.save(replace(look, user_id="li", superior=False))
        await repos.attendance.save(replace(first, seen_utc_ns=NOON_NS + 60 * S))
        await repos.attendance.save(replace(second, seen_utc_ns=NOON_NS + 9 * S, to_utc_ns=NOON_NS + 9 * S))
    async with database.transaction() as repos:
        assert await repos.attendance.close_forgotten() == 1
        found = await repos.attendance.of_meeting(meeting.id)
    assert [(item.id, item.to_utc_ns) for item in found] == [
        (first.id, NOON_NS + 60 * S),
        (second.id, NOON_NS + 9 * S),
    ]


async def test_a_device_is_known_by_its_token_until_it_is_revoked(database: Database, county: SampleCounty) -> None:
    tv, other = device(county.sites[0]), device(county.sites[1], "another")
    async with database.transaction() as repos:
        for item in (tv, other):
            await repos.devices.add(item)
        assert await repos.devices.find(digest("token")) == tv
        assert await repos.devices.find(digest("nothing")) is None
        assert {item.id for item in await repos.devices.active()} == {tv.id, other.id}
        await repos.devices.touch(tv.id, NOON + timedelta(minutes=5))
        await repos.devices.touch(tv.id, NOON)
        assert await repos.devices.count(county.sites[0].id) == 1
    async with database.transaction() as repos:
        assert await repos.devices.revoke(tv.id, NOON + timedelta(hours=1), "li")
        assert not await repos.devices.revoke(tv.id, NOON + timedelta(hours=2), "zhao")
    async with database.read() as repos:
        assert await repos.devices.find(digest("token")) is None
        assert [item.id for item in await repos.devices.active()] == [other.id]
        kept = await repos.devices.get(tv.id)
    assert kept.last_seen_at == NOON + timedelta(minutes=5)
    assert (kept.revoked_at, kept.revoked_by) == (NOON + timedelta(hours=1), "li")
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.devices.add(device(county.sites[0]))
