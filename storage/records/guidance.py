"""Supervision of a running meeting: who looks in, what they write and say, and the room's devices."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class NoteKind(StrEnum):
    """What a guidance note (指导意见) is."""

    GUIDE = "guide"  # 指导
    CORRECT = "correct"  # 纠正
    REMIND = "remind"  # 提醒
    PRAISE = "praise"  # 表扬


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
