"""When what was signed for a node's key, and for its former one, ends."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of what was signed before nobody knows: it counts as without end."""
    for name in ("ends_at", "former_ends_at"):
        column = sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("'infinity'"))
        op.add_column("node_keys", column)
