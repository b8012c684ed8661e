"""Remember what a node could do until a while ago."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nodes remember nothing yet."""
    op.add_column("nodes", sa.Column("gone", sa.Text(), server_default="[]", nullable=False))
