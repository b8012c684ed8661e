"""Keep where a result lies that was published elsewhere than in Skrei's own store."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier results are all in the store."""
    op.add_column("results", sa.Column("published", sa.Text(), nullable=True))
