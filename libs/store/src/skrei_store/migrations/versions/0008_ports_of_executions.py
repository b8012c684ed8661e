"""Keep which ports of its node an execution has."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier executions have none."""
    op.add_column("executions", sa.Column("ports", sa.Text(), nullable=True))
