"""The record."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


QUEUE_LIKE = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
}
UPDATED_IN_PLACE = {
    "fillfactor": "80",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_analyze_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
}
EXECUTION_STATES = (
    "'pending', 'offered', 'staging', 'running', 'publishing', 'unknown', "
    "'completed', 'failed', 'stopped', 'refused', 'lost'"
)
ONE_ROW = {"fillfactor": "10"}


def upgrade() -> None:
    """Make everything."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blobs")),
    )
    op.create_table(
        "cluster",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "installation_id", sa.UUID(as_uuid=False), server_default=sa.text("gen_random_uuid()"), nullable=False
        ),
        sa.Column("timeline", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("facts_created", sa.Text(), server_default="", nullable=False),
        sa.Column("facts_sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("id", name=op.f("ck_cluster_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster")),
        postgresql_with=ONE_ROW,
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("job_id", sa.Text(collation="C"), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), server_default="", nullable=False),
        sa.Column("run_after", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        postgresql_with=QUEUE_LIKE,
    )
    op.create_index("ix_evaluations_run_after_id", "evaluations", ["run_after", "id"], unique=False)
    op.create_table(
        "executions",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("job_id", sa.Text(collation="C"), nullable=False),
        sa.Column("job_version", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.Text(collation="C"), nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("observed", sa.Text(), nullable=False),
        sa.Column("want", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("seen_revision", sa.BigInteger(), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=False),
        sa.Column("gpu", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evaluation_id", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("steps", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("stdout", sa.Text(), nullable=True),
        sa.Column("stderr", sa.Text(), nullable=True),
        sa.Column("stdout_truncated", sa.Boolean(), nullable=True),
        sa.Column("stderr_truncated", sa.Boolean(), nullable=True),
        sa.Column("problem_code", sa.Text(), nullable=True),
        sa.Column("problem_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            f"observed IN ({EXECUTION_STATES})",
            name=op.f("ck_executions_observed"),
        ),
        sa.CheckConstraint(
            f"state IN ({EXECUTION_STATES})",
            name=op.f("ck_executions_state"),
        ),
        sa.CheckConstraint("want IN ('run', 'stop', 'forget')", name=op.f("ck_executions_want")),
        sa.CheckConstraint("partition >= 0 AND attempt >= 1", name=op.f("ck_executions_unit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executions")),
        postgresql_with=UPDATED_IN_PLACE,
    )
    op.create_index(
        "ix_executions_held",
        "executions",
        ["node_id"],
        unique=False,
        postgresql_where=sa.text(
            "holds OR state IN ('pending', 'offered', 'staging', 'running', 'publishing', 'unknown')"
        ),
    )
    op.create_index("ix_executions_job_id", "executions", ["job_id"], unique=False)
    op.create_index(
        "uq_executions_standing",
        "executions",
        ["job_id", "job_version", "task", "partition"],
        unique=True,
        postgresql_where=sa.text("NOT revoked AND state IN ('pending', 'offered', 'staging', 'running', 'publishing')"),
    )
    op.create_table(
        "history",
        sa.Column("job_id", sa.Text(collation="C"), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("job_version", sa.BigInteger(), nullable=False),
        sa.Column("execution_id", sa.Text(collation="C"), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("node_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_history")),
    )
    op.create_table(
        "idempotency",
        sa.Column("namespace", sa.Text(collation="C"), nullable=False),
        sa.Column("caller", sa.Text(collation="C"), nullable=False),
        sa.Column("token", sa.Text(collation="C"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(collation="C"), nullable=False),
        sa.Column("evaluation_id", sa.Text(collation="C"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "caller", "token", name=op.f("pk_idempotency")),
        postgresql_with=QUEUE_LIKE,
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"], unique=False)
    op.create_table(
        "job_versions",
        sa.Column("job_id", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("schema", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "version", name=op.f("pk_job_versions")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("namespace", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("details", sa.Text(), server_default="{}", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("history_seq", sa.BigInteger(), nullable=False),
        sa.Column("units_total", sa.BigInteger(), nullable=False),
        sa.Column("units_won", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("stop_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("traceparent", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state <> 'Completed' OR units_won = units_total", name=op.f("ck_jobs_completed")),
        sa.CheckConstraint(
            "state IN ('Pending', 'Queued', 'Running', 'Completed', 'Failed', 'Stopped')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("units_won BETWEEN 0 AND units_total", name=op.f("ck_jobs_units_won")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        postgresql_with=UPDATED_IN_PLACE,
    )
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"], unique=False)
    op.create_index("ix_jobs_namespace_created_at_id", "jobs", ["namespace", "created_at", "id"], unique=False)
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["namespace", "state"],
        unique=False,
        postgresql_where=sa.text("state IN ('Pending', 'Queued', 'Running')"),
    )
    op.create_index("uq_jobs_namespace_name", "jobs", ["namespace", "name"], unique=True)
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        postgresql_with=ONE_ROW,
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("info", sa.Text(), nullable=False),
        sa.Column("membership", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.BigInteger(), nullable=False),
        sa.Column("confirmed", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_by", sa.Text(), nullable=False),
        sa.Column("connected_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disconnected_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("connection IN ('CONNECTED', 'DISCONNECTED')", name=op.f("ck_nodes_connection")),
        sa.CheckConstraint("membership IN ('PENDING', 'APPROVED', 'REJECTED')", name=op.f("ck_nodes_membership")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        postgresql_with={**QUEUE_LIKE, "fillfactor": "50"},
    )
    op.create_table(
        "results",
        sa.Column("execution_id", sa.Text(collation="C"), nullable=False),
        sa.Column("job_id", sa.Text(collation="C"), nullable=False),
        sa.Column("job_version", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("inline", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_results")),
        postgresql_with=UPDATED_IN_PLACE,
    )
    op.create_index(
        "ix_results_inline", "results", ["created_at"], unique=False, postgresql_where=sa.text("inline IS NOT NULL")
    )
    op.create_index(
        "ix_results_stored", "results", ["created_at"], unique=False, postgresql_where=sa.text("stored_at IS NOT NULL")
    )
    op.create_index(
        "uq_results_committed",
        "results",
        ["job_id", "job_version", "task", "partition"],
        unique=True,
        postgresql_where=sa.text("committed"),
    )
    op.execute("INSERT INTO cluster DEFAULT VALUES")
    # Archives do not get smaller by compressing them again.
    op.execute("ALTER TABLE results ALTER COLUMN inline SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL")
