"""Guidance notes, attendance, devices of rooms.

Revision 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "guidance_note",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("meeting_id", sa.String(length=32), nullable=False),
        sa.Column("author_id", sa.String(length=32), nullable=False),
        sa.Column("author_name", sa.String(length=100), nullable=False),
        sa.Column("office_id", sa.String(length=32), nullable=True),
        sa.Column("office_name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("at_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("written_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("shown_utc_ns", sa.BigInteger(), nullable=True),
        sa.Column("shown_by", sa.String(length=32), nullable=False),
        sa.Column("answered_utc_ns", sa.BigInteger(), nullable=True),
        sa.Column("answered_by", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["meeting_id"], ["meeting.id"], name=op.f("fk_guidance_note_meeting_id_meeting"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guidance_note")),
        sa.UniqueConstraint("author_id", "key", name=op.f("uq_guidance_note_author_id_key")),
    )
    op.create_index(
        op.f("ix_guidance_note_meeting_id_at_utc_ns"), "guidance_note", ["meeting_id", "at_utc_ns"], unique=False
    )
    op.create_table(
        "attendance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("meeting_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("office_id", sa.String(length=32), nullable=True),
        sa.Column("office_name", sa.String(length=200), nullable=False),
        sa.Column("superior", sa.Boolean(), nullable=False),
        sa.Column("from_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("seen_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("to_utc_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["meeting_id"], ["meeting.id"], name=op.f("fk_attendance_meeting_id_meeting"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance")),
    )
    op.create_index(
        op.f("ix_attendance_meeting_id_from_utc_ns"), "attendance", ["meeting_id", "from_utc_ns"], unique=False
    )
    op.create_index(op.f("ix_attendance_to_utc_ns"), "attendance", ["to_utc_ns"], unique=False)
    op.create_table(
        "room_device",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("paired_by", sa.String(length=64), nullable=False),
        sa.Column("paired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_room_device_site_id_site"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_room_device")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_room_device_token_hash")),
    )
    op.create_index(op.f("ix_room_device_site_id"), "room_device", ["site_id"], unique=False)


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("room_device")
    op.drop_table("attendance")
    op.drop_table("guidance_note")
