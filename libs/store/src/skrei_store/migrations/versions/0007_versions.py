"""More than one version of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What there is was asked for with its job."""
    now = sa.text("now()")
    op.add_column("jobs", sa.Column("asked_at", sa.DateTime(timezone=True), server_default=now, nullable=False))
    op.execute("UPDATE jobs SET asked_at = created_at")
    op.add_column(
        "job_versions", sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False)
    )
    op.execute("UPDATE job_versions v SET created_at = j.created_at FROM jobs j WHERE j.id = v.job_id")
    op.add_column("job_versions", sa.Column("state", sa.Text(), nullable=True))
    op.add_column("job_versions", sa.Column("message", sa.Text(), nullable=True))
    op.add_column("job_versions", sa.Column("details", sa.Text(), nullable=True))
    op.add_column("job_versions", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("evaluations", sa.Column("version", sa.BigInteger(), server_default="0", nullable=False))
