"""Who joined, and who submitted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody has joined yet, and of old jobs nobody knows who submitted them: no grant goes with them."""
    op.create_table(
        "node_keys",
        sa.Column("node_id", sa.Text(collation="C"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name="pk_node_keys"),
    )
    op.add_column("job_versions", sa.Column("submitter", sa.Text(), server_default="", nullable=False))
