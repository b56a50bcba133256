"""Tables of people: users, sessions, one-time tokens, the audit trail."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models.base import Base, CompactJson, HexBytes, Id, RowId, UtcDateTime, text_enum
from storage.records import AuditOutcome, Json, Role


class UserRow(Base):
    """See ``records.User``."""

    __tablename__ = "app_user"
    __table_args__ = (UniqueConstraint("username"),)

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    username: Mapped[str] = mapped_column(String(100))
    display_name: Mapped[str] = mapped_column(String(100))
    password_hash: Mapped[str] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(text_enum(Role))
    scopes: Mapped[list[str]] = mapped_column(CompactJson)
    organization_id: Mapped[str | None] = mapped_column(ForeignKey("organization.id", ondelete="RESTRICT"))
    locale: Mapped[str] = mapped_column(String(16))
    active: Mapped[bool]
    failed_logins: Mapped[int]
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_login_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    password_changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class UserSessionRow(Base):
    """See ``records.UserSession``."""

    __tablename__ = "user_session"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    token_hash: Mapped[str] = mapped_column(HexBytes, primary_key=True)
    csrf_hash: Mapped[str] = mapped_column(HexBytes)
    user_id: Mapped[str] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    address: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(Text)


class OneTimeTokenRow(Base):
    """See ``records.OneTimeToken``."""

    __tablename__ = "one_time_token"
    __table_args__ = (Index(None, "purpose", "expires_at"),)

    token_hash: Mapped[str] = mapped_column(HexBytes, primary_key=True)
    purpose: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("app_user.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AuditRow(Base):
    """See ``records.AuditEntry``. No foreign key: the trail outlives users."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index(None, "at"), Index(None, "user_id", "at"), Index(None, "subject", "at"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    user_id: Mapped[str | None] = mapped_column(String(Id))
    username: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[AuditOutcome] = mapped_column(text_enum(AuditOutcome))
    address: Mapped[str] = mapped_column(String(64))
    detail: Mapped[Mapping[str, Json]] = mapped_column(CompactJson)
