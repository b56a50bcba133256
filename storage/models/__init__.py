"""All tables. Importing this package registers them with :class:`storage.models.base.Base`."""

from storage.models.base import Base
from storage.models.county import CameraRow, OrganizationRow, SiteRow
from storage.models.guidance import AttendanceRow, GuidanceNoteRow, RoomDeviceRow, TalkEntryRow
from storage.models.meetings import MeetingRow, StoryRow
from storage.models.people import AuditRow, OneTimeTokenRow, UserRow, UserSessionRow
from storage.models.recordings import GapRow, MediaObjectRow, RecordingPeriodRow, RecordingRow
from storage.models.store import StoreMarkerRow

__all__ = [
    "AttendanceRow",
    "AuditRow",
    "Base",
    "CameraRow",
    "GapRow",
    "GuidanceNoteRow",
    "MediaObjectRow",
    "MeetingRow",
    "OneTimeTokenRow",
    "OrganizationRow",
    "RecordingPeriodRow",
    "RecordingRow",
    "RoomDeviceRow",
    "SiteRow",
    "StoreMarkerRow",
    "StoryRow",
    "TalkEntryRow",
    "UserRow",
    "UserSessionRow",
]
