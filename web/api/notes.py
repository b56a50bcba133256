"""Guidance notes (指导意见), and who looks in."""

from recorder.meetings import utc_ns_of
from storage.errors import ConflictError
from storage.records import GuidanceNote, MeetingPlace, OrganizationLevel, new_id
from web.access.audit import meeting_detail
from web.access.scopes import Scope
from web.api import live_view
from web.api.schemas.guidance import Note, NoteInput, NoteList, PresenceRecord
from web.call import Call
from web.errors import (
    BusyError,
    FieldsInvalidError,
    ForbiddenError,
    NoteRefusedError,
    SupervisionRefusedError,
    WrongField,
)
from web.live.events_board import BOARD
from web.live.presence import office_of
from web.operations import Operations

operations = Operations("guidance")
MOST_NOTES = 500
"""Notes that one meeting takes."""
NOTES_A_MINUTE = 30
"""Notes that one person may write; a room cannot read faster."""


@operations.operation("GET", "/meetings/{meeting_id}/notes", scope=Scope.MEETINGS_READ)
async def list_notes(call: Call, meeting_id: str) -> NoteList:
    """The notes of a meeting in order of time."""
    place = await call.meeting(meeting_id)
    async with call.services.database.read() as repos:
        notes = await repos.notes.of_meetings([meeting_id])
    return live_view.note_list(notes, place.meeting.started_utc_ns)


@operations.operation("POST", "/meetings/{meeting_id}/notes", scope=Scope.GUIDANCE_NOTE, status=201, errors=(409, 503))
async def write_note(call: Call, meeting_id: str, body: NoteInput) -> Note:
    """Write a note to a running meeting; it stands on the room's TV within a second.

    Sent again with the same ``key``, it answers with the note that there is, and writes none.
    """
    place = await call.meeting(meeting_id)
    user = call.principal.user
    office = office_of(call.picture, user)
    if office is None or office.level is OrganizationLevel.VILLAGE:
        raise ForbiddenError(scope=Scope.GUIDANCE_NOTE.value)
    if not place.camera.supervision_allowed:
        raise SupervisionRefusedError
    now = call.services.clock.utc_ns()
    # Nobody sees the future, nor what was before the meeting: a page's clock may be wrong, the note stands.
    at = now if body.at is None else min(now, max(place.meeting.started_utc_ns or now, utc_ns_of(body.at)))
    note = GuidanceNote(
        id=new_id(),
        meeting_id=meeting_id,
        author_id=user.id,
        author_name=user.display_name,
        office_id=office.id,
        office_name=office.name,
        kind=body.kind,
        text=body.text,
        key=body.key,
        at_utc_ns=at,
        written_utc_ns=now,
    )
    try:
        written = await _write(call, note, place)
    except ConflictError:
        # The same note twice at one moment: the other one was written.
        written = await _write(call, note, place)
    if written.meeting_id != meeting_id:
        raise FieldsInvalidError([WrongField("key", "taken", {})])
    if written.id == note.id:
        call.request.app[BOARD].note_changed(place, written)
    return live_view.shown_note(written, place.meeting.started_utc_ns)


async def _write(call: Call, note: GuidanceNote, place: MeetingPlace) -> GuidanceNote:
    written = call.request.app[BOARD].notes_written
    async with call.services.database.transaction() as repos:
        known = await repos.notes.by_key(note.author_id, note.key)
        if known is not None:
            return known
        if written.count(note.author_id) >= NOTES_A_MINUTE:
            raise BusyError(seconds=written.wait_s(note.author_id))
        if not await repos.notes.may_change(note.meeting_id):
            raise NoteRefusedError
        if await repos.notes.count(note.meeting_id) >= MOST_NOTES:
            raise BusyError(seconds=60)
        await repos.notes.add(note)
        named = meeting_detail(place.meeting, place.organization.name)
        subject = f"meeting/{note.meeting_id}"
        await repos.audit.add(call.entry("note.write", subject, text=note.text, note=note.id, **named))
    written.add(note.author_id)
    return note


@operations.operation("GET", "/meetings/{meeting_id}/presence", scope=Scope.MEETINGS_READ)
async def get_presence(call: Call, meeting_id: str) -> PresenceRecord:
    """Who looks in at a meeting now, and who did."""
    await call.meeting(meeting_id)
    async with call.services.database.read() as repos:
        entries = await repos.attendance.of_meeting(meeting_id)
    now = live_view.presence_now(call.request.app[BOARD].presence.of(meeting_id), call.picture)
    return PresenceRecord(people=now.people, entries=[live_view.attendance(entry) for entry in entries])
