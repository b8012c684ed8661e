"""Keep what users want of nodes until the leader has carried it out."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There is nothing to carry over: nobody could want anything of a node."""
    op.create_table(
        "node_intents",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("node_id", sa.Text(collation="C"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("action IN ('approve', 'reject', 'delete')", name=op.f("ck_node_intents_action")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node_intents")),
    )
