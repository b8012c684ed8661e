"""What a commit of the leader writes of executions: those it placed, and those that moved."""

from collections.abc import Sequence

from skrei_domain.messages import DataRead, PortObserved, RunOutput, Step
from skrei_scheduling.changes import ExecutionChange, Observed
from skrei_scheduling.rows import ExecutionRow
from skrei_store.bulk import Part
from skrei_store.values import compact, storable

EXECUTIONS = Part(
    "executions_changed",
    (
        "id text",
        "state text",
        "observed text",
        "want text",
        "incarnation int8",
        "revision int8",
        "seen_revision int8",
        "revoked bool",
        "holds bool",
        "starts int8",
        "changes int8",
        "message text",
        "reason text",
        "staged bool",
        "leaving bool",
        "ready bool",
        "ready_at timestamptz",
        "job_version int8",
        "steps text",
        "exit_code int8",
        "stdout text",
        "stderr text",
        "stdout_truncated bool",
        "stderr_truncated bool",
        "problem_code text",
        "problem_message text",
        "image_digest text",
        "ports text",
        "data_read text",
    ),
    """
    UPDATE executions AS e
    SET state = new.state, observed = new.observed, want = new.want, incarnation = new.incarnation,
        revision = new.revision, seen_revision = new.seen_revision, revoked = new.revoked, holds = new.holds,
        starts = new.starts, changes = new.changes, message = new.message, reason = new.reason,
        staged = new.staged, leaving = new.leaving, ready = new.ready, ready_at = new.ready_at,
        job_version = new.job_version, modified_at = {at},
        steps = coalesce(new.steps, e.steps), exit_code = coalesce(new.exit_code, e.exit_code),
        stdout = coalesce(new.stdout, e.stdout), stderr = coalesce(new.stderr, e.stderr),
        stdout_truncated = coalesce(new.stdout_truncated, e.stdout_truncated),
        stderr_truncated = coalesce(new.stderr_truncated, e.stderr_truncated),
        problem_code = coalesce(new.problem_code, e.problem_code),
        problem_message = coalesce(new.problem_message, e.problem_message),
        image_digest = coalesce(new.image_digest, e.image_digest), ports = coalesce(new.ports, e.ports),
        data_read = coalesce(new.data_read, e.data_read)
    FROM {new} WHERE e.id = new.id AND e.id = ANY ({ids})
    """,
    counted=True,
)

EXECUTIONS_NEW = Part(
    "executions_added",
    (
        "id text",
        "job_id text",
        "job_version int8",
        "namespace text",
        "task text",
        "partition int8",
        "attempt int8",
        "node_id text",
        "incarnation int8",
        "state text",
        "observed text",
        "want text",
        "revision int8",
        "seen_revision int8",
        "cpu_milli int8",
        "memory_bytes int8",
        "disk_bytes int8",
        "gpu int8",
        "revoked bool",
        "holds bool",
        "starts int8",
        "changes int8",
        "message text",
        "reason text",
        "evaluation_id text",
        "what_runs text",
        "ports text",
    ),
    "INSERT INTO executions ({names}, created_at, modified_at) SELECT new.*, {at}, {at} FROM {new}",
    light=True,
    # One execution may step in for a unit in the commit in which the one before it stepped out.
    after=frozenset({"executions_changed"}),
)

_NOTHING = (None,) * 11


def execution_row(change: ExecutionChange) -> tuple[object, ...]:
    """Return the row for EXECUTIONS."""
    row = change.row
    return (
        row.id,
        row.state,
        row.observed,
        row.want,
        row.incarnation,
        row.revision,
        row.seen_revision,
        row.revoked,
        row.holds,
        row.starts,
        row.changes,
        storable(row.message),
        storable(row.reason),
        row.staged,
        row.leaving,
        row.ready,
        row.ready_at,
        row.job_version,
        *(_NOTHING if change.observed is None else _observed(change.observed)),
    )


def _observed(told: Observed) -> tuple[object, ...]:
    """What readers learn; None keeps what they knew."""
    output = told.output
    return (
        _steps(told.steps) if told.steps else None,
        told.exit_code,
        *(_output(output) if output is not None else (None, None, None, None)),
        *((storable(told.problem.code), storable(told.problem.message)) if told.problem else (None, None)),
        storable(told.image_digest) if told.image_digest else None,
        _ports(told.ports),
        _data(told.data) if told.data is not None else None,
    )


def _output(output: RunOutput) -> tuple[object, ...]:
    return (storable(output.stdout), storable(output.stderr), output.stdout_truncated, output.stderr_truncated)


def _ports(ports: Sequence[PortObserved] | None) -> str | None:
    return compact([port.model_dump() for port in ports]) if ports else None


def _data(data: DataRead) -> str:
    return data.model_dump_json(exclude_defaults=True)


def _steps(steps: Sequence[Step]) -> str:
    return compact([{"state": step.state.value, "at": step.at.isoformat(), "start": step.start} for step in steps])


def new_execution_row(row: ExecutionRow) -> tuple[object, ...]:
    """Return the row for EXECUTIONS_NEW."""
    return (
        row.id,
        row.job_id,
        row.job_version,
        row.namespace,
        row.task,
        row.partition,
        row.attempt,
        row.node_id,
        row.incarnation,
        row.state,
        row.observed,
        row.want,
        row.revision,
        row.seen_revision,
        *row.reserved.vector(),
        row.revoked,
        row.holds,
        row.starts,
        row.changes,
        storable(row.message),
        storable(row.reason),
        row.evaluation_id,
        row.what_runs,
        _ports(row.ports),
    )
