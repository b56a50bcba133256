"""Which directory objects are in.

Revision 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "store_marker",
        sa.Column("marker", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("marker", name=op.f("pk_store_marker")),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("store_marker")
