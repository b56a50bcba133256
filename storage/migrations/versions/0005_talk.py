"""What officials say into rooms: who and when, and a recording of its own.

Revision 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "talk_entry",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("meeting_id", sa.String(length=32), nullable=False),
        sa.Column("talker_id", sa.String(length=32), nullable=False),
        sa.Column("talker_name", sa.String(length=100), nullable=False),
        sa.Column("office_name", sa.String(length=200), nullable=False),
        sa.Column("started_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_utc_ns", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["meeting_id"], ["meeting.id"], name=op.f("fk_talk_entry_meeting_id_meeting"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_talk_entry")),
    )
    op.create_index(
        op.f("ix_talk_entry_meeting_id_started_utc_ns"), "talk_entry", ["meeting_id", "started_utc_ns"], unique=False
    )
    op.create_index(op.f("ix_talk_entry_ended_utc_ns"), "talk_entry", ["ended_utc_ns"], unique=False)
    with op.batch_alter_table("recording") as table:
        table.add_column(sa.Column("kind", sa.String(length=32), server_default="camera", nullable=False))
        table.drop_constraint(op.f("uq_recording_meeting_id_camera_id"), type_="unique")
        table.create_unique_constraint(
            op.f("uq_recording_meeting_id_camera_id_kind"), ["meeting_id", "camera_id", "kind"]
        )


def downgrade() -> None:
    """Back to the one before. Recordings of guidance have no place there: it is refused while there are any."""
    with op.batch_alter_table("recording") as table:
        table.drop_constraint(op.f("uq_recording_meeting_id_camera_id_kind"), type_="unique")
        table.create_unique_constraint(op.f("uq_recording_meeting_id_camera_id"), ["meeting_id", "camera_id"])
        table.drop_column("kind")
    op.drop_index(op.f("ix_talk_entry_ended_utc_ns"), table_name="talk_entry")
    op.drop_index(op.f("ix_talk_entry_meeting_id_started_utc_ns"), table_name="talk_entry")
    op.drop_table("talk_entry")
