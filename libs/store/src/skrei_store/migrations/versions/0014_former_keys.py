"""The key that a node had before it renewed what lets it in."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody has renewed yet."""
    op.add_column("node_keys", sa.Column("former_key", sa.Text(), nullable=True))
