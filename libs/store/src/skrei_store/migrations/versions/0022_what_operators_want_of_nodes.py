"""Nodes that are closed, drained and labelled by their operators; executions of services that move away from them."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

LIVE = "'pending', 'offered', 'staging', 'running', 'publishing'"
ACTIONS = "'approve', 'reject', 'delete', 'cordon', 'uncordon', 'drain', 'label'"


def upgrade() -> None:
    """Every node is open, and nothing is leaving."""
    op.add_column("nodes", sa.Column("intake", sa.Text(), server_default="open", nullable=False))
    op.add_column("nodes", sa.Column("drain_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("nodes", sa.Column("labels", sa.Text(), server_default="{}", nullable=False))
    op.create_check_constraint(op.f("ck_nodes_intake"), "nodes", "intake IN ('open', 'cordoned', 'draining')")
    op.add_column("node_intents", sa.Column("params", sa.Text(), server_default="{}", nullable=False))
    op.drop_constraint(op.f("ck_node_intents_action"), "node_intents", type_="check")
    op.create_check_constraint(op.f("ck_node_intents_action"), "node_intents", f"action IN ({ACTIONS})")
    op.add_column("executions", sa.Column("leaving", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.drop_index("uq_executions_standing", table_name="executions")
    op.create_index(
        "uq_executions_standing",
        "executions",
        ["job_id", "job_version", "task", "partition"],
        unique=True,
        postgresql_where=sa.text(f"NOT revoked AND NOT staged AND NOT leaving AND state IN ({LIVE})"),
    )
