"""Which jobs ended with an exit code, for their lists."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the few executions whose program said that it failed."""
    op.create_index(
        "ix_executions_exit_code", "executions", ["job_id"], unique=False, postgresql_where=sa.text("exit_code > 0")
    )
