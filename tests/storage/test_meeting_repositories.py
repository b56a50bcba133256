"""Meetings and their story: on SQLite and PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError
from storage.records import MeetingKind, MeetingState, OpenMeeting, StoryEntry
from storage.repositories.meetings import ArchiveQuery
from tests.support.rows import NOON, NOON_NS, S, SampleCounty, recording

HOUR = timedelta(hours=1)
SHANGHAI = timezone(timedelta(hours=8))


async def test_a_meeting_comes_back_as_it_was_planned(database: Database, county: SampleCounty) -> None:
    planned = county.meeting(
        kind=MeetingKind.ORGANIZATIONAL_LIFE,
        title="组织生活会（扩大）",
        planned_start=datetime(2026, 11, 21, 12, 0, tzinfo=SHANGHAI),
        planned_end=NOON + 2 * HOUR,
        record=False,
        no_record_reason="涉密不录",
        created_by="plan",
    )
    async with database.transaction() as repos:
        await repos.meetings.add(planned)
    async with database.read() as repos:
        found = await repos.meetings.get(planned.id)
    assert found == planned
    assert found.planned_start.utcoffset() == timedelta(0)


async def test_a_time_without_a_zone_is_refused(database: Database, county: SampleCounty) -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(Exception, match="zone"):
        async with database.transaction() as repos:
            await repos.meetings.add(county.meeting(planned_start=naive))


async def test_meetings_of_a_day_and_a_subtree(database: Database, county: SampleCounty) -> None:
    day = datetime(2026, 11, 21, tzinfo=SHANGHAI)
    first = county.meeting(0, planned_start=day)
    noon = county.meeting(1)
    other_town = county.meeting(2, planned_start=NOON + HOUR)
    tomorrow = county.meeting(0, planned_start=day + timedelta(days=1))
    async with database.transaction() as repos:
        for meeting in (tomorrow, other_town, noon, first):
            await repos.meetings.add(meeting)
    async with database.read() as repos:
        whole = await repos.meetings.between(day, day + timedelta(days=1))
        town = await repos.meetings.between(day, day + timedelta(days=1), county.towns[0].id)
        place = await repos.meetings.place(noon.id)
    assert [found.meeting.id for found in whole] == [first.id, noon.id, other_town.id]
    assert [found.meeting.id for found in town] == [first.id, noon.id]
    assert (place.site, place.organization, place.camera) == (
        county.sites[1], county.villages[1], county.cameras[1]
    )  # fmt: skip


async def test_what_is_due_overdue_running_and_next(database: Database, county: SampleCounty) -> None:
    due = county.meeting(0, planned_start=NOON - HOUR, planned_end=NOON + HOUR)
    endless = county.meeting(1, planned_start=NOON)
    overdue = county.meeting(2, planned_start=NOON - 3 * HOUR, planned_end=NOON)
    later = county.meeting(0, planned_start=NOON + 2 * HOUR)
    much_later = county.meeting(0, planned_start=NOON + 9 * HOUR)
    async with database.transaction() as repos:
        for meeting in (due, endless, overdue, much_later, later):
            await repos.meetings.add(meeting)
    async with database.read() as repos:
        assert [meeting.id for meeting in await repos.meetings.due(NOON)] == [due.id, endless.id]
        assert [meeting.id for meeting in await repos.meetings.open(NOON)] == [overdue.id, due.id, endless.id]
        upcoming = await repos.meetings.next_by_camera(NOON + timedelta(seconds=1))
        assert {key: meeting.id for key, meeting in upcoming.items()} == {county.cameras[0].id: later.id}
        assert await repos.meetings.running() == ()
    async with database.transaction() as repos:
        assert await repos.meetings.start(due.id, NOON_NS, "plan")
        assert await repos.meetings.miss(overdue.id)
    async with database.read() as repos:
        assert [found.meeting.id for found in await repos.meetings.running()] == [due.id]
        assert [found.meeting.id for found in await repos.meetings.running(county.towns[1].id)] == []
        now, waiting = await repos.meetings.open(NOON)
        running = MeetingState.RUNNING
        assert now == OpenMeeting(
            due.id, due.camera_id, running, due.planned_start, due.planned_end, NOON_NS, recorded=True
        )
        assert (waiting.id, waiting.state) == (endless.id, MeetingState.PLANNED)
        assert [meeting.id for meeting in await repos.meetings.due(NOON)] == [endless.id]
        counts = await repos.meetings.counts()
    assert counts == {
        MeetingState.PLANNED: 3,
        MeetingState.RUNNING: 1,
        MeetingState.ENDED: 0,
        MeetingState.CANCELLED: 0,
        MeetingState.MISSED: 1,
    }


async def test_a_meeting_starts_once_and_ends_once(database: Database, county: SampleCounty) -> None:
    meeting = county.meeting()
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
        assert not await repos.meetings.end(meeting.id, NOON_NS, "wang")

    async def start(by: str) -> bool:
        async with database.transaction() as repos:
            return await repos.meetings.start(meeting.id, NOON_NS, by)

    assert sorted(await asyncio.gather(*(start(f"user-{number}") for number in range(5)))) == [False] * 4 + [True]
    async with database.transaction() as repos:
        assert not await repos.meetings.cancel(meeting.id)
        assert await repos.meetings.end(meeting.id, NOON_NS + 3600 * S, "wang")
        assert not await repos.meetings.end(meeting.id, NOON_NS + 7200 * S, "li")
    async with database.read() as repos:
        found = await repos.meetings.get(meeting.id)
    assert (found.state, found.started_utc_ns, found.ended_utc_ns) == (
        MeetingState.ENDED, NOON_NS, NOON_NS + 3600 * S
    )  # fmt: skip
    assert found.started_by.startswith("user-")
    assert found.ended_by == "wang"


async def test_a_plan_is_changed_until_the_meeting_begins(database: Database, county: SampleCounty) -> None:
    meeting = county.meeting()
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
        assert await repos.meetings.replan(replace(meeting, title="改了名", state=MeetingState.CANCELLED))
        found = await repos.meetings.get(meeting.id)
        assert (found.title, found.state) == ("改了名", MeetingState.PLANNED)
        await repos.meetings.start(meeting.id, NOON_NS, "plan")
        assert not await repos.meetings.replan(replace(meeting, title="太晚了", record=False))
        assert not await repos.meetings.replan(county.meeting())
        found = await repos.meetings.get(meeting.id)
    assert (found.title, found.record, found.started_utc_ns) == ("改了名", True, NOON_NS)


async def test_a_meeting_called_missed_before_its_time_is_due_all_the_same(
    database: Database, county: SampleCounty
) -> None:
    """A machine whose hardware clock shows local time is hours ahead until NTP has set it."""
    soon, over, endless = (
        county.meeting(0, planned_end=NOON + HOUR),
        county.meeting(1, planned_end=NOON),
        county.meeting(2),
    )
    last_week = county.meeting(0, planned_start=NOON - 7 * 24 * HOUR, planned_end=NOON + HOUR)
    async with database.transaction() as repos:
        for meeting in (soon, over, endless, last_week):
            await repos.meetings.add(meeting)
            assert await repos.meetings.miss(meeting.id)
        assert await repos.meetings.due(NOON - HOUR) == ()
        (found,) = await repos.meetings.due(NOON + HOUR / 2)
        assert await repos.meetings.due(NOON + HOUR) == ()
        assert [await repos.meetings.open(NOON + ahead) for ahead in (-HOUR, HOUR)] == [(), ()]
        (same,) = await repos.meetings.open(NOON + HOUR / 2)
        assert (same.id, same.state) == (found.id, MeetingState.MISSED)
    assert found.id == soon.id


async def test_a_meeting_with_recordings_stays(database: Database, county: SampleCounty) -> None:
    meeting, empty = county.meeting(), county.meeting(1)
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
        await repos.meetings.add(empty)
        await repos.recordings.add(recording(meeting))
        await repos.story.add(StoryEntry(meeting_id=empty.id, at_utc_ns=NOON_NS, kind="planned"))
        await repos.meetings.delete(empty.id)
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.meetings.delete(meeting.id)
    with pytest.raises(RecordNotFoundError):
        async with database.transaction() as repos:
            await repos.meetings.delete(empty.id)


async def test_the_story_is_told_in_order_of_time(database: Database, county: SampleCounty) -> None:
    meeting = county.meeting()
    entries = [
        StoryEntry(meeting_id=meeting.id, at_utc_ns=NOON_NS + 5 * S, kind="camera-lost", params={"camera": "主席台"}),
        StoryEntry(meeting_id=meeting.id, at_utc_ns=NOON_NS, kind="started", params={"by": "plan"}),
        StoryEntry(meeting_id=meeting.id, at_utc_ns=NOON_NS + 5 * S, kind="camera-back", params={"after_s": 5.5}),
    ]
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
        written = [await repos.story.add(entry) for entry in entries]
    assert len({entry.id for entry in written}) == 3
    async with database.read() as repos:
        assert await repos.story.of_meeting(meeting.id) == (written[1], written[0], written[2])


async def test_the_archive_is_walked_back_page_by_page(database: Database, county: SampleCounty) -> None:
    """Each meeting once, newest first, whatever ends up at the edge of a page; words are looked for in three names."""
    made = [
        county.meeting(number % 3, planned_start=NOON - number // 2 * HOUR, title=f"党课 {number}")
        for number in range(9)
    ]
    later = county.meeting(0, planned_start=NOON + HOUR)
    async with database.transaction() as repos:
        for meeting in (*made, later):
            await repos.meetings.add(meeting)

    async def found(**more: Any) -> list[str]:
        seen: list[str] = []
        wanted = ArchiveQuery(before=NOON + timedelta(seconds=1), **more)
        async with database.read() as repos:
            while page := await repos.meetings.archive(wanted, 2):
                seen += [place.meeting.title for place in page]
                last = page[-1].meeting
                wanted = replace(wanted, before=last.planned_start, before_id=last.id)
        assert len(seen) == len(set(seen))
        return sorted(seen)

    titles = [meeting.title for meeting in made]
    assert await found() == titles
    assert await found(organization_id=county.towns[1].id) == titles[2::3]
    assert await found(words=("石桥",)) == titles[1::3]
    assert await found(words=("党课", "7")) == ["党课 7"]
    assert await found(words=("石桥", "7")) == ["党课 7"]
    assert await found(words=("%",)) == []
    assert await found(state=MeetingState.ENDED) == []
    async with database.read() as repos:
        assert await repos.meetings.nearest(NOON, NOON + timedelta(minutes=1)) == (NOON - HOUR, later.planned_start)
        assert await repos.meetings.nearest(NOON - 9 * HOUR, NOON + 9 * HOUR) == (None, None)
        assert sorted(await repos.meetings.starts(NOON, NOON + 2 * HOUR, county.towns[0].id)) == [
            (NOON, MeetingState.PLANNED), (NOON, MeetingState.PLANNED), (NOON + HOUR, MeetingState.PLANNED),
        ]  # fmt: skip


async def test_a_running_meeting_is_recorded_unless_that_is_refused_or_its_camera_off(
    database: Database, county: SampleCounty
) -> None:
    async def recorded() -> dict[str, bool]:
        async with database.read() as repos:
            return {found.id: found.recorded for found in await repos.meetings.open(NOON)}

    open_one, secret = county.meeting(0), replace(county.meeting(1), record=False)
    async with database.transaction() as repos:
        for meeting in (open_one, secret):
            await repos.meetings.add(meeting)
            assert await repos.meetings.start(meeting.id, NOON_NS, "plan")
    assert await recorded() == {open_one.id: True, secret.id: False}
    async with database.transaction() as repos:
        await repos.cameras.update(replace(county.cameras[0], enabled=False))
    assert await recorded() == {open_one.id: False, secret.id: False}
