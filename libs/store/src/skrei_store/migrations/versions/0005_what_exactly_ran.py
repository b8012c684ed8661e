"""Keep which image an execution ran."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier executions do not say."""
    op.add_column("executions", sa.Column("image_digest", sa.Text(), nullable=True))
