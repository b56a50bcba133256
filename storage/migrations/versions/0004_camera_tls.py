"""Which certificate of a camera is taken.

Revision 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    with op.batch_alter_table("camera") as table:
        table.add_column(sa.Column("tls_trust", sa.String(length=32), nullable=False, server_default="verify"))
        table.add_column(sa.Column("tls_pin", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    """Back to the one before."""
    with op.batch_alter_table("camera") as table:
        table.drop_column("tls_pin")
        table.drop_column("tls_trust")
