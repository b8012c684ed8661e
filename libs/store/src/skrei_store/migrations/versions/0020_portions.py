"""Keep how much of a result that went to several places lies in Skrei's own store."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier results went to one place."""
    op.add_column("results", sa.Column("own_bytes", sa.BigInteger(), nullable=True))
