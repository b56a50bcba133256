"""What storage hands out: plain frozen records, free of any database session.

Times of media are UTC Unix nanoseconds (``..._utc_ns``). Times of plans and of people (``..._at``, ``planned_...``) are
aware datetimes in UTC. Hashes are lower-case hex. Ids are opaque lower-case strings made by :func:`new_id`.
"""

from storage.records.base import Json, new_id
from storage.records.county import (
    Camera,
    CameraPlace,
    CameraTransport,
    Organization,
    OrganizationLevel,
    PlaceKind,
    Site,
    TlsTrust,
)
from storage.records.guidance import Attendance, GuidanceNote, NoteKind, RoomDevice, TalkEntry
from storage.records.meetings import Meeting, MeetingKind, MeetingPlace, MeetingState, OpenMeeting, StoryEntry
from storage.records.people import AuditEntry, AuditOutcome, OneTimeToken, Role, User, UserSession
from storage.records.recordings import (
    GENESIS_HASH,
    GapRecord,
    MediaObject,
    Recording,
    RecordingKind,
    RecordingPeriod,
    RecordingState,
    RecordingTotals,
    StoredSegment,
    TrackRange,
    UnfinishedRecording,
)

__all__ = [
    "GENESIS_HASH",
    "Attendance",
    "AuditEntry",
    "AuditOutcome",
    "Camera",
    "CameraPlace",
    "CameraTransport",
    "GapRecord",
    "GuidanceNote",
    "Json",
    "MediaObject",
    "Meeting",
    "MeetingKind",
    "MeetingPlace",
    "MeetingState",
    "NoteKind",
    "OneTimeToken",
    "OpenMeeting",
    "Organization",
    "OrganizationLevel",
    "PlaceKind",
    "Recording",
    "RecordingKind",
    "RecordingPeriod",
    "RecordingState",
    "RecordingTotals",
    "Role",
    "RoomDevice",
    "Site",
    "StoredSegment",
    "StoryEntry",
    "TalkEntry",
    "TlsTrust",
    "TrackRange",
    "UnfinishedRecording",
    "User",
    "UserSession",
    "new_id",
]
