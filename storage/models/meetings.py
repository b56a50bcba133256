"""Tables of meetings and their story."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models.base import Base, CompactJson, Id, RowId, UtcDateTime, text_enum
from storage.records import Json, MeetingKind, MeetingState


class MeetingRow(Base):
    """See ``records.Meeting``."""

    __tablename__ = "meeting"
    __table_args__ = (
        Index(None, "planned_start"),
        Index(None, "state", "planned_start"),
        Index(None, "organization_id", "planned_start"),
        Index(None, "camera_id", "planned_start"),
    )

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organization.id", ondelete="RESTRICT"))
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id", ondelete="RESTRICT"))
    camera_id: Mapped[str] = mapped_column(ForeignKey("camera.id", ondelete="RESTRICT"))
    kind: Mapped[MeetingKind] = mapped_column(text_enum(MeetingKind))
    title: Mapped[str] = mapped_column(String(400))
    planned_start: Mapped[datetime] = mapped_column(UtcDateTime)
    planned_end: Mapped[datetime | None] = mapped_column(UtcDateTime)
    state: Mapped[MeetingState] = mapped_column(text_enum(MeetingState))
    started_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    ended_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    started_by: Mapped[str] = mapped_column(String(64))
    ended_by: Mapped[str] = mapped_column(String(64))
    record: Mapped[bool]
    no_record_reason: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class StoryRow(Base):
    """See ``records.StoryEntry``."""

    __tablename__ = "meeting_story"
    __table_args__ = (Index(None, "meeting_id", "at_utc_ns"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    meeting_id: Mapped[str] = mapped_column(ForeignKey("meeting.id", ondelete="CASCADE"))
    at_utc_ns: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(64))
    params: Mapped[Mapping[str, Json]] = mapped_column(CompactJson)
