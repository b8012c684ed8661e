"""Which executions are ready, and which version of a service was."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing was checked, and there were no services."""
    op.add_column("executions", sa.Column("ready", sa.Boolean(), nullable=True))
    op.add_column("jobs", sa.Column("good_version", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True))
