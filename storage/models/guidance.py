"""Tables of live supervision: guidance notes, who looked in, and the rooms' devices."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models.base import Base, HexBytes, Id, RowId, UtcDateTime, text_enum
from storage.records import NoteKind


class GuidanceNoteRow(Base):
    """See ``records.GuidanceNote``. No foreign key to the author: the note outlives users."""

    __tablename__ = "guidance_note"
    __table_args__ = (UniqueConstraint("author_id", "key"), Index(None, "meeting_id", "at_utc_ns"))

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    meeting_id: Mapped[str] = mapped_column(ForeignKey("meeting.id", ondelete="RESTRICT"))
    author_id: Mapped[str] = mapped_column(String(Id))
    author_name: Mapped[str] = mapped_column(String(100))
    office_id: Mapped[str | None] = mapped_column(String(Id))
    office_name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[NoteKind] = mapped_column(text_enum(NoteKind))
    text: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(String(64))
    at_utc_ns: Mapped[int] = mapped_column(BigInteger)
    written_utc_ns: Mapped[int] = mapped_column(BigInteger)
    shown_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    shown_by: Mapped[str] = mapped_column(String(Id))
    answered_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    answered_by: Mapped[str] = mapped_column(String(Id))


class TalkEntryRow(Base):
    """See ``records.TalkEntry``. No foreign key to the talker: the entry outlives users."""

    __tablename__ = "talk_entry"
    __table_args__ = (Index(None, "meeting_id", "started_utc_ns"), Index(None, "ended_utc_ns"))

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    meeting_id: Mapped[str] = mapped_column(ForeignKey("meeting.id", ondelete="RESTRICT"))
    talker_id: Mapped[str] = mapped_column(String(Id))
    talker_name: Mapped[str] = mapped_column(String(100))
    office_name: Mapped[str] = mapped_column(String(200))
    started_utc_ns: Mapped[int] = mapped_column(BigInteger)
    ended_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(32))


class AttendanceRow(Base):
    """See ``records.Attendance``."""

    __tablename__ = "attendance"
    __table_args__ = (Index(None, "meeting_id", "from_utc_ns"), Index(None, "to_utc_ns"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    meeting_id: Mapped[str] = mapped_column(ForeignKey("meeting.id", ondelete="RESTRICT"))
    user_id: Mapped[str] = mapped_column(String(Id))
    name: Mapped[str] = mapped_column(String(100))
    office_id: Mapped[str | None] = mapped_column(String(Id))
    office_name: Mapped[str] = mapped_column(String(200))
    superior: Mapped[bool]
    from_utc_ns: Mapped[int] = mapped_column(BigInteger)
    seen_utc_ns: Mapped[int] = mapped_column(BigInteger)
    to_utc_ns: Mapped[int | None] = mapped_column(BigInteger)


class RoomDeviceRow(Base):
    """See ``records.RoomDevice``."""

    __tablename__ = "room_device"
    __table_args__ = (UniqueConstraint("token_hash"), Index(None, "site_id"))

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(HexBytes)
    paired_by: Mapped[str] = mapped_column(String(64))
    paired_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_by: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(Text)
