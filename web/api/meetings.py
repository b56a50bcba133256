"""Meetings: plans, start and end, timeline."""

from web.access.scopes import Scope
from web.api.schemas.meetings import Calendar, CalendarQuery, Meeting, MeetingInput, MeetingList, MeetingQuery, Timeline
from web.call import Call
from web.operations import Operations

operations = Operations("meetings")


@operations.operation("GET", "/meetings", scope=Scope.MEETINGS_READ)
async def list_meetings(call: Call, query: MeetingQuery) -> MeetingList:
    """The meetings of a day."""
    raise NotImplementedError


@operations.operation("GET", "/calendar", scope=Scope.MEETINGS_READ)
async def get_calendar(call: Call, query: CalendarQuery) -> Calendar:
    """Which days of a month have meetings."""
    raise NotImplementedError


@operations.operation("POST", "/meetings", scope=Scope.MEETINGS_PLAN, status=201)
async def create_meeting(call: Call, body: MeetingInput) -> Meeting:
    """Plan a meeting. One whose time has come starts within seconds."""
    raise NotImplementedError


@operations.operation("GET", "/meetings/{meeting_id}", scope=Scope.MEETINGS_READ)
async def get_meeting(call: Call, meeting_id: str) -> Meeting:
    """One meeting."""
    raise NotImplementedError


@operations.operation("PUT", "/meetings/{meeting_id}", scope=Scope.MEETINGS_PLAN)
async def update_meeting(call: Call, meeting_id: str, body: MeetingInput) -> Meeting:
    """Change the plan of a meeting that has not begun."""
    raise NotImplementedError


@operations.operation("POST", "/meetings/{meeting_id}/start", scope=Scope.MEETINGS_RUN)
async def start_meeting(call: Call, meeting_id: str) -> Meeting:
    """Start a meeting and its recording now."""
    raise NotImplementedError


@operations.operation("POST", "/meetings/{meeting_id}/end", scope=Scope.MEETINGS_RUN)
async def end_meeting(call: Call, meeting_id: str) -> Meeting:
    """End a meeting and its recording now."""
    raise NotImplementedError


@operations.operation("POST", "/meetings/{meeting_id}/cancel", scope=Scope.MEETINGS_PLAN)
async def cancel_meeting(call: Call, meeting_id: str) -> Meeting:
    """Call off a planned meeting."""
    raise NotImplementedError


@operations.operation("GET", "/meetings/{meeting_id}/timeline", scope=Scope.MEETINGS_READ)
async def get_timeline(call: Call, meeting_id: str) -> Timeline:
    """What is on record of a meeting, what is missing, and what happened."""
    raise NotImplementedError
