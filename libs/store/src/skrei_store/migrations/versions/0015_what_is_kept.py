"""Since when executions are ready and what they run, and how far a service's version is."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is ready has been for long enough; what runs is replaced by the next version, as it always was."""
    op.add_column("executions", sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("executions", sa.Column("what_runs", sa.Text(), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("progress", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("paused", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("jobs", sa.Column("anew", sa.BigInteger(), server_default="0", nullable=False))
