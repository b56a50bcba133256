"""What storage hands out: plain frozen records, free of any database session.

Times of media are UTC Unix nanoseconds (``..._utc_ns``). Times of plans and of people (``..._at``, ``planned_...``) are
aware datetimes in UTC. Hashes are lower-case hex. Ids are opaque lower-case strings made by :func:`new_id`.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

Json = Any
"""What ``json`` can write: checked by the database column, not by types."""

GENESIS_HASH = "0" * 64
"""Chain hash before a recording's first segment."""


def new_id() -> str:
    """A fresh id: 32 lower-case hex digits, random."""
    return uuid.uuid4().hex


class OrganizationLevel(StrEnum):
    """County 县委组织部, town 镇办党委, village branch 村党支部."""

    COUNTY = "county"
    TOWN = "town"
    VILLAGE = "village"


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


class RecordingState(StrEnum):
    """recording → finishing (spool still drains) → complete; or failed."""

    RECORDING = "recording"
    FINISHING = "finishing"
    COMPLETE = "complete"
    FAILED = "failed"


class RecordingKind(StrEnum):
    """What was recorded: a camera, or what officials said into the room."""

    CAMERA = "camera"
    GUIDANCE = "guidance"


class ObjectState(StrEnum):
    """A row is marked ``deleting`` before its object is removed, and removed after (law 1 backwards)."""

    STORED = "stored"
    DELETING = "deleting"


class CameraTransport(StrEnum):
    """How RTP comes from the camera."""

    TCP = "tcp"
    UDP = "udp"


class TlsTrust(StrEnum):
    """Which certificate of an ``rtsps`` camera is taken: one an authority has signed, or the one met first."""

    VERIFY = "verify"
    PIN = "pin"


class PlaceKind(StrEnum):
    """What kind of place a camera looks at; the register decides by it whether supervision is allowed."""

    MEETING_ROOM = "meeting-room"  # 会议室
    DUTY_OFFICE = "duty-office"  # 坐班值班室
    SERVICE_HALL = "service-hall"  # 便民服务大厅
    PUBLIC_AREA = "public-area"  # 公共区域
    OTHER = "other"


class Role(StrEnum):
    """What a user may do; where is said by the user's organization (that subtree). Administrators are three, as
    GB/T 22239 asks: for the system, for security, for audit."""

    SYSTEM_ADMINISTRATOR = "system-administrator"
    SECURITY_ADMINISTRATOR = "security-administrator"
    AUDITOR = "auditor"
    OFFICIAL = "official"
    ARCHIVIST = "archivist"
    VIEWER = "viewer"


class NoteKind(StrEnum):
    """What a guidance note (指导意见) is."""

    GUIDE = "guide"  # 指导
    CORRECT = "correct"  # 纠正
    REMIND = "remind"  # 提醒
    PRAISE = "praise"  # 表扬


class AuditOutcome(StrEnum):
    """How an action on record ended."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A node of the county's tree. ``position`` orders siblings; ``code`` is the county's own number for it."""

    id: str
    parent_id: str | None
    level: OrganizationLevel
    name: str
    code: str = ""
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where an organization meets."""

    id: str
    organization_id: str
    name: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera and its register entry. ``url`` and ``sub_url`` are RTSP addresses without credentials;
    ``password_encrypted`` is what :class:`storage.secrets.SecretBox` made of the password, with the camera's id as
    context; empty for none. ``tls_pin`` is the SHA-256 of the certificate that alone is taken, hexadecimal; empty until
    one was met.

    Register (个人信息保护法 art. 17, 26; 公共安全视频图像信息系统管理条例 art. 13–17): ``place_kind``, ``purpose``,
    ``legal_basis``, ``notice`` (where the sign hangs, since when), ``notice_photo_key`` (object), ``filing_number``,
    ``retention_days``, ``supervision_allowed`` (whether the purpose covers looking in and speaking).
    """

    id: str
    site_id: str
    name: str
    url: str
    sub_url: str = ""
    username: str = ""
    password_encrypted: str = field(default="", repr=False)
    transport: CameraTransport = CameraTransport.TCP
    tls_trust: TlsTrust = TlsTrust.VERIFY
    tls_pin: str = ""
    enabled: bool = True
    position: int = 0
    place_kind: PlaceKind = PlaceKind.MEETING_ROOM
    purpose: str = ""
    legal_basis: str = ""
    notice: str = ""
    notice_photo_key: str = ""
    filing_number: str = ""
    retention_days: int = 30
    supervision_allowed: bool = True
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPlace:
    """A camera with where it stands."""

    camera: Camera
    site: Site
    organization: Organization


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One camera's recording of one meeting, or its recording of guidance: what was said into that camera's room.
    ``chain_head`` is the hash of its newest committed segment."""

    id: str
    meeting_id: str
    camera_id: str
    state: RecordingState = RecordingState.RECORDING
    started_utc_ns: int
    ended_utc_ns: int | None = None
    chain_head: str = GENESIS_HASH
    kind: RecordingKind = RecordingKind.CAMERA


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPeriod:
    """A stretch with one set of tracks. ``tracks`` describes them in JSON, ``init`` holds each track's init segment
    (``ftyp`` + ``moov`` of that track alone) by track id."""

    recording_id: str
    number: int
    tracks: Json
    init: Mapping[int, bytes]


class TrackRange(NamedTuple):
    """Where one track's bytes of a segment lie inside the object, and what they span.

    ``dts`` and ``duration`` are ticks of the track's clock rate. A tuple, as a segment is: the index of a long
    recording has thousands of them, and a player waits for it.
    """

    track_id: int
    offset: int
    size: int
    dts: int
    duration: int
    samples: int
    sha256: str


class StoredSegment(NamedTuple):
    """One segment inside an object. ``chain`` is the chain hash after it."""

    sequence: int
    start_utc_ns: int
    duration_ns: int
    discontinuity: bool
    ranges: tuple[TrackRange, ...]
    chain: str

    @property
    def end_utc_ns(self) -> int:
        """Where the segment ends, UTC Unix nanoseconds."""
        return self.start_utc_ns + self.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaObject:
    """One stored object of a recording: some segments of one period. ``number`` counts from 0 without holes."""

    recording_id: str
    number: int
    period: int
    key: str
    size: int
    sha256: str
    start_utc_ns: int
    end_utc_ns: int
    segments: tuple[StoredSegment, ...]
    chain: str
    state: ObjectState = ObjectState.STORED


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRecord:
    """Media that is missing or damaged. ``end_utc_ns`` is None while it lasts. ``cause`` is a ``media.unit.GapCause``
    value. ``id`` is 0 until stored."""

    id: int = 0
    recording_id: str
    start_utc_ns: int
    end_utc_ns: int | None
    cause: str
    packets: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingTotals:
    """Counts over a recording's stored objects and gaps."""

    objects: int
    bytes: int
    first_utc_ns: int | None
    last_utc_ns: int | None
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryEntry:
    """One line of a meeting's story: what happened when. The sentence is looked up by ``kind``. ``id`` is 0 until
    stored."""

    id: int = 0
    meeting_id: str
    at_utc_ns: int
    kind: str
    params: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who logs in. ``password_hash`` is argon2, made by the caller. ``organization_id`` bounds what the user
    may see to that subtree; None is everywhere. ``scopes`` are rights beyond those of the role."""

    id: str
    username: str
    display_name: str
    password_hash: str = field(repr=False)
    role: Role
    scopes: tuple[str, ...] = ()
    organization_id: str | None = None
    locale: str = "zh-CN"
    active: bool = True
    failed_logins: int = 0
    locked_until: datetime | None = None
    last_login_at: datetime | None = None
    password_changed_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """A log-in. ``token_hash`` and ``csrf_hash`` are SHA-256 of what the browser holds."""

    token_hash: str = field(repr=False)
    csrf_hash: str = field(repr=False)
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeToken:
    """A link that works once, for ``purpose`` (``setup``, ``password-reset``)."""

    token_hash: str = field(repr=False)
    purpose: str
    user_id: str | None = None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, when, to what, and how it ended. ``id`` is 0 until stored; entries are never changed."""

    id: int = 0
    at: datetime
    user_id: str | None
    username: str
    action: str
    subject: str
    outcome: AuditOutcome
    address: str = ""
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceNote:
    """A note that an official writes to a running meeting. ``at_utc_ns`` is the moment of the picture that it is
    about. ``key`` is chosen by the author's page, once for each note. Author and office are kept as they were called.

    ``shown_by`` and ``answered_by`` are ids of room devices. Nothing but the two times and their devices is ever
    written again, and those once.
    """

    id: str
    meeting_id: str
    author_id: str
    author_name: str
    office_id: str | None
    office_name: str
    kind: NoteKind
    text: str
    key: str
    at_utc_ns: int
    written_utc_ns: int
    shown_utc_ns: int | None = None
    shown_by: str = ""
    answered_utc_ns: int | None = None
    answered_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkEntry:
    """Somebody held the floor of a meeting's room. ``ended_utc_ns`` is None while they do; ``reason`` is why they no
    longer do (released, vanished, silent, too-long, superior, closed, service-down). Name and office are kept as they
    were called."""

    id: str
    meeting_id: str
    talker_id: str
    talker_name: str
    office_name: str
    started_utc_ns: int
    ended_utc_ns: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """A stretch of time in which somebody looked in at a meeting (law 5). ``to_utc_ns`` is None while it lasts;
    ``seen_utc_ns`` is the last time it was known to last. ``superior`` is true for an official of an office above the
    meeting's. ``id`` is 0 until stored."""

    id: int = 0
    meeting_id: str
    user_id: str
    name: str
    office_id: str | None
    office_name: str
    superior: bool
    from_utc_ns: int
    seen_utc_ns: int
    to_utc_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomDevice:
    """A TV or box that shows the page of the room at ``site_id``. ``token_hash`` is the SHA-256 of what it holds. A
    revoked one stays on record."""

    id: str
    site_id: str
    name: str
    token_hash: str = field(repr=False)
    paired_by: str
    paired_at: datetime
    last_seen_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    address: str = ""
    user_agent: str = ""
