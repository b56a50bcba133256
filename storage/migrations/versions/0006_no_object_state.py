"""Objects have no state: nothing deletes any.

Revision 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_DELETING = "state = 'deleting'"


def upgrade() -> None:
    """To this revision. Not in a batch, which would copy the largest table there is."""
    op.drop_index(op.f("ix_media_object_state"), table_name="media_object")
    op.drop_column("media_object", "state")


def downgrade() -> None:
    """Back to the one before."""
    op.add_column("media_object", sa.Column("state", sa.String(length=32), nullable=False, server_default="stored"))
    op.create_index(
        op.f("ix_media_object_state"),
        "media_object",
        ["state"],
        unique=False,
        sqlite_where=sa.text(_DELETING),
        postgresql_where=sa.text(_DELETING),
    )
