"""Meetings begin, run and end: the rows that say so. What records is recorder.recording; who decides is the service."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from media.unit import NS_PER_S
from recorder.errors import MeetingStateError
from recorder.plan import RecordingPlan
from storage.database import Database
from storage.records import (
    Meeting,
    MeetingPlace,
    MeetingState,
    OpenMeeting,
    Recording,
    RecordingKind,
    RecordingState,
    StoryEntry,
    new_id,
)

BY_PLAN = "plan"
"""``started_by`` and ``ended_by`` of what no person did."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A meeting that was started, and its recording; None where none is wanted."""

    place: MeetingPlace
    recording: Recording | None


def utc_ns_of(moment: datetime) -> int:
    """Unix nanoseconds of an aware datetime, exactly."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def datetime_of(utc_ns: int) -> datetime:
    """The aware datetime, in UTC, to the microsecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=utc_ns // 1000)


def wants_recording(place: MeetingPlace) -> bool:
    """Whether the meeting is to be recorded: not refused, and its camera in use."""
    return place.meeting.record and place.camera.enabled


def plan_of(place: MeetingPlace, recording: Recording) -> RecordingPlan:
    """What to record, with the names that make the archive readable without the database."""
    guidance = recording.kind is RecordingKind.GUIDANCE
    return RecordingPlan(
        recording=recording.id,
        meeting=place.meeting.id,
        camera=recording.camera_id,
        stream=guidance_stream(place.meeting.id) if guidance else "",
        intermittent=guidance,
        metadata={
            "title": place.meeting.title,
            "content": recording.kind.value,
            "kind": place.meeting.kind.value,
            "organization": place.organization.name,
            "site": place.site.name,
            "camera-name": place.camera.name,
        },
    )


def ends_at(meeting: Meeting | OpenMeeting, grace_s: float, longest_s: float) -> int | None:
    """When a running meeting ends by itself, Unix nanoseconds. The plan counts only if the meeting began before its
    end: one that was started by hand afterwards is meant to run."""
    if meeting.started_utc_ns is None:
        return None
    if meeting.planned_end is not None and utc_ns_of(meeting.planned_end) > meeting.started_utc_ns:
        return utc_ns_of(meeting.planned_end) + int(grace_s * NS_PER_S)
    return meeting.started_utc_ns + int(longest_s * NS_PER_S)


def guidance_stream(meeting_id: str) -> str:
    """Under which name the stream of what is said into a meeting's room is found."""
    return f"talk:{meeting_id}"


async def add_guidance_recording(database: Database, meeting_id: str, utc_ns: int) -> tuple[MeetingPlace, Recording]:
    """The recording of what is said into a running meeting's room, added where there is none; it lasts as long as the
    meeting. Raises MeetingStateError, RecordNotFoundError, DatabaseError."""
    async with database.transaction() as repos:
        place = await repos.meetings.place(meeting_id)
        if place.meeting.state is not MeetingState.RUNNING:
            raise MeetingStateError("the meeting is not running", meeting=meeting_id, state=place.meeting.state.value)
        known = await repos.recordings.guidance(meeting_id)
        if known is None:
            known = Recording(
                id=new_id(),
                meeting_id=meeting_id,
                camera_id=place.meeting.camera_id,
                started_utc_ns=utc_ns,
                kind=RecordingKind.GUIDANCE,
            )
            await repos.recordings.add(known)
    return place, known


async def begin(database: Database, meeting_id: str, utc_ns: int, by: str, *, late_ns: int) -> Begun:
    """planned → running, with its recording's row and a line in its story, in one transaction.

    A meeting started by plan more than ``late_ns`` after its time is on record from its planned start on, so that what
    was missed is part of it. Raises MeetingStateError, RecordNotFoundError, DatabaseError.
    """
    async with database.transaction() as repos:
        place = await repos.meetings.place(meeting_id)
        meeting = place.meeting
        planned = utc_ns_of(meeting.planned_start)
        late = by == BY_PLAN and utc_ns - planned > late_ns
        start = planned if late else utc_ns
        if not await repos.meetings.start(meeting_id, start, by):
            raise MeetingStateError(
                f"a meeting that is {meeting.state} cannot be started", meeting=meeting_id, state=meeting.state.value
            )
        # From here on nobody changes its plan; until here somebody may have, and have refused to be recorded.
        place = await repos.meetings.place(meeting_id)
        await repos.story.add(
            StoryEntry(meeting_id=meeting_id, at_utc_ns=utc_ns, kind="meeting-started", params={"by": by})
        )
        if late:
            await repos.story.add(
                StoryEntry(
                    meeting_id=meeting_id,
                    at_utc_ns=utc_ns,
                    kind="meeting-started-late",
                    params={"late_s": (utc_ns - planned) // NS_PER_S},
                )
            )
        recording = None
        if wants_recording(place):
            recording = _new_recording(place, start)
            await repos.recordings.add(recording)
        else:
            reason = "refused" if not place.meeting.record else "camera-off"
            await repos.story.add(
                StoryEntry(meeting_id=meeting_id, at_utc_ns=utc_ns, kind="not-recorded", params={"reason": reason})
            )
    return Begun(place, recording)


async def add_missing_recording(database: Database, place: MeetingPlace, utc_ns: int) -> Recording:
    """A meeting runs and is to be recorded, yet has no recording: give it one from its start on, and say so in its
    story."""
    async with database.transaction() as repos:
        known = await repos.recordings.find(place.meeting.id, place.meeting.camera_id)
        if known is not None:
            return known
        recording = _new_recording(place, place.meeting.started_utc_ns or utc_ns)
        await repos.recordings.add(recording)
        await repos.story.add(
            StoryEntry(
                meeting_id=place.meeting.id,
                at_utc_ns=utc_ns,
                kind="recorded-late",
                params={"camera": recording.camera_id, "late_s": (utc_ns - recording.started_utc_ns) // NS_PER_S},
            )
        )
    return recording


async def finish(database: Database, meeting_id: str, utc_ns: int, by: str) -> tuple[Recording, ...]:
    """running → ended, its recordings finishing, a line in its story, in one transaction. The recordings.

    Raises MeetingStateError, RecordNotFoundError, DatabaseError.
    """
    async with database.transaction() as repos:
        meeting = await repos.meetings.get(meeting_id)
        if not await repos.meetings.end(meeting_id, utc_ns, by):
            raise MeetingStateError(
                f"a meeting that is {meeting.state} cannot be ended", meeting=meeting_id, state=meeting.state.value
            )
        await repos.story.add(
            StoryEntry(meeting_id=meeting_id, at_utc_ns=utc_ns, kind="meeting-ended", params={"by": by})
        )
        recordings = await repos.recordings.all_of_meeting(meeting_id)
        for recording in recordings:
            if recording.state is RecordingState.RECORDING:
                await repos.recordings.set_state(recording.id, RecordingState.FINISHING, utc_ns)
    return recordings


async def miss(database: Database, meeting: OpenMeeting, utc_ns: int) -> None:
    """A planned meeting whose time passed while nobody, the service neither, was there. Raises DatabaseError."""
    async with database.transaction() as repos:
        if meeting.state is MeetingState.PLANNED and await repos.meetings.miss(meeting.id):
            await repos.story.add(StoryEntry(meeting_id=meeting.id, at_utc_ns=utc_ns, kind="meeting-missed"))


def _new_recording(place: MeetingPlace, start_utc_ns: int) -> Recording:
    return Recording(
        id=new_id(),
        meeting_id=place.meeting.id,
        camera_id=place.meeting.camera_id,
        started_utc_ns=start_utc_ns,
    )
