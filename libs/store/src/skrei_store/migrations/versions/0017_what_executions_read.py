"""Keep how much data an execution read, and how much of it had to be brought."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of earlier executions nobody says."""
    op.add_column("executions", sa.Column("data_read", sa.Text(), nullable=True))
