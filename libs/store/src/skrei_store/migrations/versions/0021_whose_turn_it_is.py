"""Where staged results go, so that those of one destination do not hold up the others'."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

ID = sa.Text(collation="C")


def upgrade() -> None:
    """What is staged already has its publisher's name alone; few rows are, so that its index is made in no time."""
    op.add_column("results", sa.Column("destination", ID, server_default="", nullable=False))
    op.drop_index("ix_results_staged", table_name="results")
    op.create_index(
        "ix_results_staged",
        "results",
        ["destination", "created_at", "execution_id"],
        unique=False,
        postgresql_where=sa.text("staged"),
    )
