"""The nodes of jobs that run once a node, each with its partition."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.Text(collation="C")


def upgrade() -> None:
    """Until now there were no such jobs."""
    op.create_table(
        "targets",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("job_version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node_id", ID, nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "job_version", "node_id", name=op.f("pk_targets")),
        sa.UniqueConstraint("job_id", "job_version", "partition", name=op.f("uq_targets_job_id_job_version_partition")),
    )
