"""A smaller index of objects, and totals of recordings in their own row.

The segment index becomes octets: new rows are packed, rows that are there keep their text and are read as they are.
What no query asks for goes: an index by start (the primary key finds a recording's few hundred rows) and the stored
ones in the index by state.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DELETING = "state = 'deleting'"
_TOTALS = """
UPDATE recording SET
    object_count = (SELECT count(*) FROM media_object o WHERE o.recording_id = recording.id AND o.state = 'stored'),
    object_bytes = (SELECT coalesce(sum(o.size), 0) FROM media_object o
                    WHERE o.recording_id = recording.id AND o.state = 'stored'),
    first_utc_ns = (SELECT min(o.start_utc_ns) FROM media_object o
                    WHERE o.recording_id = recording.id AND o.state = 'stored'),
    last_utc_ns = (SELECT max(o.end_utc_ns) FROM media_object o
                   WHERE o.recording_id = recording.id AND o.state = 'stored')
"""


def upgrade() -> None:
    """To this revision."""
    op.drop_index(op.f("ix_media_object_recording_id_start_utc_ns"), table_name="media_object")
    op.drop_index(op.f("ix_media_object_state"), table_name="media_object")
    with op.batch_alter_table("media_object") as table:
        table.alter_column(
            "segments",
            existing_type=sa.Text(),
            type_=sa.LargeBinary(),
            existing_nullable=False,
            postgresql_using="convert_to(segments, 'UTF8')",
        )
    if op.get_bind().dialect.name == "sqlite":
        op.execute("UPDATE media_object SET segments = CAST(segments AS BLOB)")
    op.create_index(
        op.f("ix_media_object_state"),
        "media_object",
        ["state"],
        unique=False,
        sqlite_where=sa.text(_DELETING),
        postgresql_where=sa.text(_DELETING),
    )
    op.add_column("recording", sa.Column("object_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("recording", sa.Column("object_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("recording", sa.Column("first_utc_ns", sa.BigInteger(), nullable=True))
    op.add_column("recording", sa.Column("last_utc_ns", sa.BigInteger(), nullable=True))
    op.execute(_TOTALS)


def downgrade() -> None:
    """Back to the one before. Rows written since keep their packed octets, which it cannot read."""
    with op.batch_alter_table("recording") as table:
        for name in ("last_utc_ns", "first_utc_ns", "object_bytes", "object_count"):
            table.drop_column(name)
    op.drop_index(op.f("ix_media_object_state"), table_name="media_object")
    with op.batch_alter_table("media_object") as table:
        table.alter_column(
            "segments",
            existing_type=sa.LargeBinary(),
            type_=sa.Text(),
            existing_nullable=False,
            postgresql_using="encode(segments, 'escape')",
        )
    op.create_index(op.f("ix_media_object_state"), "media_object", ["state"], unique=False)
    op.create_index(
        op.f("ix_media_object_recording_id_start_utc_ns"),
        "media_object",
        ["recording_id", "start_utc_ns"],
        unique=False,
    )
