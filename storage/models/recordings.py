"""Tables of recordings: periods, objects with their segment index, gaps."""

from collections.abc import Mapping

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models.base import Base, CompactJson, HexBytes, Id, InitSegments, RowId, text_enum
from storage.models.segments import PackedSegments
from storage.records import Json, RecordingKind, RecordingState, StoredSegment


class RecordingRow(Base):
    """See ``records.Recording``. The last four are its totals (``records.RecordingTotals``), written with each object:
    a list of three hundred meetings must not add up fifty thousand rows."""

    __tablename__ = "recording"
    __table_args__ = (
        UniqueConstraint("meeting_id", "camera_id", "kind"),
        Index(None, "state"),
        Index(None, "camera_id"),
    )

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    meeting_id: Mapped[str] = mapped_column(ForeignKey("meeting.id", ondelete="RESTRICT"))
    camera_id: Mapped[str] = mapped_column(ForeignKey("camera.id", ondelete="RESTRICT"))
    state: Mapped[RecordingState] = mapped_column(text_enum(RecordingState))
    started_utc_ns: Mapped[int] = mapped_column(BigInteger)
    ended_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    chain_head: Mapped[str] = mapped_column(HexBytes)
    kind: Mapped[RecordingKind] = mapped_column(text_enum(RecordingKind), server_default="camera")
    object_count: Mapped[int] = mapped_column(server_default="0")
    object_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    first_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    last_utc_ns: Mapped[int | None] = mapped_column(BigInteger)


class RecordingPeriodRow(Base):
    """See ``records.RecordingPeriod``."""

    __tablename__ = "recording_period"

    recording_id: Mapped[str] = mapped_column(ForeignKey("recording.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tracks: Mapped[Json] = mapped_column(CompactJson)
    init: Mapped[Mapping[int, bytes]] = mapped_column(InitSegments)


class MediaObjectRow(Base):
    """See ``records.MediaObject``. RESTRICT: no recording goes while it has objects."""

    __tablename__ = "media_object"
    __table_args__ = (UniqueConstraint("key"),)

    recording_id: Mapped[str] = mapped_column(ForeignKey("recording.id", ondelete="RESTRICT"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    period: Mapped[int]
    key: Mapped[str] = mapped_column(String(512))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(HexBytes)
    start_utc_ns: Mapped[int] = mapped_column(BigInteger)
    end_utc_ns: Mapped[int] = mapped_column(BigInteger)
    segments: Mapped[tuple[StoredSegment, ...]] = mapped_column(PackedSegments)
    chain: Mapped[str] = mapped_column(HexBytes)


class GapRow(Base):
    """See ``records.GapRecord``."""

    __tablename__ = "gap"
    __table_args__ = (Index(None, "recording_id", "start_utc_ns"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    recording_id: Mapped[str] = mapped_column(ForeignKey("recording.id", ondelete="CASCADE"))
    start_utc_ns: Mapped[int] = mapped_column(BigInteger)
    end_utc_ns: Mapped[int | None] = mapped_column(BigInteger)
    cause: Mapped[str] = mapped_column(String(32))
    packets: Mapped[int]
    detail: Mapped[str] = mapped_column(Text)
