"""Meetings: plans, start and end, timeline."""

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, time, timedelta

from storage.records import Meeting as MeetingRecord
from storage.records import MeetingPlace, MeetingState, new_id
from storage.records import StoryEntry as StoryRecord
from web.access.audit import meeting_detail
from web.access.scopes import Scope
from web.api import meeting_view, present
from web.api.guidance_story import guidance_story, without_looks
from web.api.meeting_lists import summaries
from web.api.schemas.meetings import (
    Calendar,
    CalendarQuery,
    DayCount,
    Meeting,
    MeetingInput,
    MeetingList,
    MeetingQuery,
    Timeline,
)
from web.api.timeline_view import shown_gaps, shown_spans, story
from web.call import Call
from web.errors import FieldsInvalidError, StateConflictError, WrongField
from web.live.events_board import BOARD
from web.operations import Operations

operations = Operations("meetings")


@operations.operation("GET", "/meetings", scope=Scope.MEETINGS_READ)
async def list_meetings(call: Call, query: MeetingQuery) -> MeetingList:
    """The meetings of a day."""
    zone = call.services.settings.zone
    day = query.day or call.now().astimezone(zone).date()
    area = call.narrowed(query.organization_id)
    start, end = _day_bounds(call, day)
    async with call.services.database.read() as repos:
        places = [item for item in await repos.meetings.between(start, end, area) if _matches(call, query, item)]
        before, after = await repos.meetings.nearest(start, end, area)
        items = await summaries(call, repos, places)
    return MeetingList(
        day=day,
        time_zone=zone.key,
        items=items,
        previous_day=before.astimezone(zone).date() if before is not None else None,
        next_day=after.astimezone(zone).date() if after is not None else None,
    )


@operations.operation("GET", "/calendar", scope=Scope.MEETINGS_READ)
async def get_calendar(call: Call, query: CalendarQuery) -> Calendar:
    """Which days of a month have meetings."""
    zone = call.services.settings.zone
    first = date.fromisoformat(f"{query.month}-01")
    after = (first + timedelta(days=32)).replace(day=1)
    area = call.narrowed(query.organization_id)
    async with call.services.database.read() as repos:
        starts = await repos.meetings.starts(_day_bounds(call, first)[0], _day_bounds(call, after)[0], area)
    counts = Counter((at.astimezone(zone).date(), state) for at, state in starts)
    days = sorted({day for day, _ in counts})
    return Calendar(
        month=query.month,
        days=[
            DayCount(
                day=day,
                planned=counts[day, MeetingState.PLANNED],
                running=counts[day, MeetingState.RUNNING],
                ended=counts[day, MeetingState.ENDED],
                missed=counts[day, MeetingState.MISSED],
            )
            for day in days
        ],
    )


@operations.operation("POST", "/meetings", scope=Scope.MEETINGS_PLAN, status=201)
async def create_meeting(call: Call, body: MeetingInput) -> Meeting:
    """Plan a meeting. One whose time has come starts within seconds."""
    blank = MeetingRecord(
        id=new_id(),
        organization_id=body.organization_id,
        site_id="",
        camera_id="",
        kind=body.kind,
        title="",
        planned_start=body.planned_start,
        created_by=call.principal.user.id,
        created_at=call.now(),
    )
    record = _planned(call, body, blank)
    async with call.services.database.transaction() as repos:
        await repos.meetings.add(record)
        await repos.story.add(_told(call, record.id, "meeting-planned"))
        await repos.audit.add(call.entry("meeting.create", f"meeting/{record.id}", **_named(call, record)))
    call.request.app[BOARD].meeting_changed(record.id)
    return await _shown(call, record.id)


@operations.operation("GET", "/meetings/{meeting_id}", scope=Scope.MEETINGS_READ)
async def get_meeting(call: Call, meeting_id: str) -> Meeting:
    """One meeting."""
    return await _shown(call, meeting_id)


@operations.operation("PUT", "/meetings/{meeting_id}", scope=Scope.MEETINGS_PLAN, errors=(409,))
async def update_meeting(call: Call, meeting_id: str, body: MeetingInput) -> Meeting:
    """Change the plan of a meeting that has not begun."""
    place = await call.meeting(meeting_id)
    if place.meeting.state is not MeetingState.PLANNED:
        raise StateConflictError(what="meeting")
    changed = _planned(call, body, place.meeting)
    async with call.services.database.transaction() as repos:
        if not await repos.meetings.replan(changed):
            # It has begun meanwhile.
            raise StateConflictError(what="meeting")
        await repos.story.add(_told(call, meeting_id, "meeting-changed"))
        await repos.audit.add(call.entry("meeting.update", f"meeting/{meeting_id}", **_named(call, changed)))
    call.request.app[BOARD].meeting_changed(meeting_id)
    return await _shown(call, meeting_id)


@operations.operation("POST", "/meetings/{meeting_id}/start", scope=Scope.MEETINGS_RUN, errors=(409,))
async def start_meeting(call: Call, meeting_id: str) -> Meeting:
    """Start a meeting and its recording now."""
    place = await call.meeting(meeting_id)
    await call.services.recorder.start_meeting(meeting_id, call.principal.user.id)
    async with call.services.database.transaction() as repos:
        await repos.audit.add(call.entry("meeting.start", f"meeting/{meeting_id}", **_named(call, place.meeting)))
    return await _shown(call, meeting_id)


@operations.operation("POST", "/meetings/{meeting_id}/end", scope=Scope.MEETINGS_RUN, errors=(409,))
async def end_meeting(call: Call, meeting_id: str) -> Meeting:
    """End a meeting and its recording now."""
    place = await call.meeting(meeting_id)
    await call.services.recorder.end_meeting(meeting_id, call.principal.user.id)
    call.services.playback.meetings.forget(meeting_id)
    async with call.services.database.transaction() as repos:
        await repos.audit.add(call.entry("meeting.end", f"meeting/{meeting_id}", **_named(call, place.meeting)))
    return await _shown(call, meeting_id)


@operations.operation("POST", "/meetings/{meeting_id}/cancel", scope=Scope.MEETINGS_PLAN, errors=(409,))
async def cancel_meeting(call: Call, meeting_id: str) -> Meeting:
    """Call off a planned meeting."""
    place = await call.meeting(meeting_id)
    async with call.services.database.transaction() as repos:
        if not await repos.meetings.cancel(meeting_id):
            raise StateConflictError(what="meeting")
        await repos.story.add(_told(call, meeting_id, "meeting-cancelled"))
        await repos.audit.add(call.entry("meeting.cancel", f"meeting/{meeting_id}", **_named(call, place.meeting)))
    call.request.app[BOARD].meeting_changed(meeting_id)
    return await _shown(call, meeting_id)


@operations.operation("GET", "/meetings/{meeting_id}/timeline", scope=Scope.MEETINGS_READ)
async def get_timeline(call: Call, meeting_id: str) -> Timeline:
    """What is on record of a meeting, what is missing, and what happened."""
    place = await call.meeting(meeting_id)
    async with call.services.database.read() as repos:
        facts = await meeting_view.recorded_facts(repos, place)
        entries = await repos.story.of_meeting(meeting_id)
        notes = await repos.notes.of_meetings([meeting_id])
        attendance = await repos.attendance.of_meeting(meeting_id)
    meeting = place.meeting
    return Timeline(
        meeting_id=meeting.id,
        state=meeting.state,
        starts_at=present.at_or_none(meeting.started_utc_ns),
        ends_at=present.at_or_none(meeting.ended_utc_ns),
        now=call.now(),
        spans=shown_spans(await meeting_view.recorded_stretches(call, meeting_id) if facts.recordings else []),
        gaps=shown_gaps(facts.gaps, call.catalog),
        story=sorted(
            [
                *story(without_looks(entries, attendance), facts.gaps, call.picture, call.catalog),
                *guidance_story(notes, attendance, call.catalog),
            ],
            key=lambda item: item.at,
        ),
    )


async def _shown(call: Call, meeting_id: str) -> Meeting:
    place = await call.meeting(meeting_id)
    async with call.services.database.read() as repos:
        facts = await meeting_view.recorded_facts(repos, place)
    return meeting_view.whole(call, place, facts)


def _day_bounds(call: Call, day: date) -> tuple[datetime, datetime]:
    zone = call.services.settings.zone
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)


def _matches(call: Call, query: MeetingQuery, place: MeetingPlace) -> bool:
    meeting = place.meeting
    if query.kind is not None and meeting.kind is not query.kind:
        return False
    if query.state is not None and meeting.state is not query.state:
        return False
    names = (present.title_of(meeting, call.catalog), place.organization.name, place.site.name)
    return not query.search or any(query.search.lower() in name.lower() for name in names)


def _named(call: Call, meeting: MeetingRecord) -> dict[str, str | int | float]:
    return meeting_detail(meeting, call.picture.organizations[meeting.organization_id].name)


def _told(call: Call, meeting_id: str, kind: str) -> StoryRecord:
    params = {"by": call.principal.user.id}
    return StoryRecord(meeting_id=meeting_id, at_utc_ns=call.services.clock.utc_ns(), kind=kind, params=params)


def _planned(call: Call, body: MeetingInput, record: MeetingRecord) -> MeetingRecord:
    """``record`` with what a person plans, checked: place and camera belong together and to the person's area."""
    picture, wrong = call.picture, []
    organization = picture.organizations.get(body.organization_id)
    if organization is None:
        raise FieldsInvalidError([WrongField("organization_id", "not-there", {})])
    if not picture.within(call.principal.area, organization.id):
        raise FieldsInvalidError([WrongField("organization_id", "outside-area", {})])
    sites = [site for site in picture.sites.values() if site.organization_id == organization.id]
    site = next((item for item in sites if body.site_id in (None, item.id)), None)
    cameras = [item.camera for item in picture.cameras.values() if site is not None and item.site.id == site.id]
    camera = next((item for item in cameras if body.camera_id in (None, item.id)), None)
    if site is None:
        wrong.append(WrongField("site_id", "no-site" if body.site_id is None else "site-elsewhere", {}))
    elif camera is None:
        wrong.append(WrongField("camera_id", "no-camera" if body.camera_id is None else "camera-elsewhere", {}))
    if body.planned_end is not None and body.planned_end <= body.planned_start:
        wrong.append(WrongField("planned_end", "end-before-start", {}))
    if not body.record and not body.no_record_reason:
        wrong.append(WrongField("no_record_reason", "reason-needed", {}))
    if wrong or site is None or camera is None:
        raise FieldsInvalidError(wrong)
    # A title is data of the archive, so it stands in the language of the county, not of who plans.
    county = call.services.catalogs.of(None)
    untitled = body.title in ("", county.text("kinds", record.kind.value))
    return replace(
        record,
        organization_id=organization.id,
        site_id=site.id,
        camera_id=camera.id,
        kind=body.kind,
        title=county.text("kinds", body.kind.value) if untitled else body.title,
        planned_start=body.planned_start,
        planned_end=body.planned_end,
        record=body.record,
        no_record_reason=body.no_record_reason,
    )
