"""Results that were uploaded: staged until they are final."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LIVE = "'pending', 'offered', 'staging', 'running', 'publishing'"


def upgrade() -> None:
    """Nothing is staged yet."""
    op.add_column("results", sa.Column("staged", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("results", sa.Column("publisher", sa.Text(), server_default="", nullable=False))
    op.add_column("results", sa.Column("place", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_results_staged", "results", ["created_at"], unique=False, postgresql_where=sa.text("staged"))
    op.add_column("executions", sa.Column("staged", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.drop_index("uq_executions_standing", table_name="executions")
    op.create_index(
        "uq_executions_standing",
        "executions",
        ["job_id", "job_version", "task", "partition"],
        unique=True,
        postgresql_where=sa.text(f"NOT revoked AND NOT staged AND state IN ({LIVE})"),
    )
