"""Tables of the county: organizations, sites, cameras."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models.base import Base, Id, UtcDateTime, text_enum
from storage.records import CameraTransport, OrganizationLevel, PlaceKind, TlsTrust


class OrganizationRow(Base):
    """See ``records.Organization``."""

    __tablename__ = "organization"
    __table_args__ = (
        UniqueConstraint("parent_id", "name"),
        CheckConstraint("parent_id IS NULL OR parent_id <> id", name="not_its_own_parent"),
    )

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("organization.id", ondelete="RESTRICT"))
    level: Mapped[OrganizationLevel] = mapped_column(text_enum(OrganizationLevel))
    name: Mapped[str] = mapped_column(String(200))
    code: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]


class SiteRow(Base):
    """See ``records.Site``."""

    __tablename__ = "site"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organization.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(400))


class CameraRow(Base):
    """See ``records.Camera``."""

    __tablename__ = "camera"
    __table_args__ = (UniqueConstraint("site_id", "name"), Index(None, "enabled"))

    id: Mapped[str] = mapped_column(String(Id), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(String(200))
    url: Mapped[str] = mapped_column(Text)
    sub_url: Mapped[str] = mapped_column(Text)
    username: Mapped[str] = mapped_column(String(200))
    password_encrypted: Mapped[str] = mapped_column(Text)
    transport: Mapped[CameraTransport] = mapped_column(text_enum(CameraTransport))
    tls_trust: Mapped[TlsTrust] = mapped_column(text_enum(TlsTrust))
    tls_pin: Mapped[str] = mapped_column(String(64))
    enabled: Mapped[bool]
    position: Mapped[int]
    place_kind: Mapped[PlaceKind] = mapped_column(text_enum(PlaceKind))
    purpose: Mapped[str] = mapped_column(Text)
    legal_basis: Mapped[str] = mapped_column(Text)
    notice: Mapped[str] = mapped_column(Text)
    notice_photo_key: Mapped[str] = mapped_column(String(512))
    filing_number: Mapped[str] = mapped_column(String(100))
    retention_days: Mapped[int]
    supervision_allowed: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
