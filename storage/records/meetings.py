"""Meetings, planned or held, and their story."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from storage.records.base import Json
from storage.records.county import Camera, Organization, Site


class MeetingKind(StrEnum):
    """What is held. The interface shows the users' own terms."""

    MEMBERS = "members-meeting"  # 支部党员大会
    COMMITTEE = "committee-meeting"  # 支委会
    GROUP = "group-meeting"  # 党小组会
    LECTURE = "party-lecture"  # 党课
    THEME_DAY = "theme-day"  # 主题党日
    ORGANIZATIONAL_LIFE = "organizational-life"  # 组织生活会
    DEMOCRATIC_REVIEW = "democratic-review"  # 民主评议
    VILLAGERS = "villagers-representatives"  # 村民代表会议
    DUTY_CHECK = "duty-check"  # 坐班抽查


class MeetingState(StrEnum):
    """planned → running → ended; or planned → cancelled | missed."""

    PLANNED = "planned"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A meeting, planned or held. ``started_by`` and ``ended_by`` are a user's id, or ``plan``.

    ``record`` false means that recording is refused (涉密不录), for ``no_record_reason``.
    """

    id: str
    organization_id: str
    site_id: str
    camera_id: str
    kind: MeetingKind
    title: str
    planned_start: datetime
    planned_end: datetime | None = None
    state: MeetingState = MeetingState.PLANNED
    started_utc_ns: int | None = None
    ended_utc_ns: int | None = None
    started_by: str = ""
    ended_by: str = ""
    record: bool = True
    no_record_reason: str = ""
    created_by: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingPlace:
    """A meeting with where it is held, and by whom."""

    meeting: Meeting
    site: Site
    organization: Organization
    camera: Camera


@dataclass(frozen=True, slots=True)
class OpenMeeting:
    """As much of a meeting that runs, or whose time has come, as says what is to be done. ``recorded``: recording is
    not refused, and the camera in use."""

    id: str
    camera_id: str
    state: MeetingState
    planned_start: datetime
    planned_end: datetime | None
    started_utc_ns: int | None
    recorded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryEntry:
    """One line of a meeting's story: what happened when. The sentence is looked up by ``kind``. ``id`` is 0 until
    stored."""

    id: int = 0
    meeting_id: str
    at_utc_ns: int
    kind: str
    params: Mapping[str, Json] = field(default_factory=dict)
