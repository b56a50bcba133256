"""What changes while a room is live, first as plain facts that can be compared, then as the API shows it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from media.unit import NS_PER_S, AudioTrack
from recorder.state import LiveState
from storage.records import Attendance as AttendanceRecord
from storage.records import CameraPlace, GuidanceNote, Meeting, MeetingPlace, MeetingState, Organization, Site
from storage.records import Recording as RecordingRecord
from streaming.camera_status import CameraStatus, Problem
from streaming.pushed_session import PUSHED_URL
from web.api import present
from web.api.schemas.cameras import CameraState
from web.api.schemas.common import Notice, OrganizationRef, PersonRef
from web.api.schemas.events import MeetingNow
from web.api.schemas.guidance import Attendance, Note, NoteList, Presence, PresenceNow, Talk
from web.api.schemas.meetings import RecordingState
from web.api.schemas.rooms import CameraNow, Office, RecordingNow, Room
from web.county import CountyPicture
from web.messages import Catalog

SILENT_TALK = Talk(speaker=None, queue=[])
"""Nobody speaks."""


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """A camera's state without its counters."""

    place: CameraPlace
    state: CameraState
    since_utc_ns: int | None
    has_audio: bool | None
    has_picture: bool | None
    problem: Problem | None
    unreadable: bool


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """How a recording stands, and since when there is media."""

    state: RecordingState
    since_utc_ns: int | None = None


@dataclass(frozen=True, slots=True)
class MeetingFacts:
    """A meeting's page at one moment."""

    place: MeetingPlace
    camera: CameraFacts
    recording: RecordingFacts
    presence: tuple[AttendanceRecord, ...]
    notes: tuple[GuidanceNote, ...]
    talk: Talk = SILENT_TALK


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """A room's page at one moment. ``notes`` are those not yet answered."""

    site: Site
    village: Organization
    cameras: tuple[CameraFacts, ...]
    meeting: Meeting | None
    recording: RecordingFacts | None
    next: Meeting | None
    presence: tuple[AttendanceRecord, ...]
    viewers: int
    notes: tuple[GuidanceNote, ...]
    talk: Talk = SILENT_TALK


def camera_facts(place: CameraPlace, status: CameraStatus | None, *, unreadable: bool) -> CameraFacts:
    """What is to be compared of a camera."""
    state = present.camera_state(place, status)
    online = state is CameraState.ONLINE and status is not None and bool(status.tracks)
    return CameraFacts(
        place=place,
        state=state,
        since_utc_ns=status.since_utc_ns if status is not None else None,
        has_audio=any(isinstance(track, AudioTrack) for track in status.tracks) if online and status else None,
        has_picture=not status.picture_missing if online and status else None,
        problem=status.problem if status is not None and place.camera.enabled else None,
        unreadable=unreadable,
    )


def camera_now(facts: CameraFacts, catalog: Catalog) -> CameraNow:
    """A camera for the API."""
    problem: Notice | None = None
    if facts.place.camera.enabled and facts.unreadable:
        problem = catalog.notice("secret-unreadable")
    elif facts.problem is not None:
        problem = catalog.notice(facts.problem.code, facts.problem.params)
    return CameraNow(
        camera=present.camera_ref(facts.place.camera),
        state=facts.state,
        since=present.at_or_none(facts.since_utc_ns),
        has_audio=facts.has_audio,
        has_picture=facts.has_picture,
        problem=problem,
    )


def recording_facts(
    meeting: Meeting, live: LiveState | None, recordings: Iterable[RecordingRecord] = ()
) -> RecordingFacts:
    """How the recording stands. ``recordings`` are asked for only where the meeting does not run."""
    running = meeting.state is MeetingState.RUNNING
    if running and not meeting.record:
        return RecordingFacts(RecordingState.NONE)
    state = present.recording_state(recordings, live, running=running)
    return RecordingFacts(state, live.recording_since_utc_ns if live is not None else None)


def recording_now(facts: RecordingFacts) -> RecordingNow:
    """A recording for the API."""
    return RecordingNow(state=facts.state, since=present.at_or_none(facts.since_utc_ns))


def shown_note(note: GuidanceNote, started_utc_ns: int | None) -> Note:
    """A note for the API. ``started_utc_ns`` is when its meeting began."""
    return Note(
        id=note.id,
        meeting_id=note.meeting_id,
        kind=note.kind,
        text=note.text,
        author=PersonRef(id=note.author_id, name=note.author_name),
        office=note.office_name,
        at=present.at(note.at_utc_ns),
        at_s=round(max(0, note.at_utc_ns - (started_utc_ns or note.at_utc_ns)) / NS_PER_S, 3),
        written_at=present.at(note.written_utc_ns),
        shown_at=present.at_or_none(note.shown_utc_ns),
        answered_at=present.at_or_none(note.answered_utc_ns),
    )


def note_list(notes: Iterable[GuidanceNote], started_utc_ns: int | None) -> NoteList:
    """Notes for the API."""
    return NoteList(items=[shown_note(note, started_utc_ns) for note in notes])


def presence_now(entries: Sequence[AttendanceRecord], picture: CountyPicture) -> PresenceNow:
    """Who looks in now, superior officials first."""
    ordered = sorted(entries, key=lambda item: (not item.superior, item.from_utc_ns))
    return PresenceNow(people=[_presence(entry, picture) for entry in ordered])


def _presence(entry: AttendanceRecord, picture: CountyPicture) -> Presence:
    office = picture.organizations.get(entry.office_id or "")
    shown = OrganizationRef(id=office.id, name=entry.office_name, level=office.level) if office else None
    return Presence(
        person=PersonRef(id=entry.user_id, name=entry.name),
        office=shown,
        superior=entry.superior,
        since=present.at(entry.from_utc_ns),
    )


def attendance(entry: AttendanceRecord) -> Attendance:
    """An entry for the API."""
    return Attendance(
        person=PersonRef(id=entry.user_id, name=entry.name),
        office=entry.office_name,
        superior=entry.superior,
        from_at=present.at(entry.from_utc_ns),
        to_at=present.at_or_none(entry.to_utc_ns),
    )


def meeting_now(facts: MeetingFacts, picture: CountyPicture, catalog: Catalog) -> MeetingNow:
    """A meeting's page for the API."""
    meeting = facts.place.meeting
    return MeetingNow(
        meeting=present.brief(meeting, catalog),
        camera=camera_now(facts.camera, catalog),
        recording=recording_now(facts.recording),
        presence=presence_now(facts.presence, picture),
        notes=note_list(facts.notes, meeting.started_utc_ns),
        talk=facts.talk,
    )


def room(facts: RoomFacts, catalog: Catalog, utc_ns: int, *, device: str | None, csrf_token: str | None) -> Room:
    """A room's page for the API."""
    meeting = facts.meeting
    return Room(
        at=present.at(utc_ns),
        device=device,
        topic=f"room/{facts.site.id}",
        csrf_token=csrf_token,
        site=present.site_ref(facts.site),
        village=present.organization_ref(facts.village),
        cameras=[camera_now(camera, catalog) for camera in facts.cameras],
        meeting=present.brief(meeting, catalog) if meeting is not None else None,
        recording=recording_now(facts.recording) if facts.recording is not None else None,
        picture_missing=meeting is not None and any(_is_dark(item, meeting) for item in facts.cameras),
        next_meeting=present.brief(facts.next, catalog) if facts.next is not None else None,
        offices=_offices(facts.presence),
        viewers=facts.viewers,
        notes=[shown_note(note, meeting.started_utc_ns if meeting is not None else None) for note in facts.notes],
        talk=facts.talk,
        voice_url=present.voice_url(meeting.id) if meeting is not None else None,
        send_url=next((present.send_url(item.place.camera.id) for item in facts.cameras if _is_sent(item)), None),
    )


def _is_sent(camera: CameraFacts) -> bool:
    return camera.place.camera.url == PUSHED_URL


def _is_dark(camera: CameraFacts, meeting: Meeting) -> bool:
    return camera.place.camera.id == meeting.camera_id and camera.has_picture is False


def _offices(entries: Iterable[AttendanceRecord]) -> list[Office]:
    grouped: dict[str, list[AttendanceRecord]] = {}
    for entry in entries:
        if entry.superior:
            grouped.setdefault(entry.office_name, []).append(entry)
    offices = [
        Office(
            name=name,
            people=len({entry.user_id for entry in found}),
            since=present.at(min(entry.from_utc_ns for entry in found)),
        )
        for name, found in grouped.items()
    ]
    return sorted(offices, key=lambda office: office.since)
