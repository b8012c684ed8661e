"""What a commit of the leader writes, as bulk statements: one part for each field of `Changes`."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Sequence

from skrei_domain.messages import RunOutput, Step
from skrei_scheduling.changes import Changes, ExecutionChange, Observed
from skrei_scheduling.rows import ExecutionRow, NodeRow
from skrei_store.bulk import Part, Rows
from skrei_store.values import dump, dump_gone, storable

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
        "steps text",
        "exit_code int8",
        "stdout text",
        "stderr text",
        "stdout_truncated bool",
        "stderr_truncated bool",
        "problem_code text",
        "problem_message text",
        "image_digest text",
    ),
    """
    UPDATE executions AS e
    SET state = new.state, observed = new.observed, want = new.want, incarnation = new.incarnation,
        revision = new.revision, seen_revision = new.seen_revision, revoked = new.revoked, holds = new.holds,
        starts = new.starts, changes = new.changes, message = new.message, reason = new.reason,
        staged = new.staged, modified_at = {at},
        steps = coalesce(new.steps, e.steps), exit_code = coalesce(new.exit_code, e.exit_code),
        stdout = coalesce(new.stdout, e.stdout), stderr = coalesce(new.stderr, e.stderr),
        stdout_truncated = coalesce(new.stdout_truncated, e.stdout_truncated),
        stderr_truncated = coalesce(new.stderr_truncated, e.stderr_truncated),
        problem_code = coalesce(new.problem_code, e.problem_code),
        problem_message = coalesce(new.problem_message, e.problem_message),
        image_digest = coalesce(new.image_digest, e.image_digest)
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
    ),
    "INSERT INTO executions ({names}, created_at, modified_at) SELECT new.*, {at}, {at} FROM {new}",
    # One execution may step in for a unit in the commit in which the one before it stepped out.
    after=frozenset({"executions_changed"}),
)

RESULTS = Part(
    "results_added",
    (
        "execution_id text",
        "job_id text",
        "job_version int8",
        "task text",
        "partition int8",
        "committed bool",
        "digest text",
        "size int8",
        "inline bytea",
        "staged bool",
        "publisher text",
        "place text",
    ),
    "INSERT INTO results ({names}, created_at) SELECT new.*, {at} FROM {new}",
)

JOBS = Part(
    "jobs_changed",
    ("id text", "history_seq int8", "state text", "message text", "details text", "won int8"),
    """
    UPDATE jobs AS j
    SET history_seq = new.history_seq, state = coalesce(new.state, j.state),
        message = coalesce(new.message, j.message), details = coalesce(new.details, j.details),
        units_won = j.units_won + new.won, modified_at = {at}
    FROM {new} WHERE j.id = new.id AND j.id = ANY ({ids})
    """,
    counted=True,
)

HISTORY = Part(
    "history_added",
    (
        "job_id text",
        "seq int8",
        "job_version int8",
        "execution_id text",
        "topic text",
        "message text",
        "details text",
        "node_time timestamptz",
    ),
    "INSERT INTO history ({names}, at) SELECT new.*, {at} FROM {new}",
)

EVALUATIONS_NEW = Part(
    "evaluations_added",
    ("id text", "job_id text", "namespace text", "trigger text", "comment text", "delay float8"),
    """
    INSERT INTO evaluations (id, job_id, namespace, trigger, comment, run_after)
    SELECT id, job_id, namespace, trigger, comment, {at} + make_interval(secs => delay) FROM {new}
    """,
)

EVALUATIONS_DONE = Part("evaluations_answered", ("id text",), "DELETE FROM evaluations WHERE id = ANY ({ids})")

NODES = Part(
    "nodes_written",
    (
        "id text",
        "info text",
        "membership text",
        "connection text",
        "boot_id text",
        "incarnation int8",
        "confirmed int8",
        "confirmed_by text",
        "connected_since timestamptz",
        "disconnected_since timestamptz",
        "error text",
        "gone text",
    ),
    """
    INSERT INTO nodes ({names}, modified_at) SELECT new.*, {at} FROM {new}
    ON CONFLICT (id) DO UPDATE
    SET info = excluded.info, membership = excluded.membership, connection = excluded.connection,
        boot_id = excluded.boot_id, incarnation = excluded.incarnation, confirmed = excluded.confirmed,
        confirmed_by = excluded.confirmed_by, connected_since = excluded.connected_since,
        disconnected_since = excluded.disconnected_since, error = excluded.error, gone = excluded.gone,
        modified_at = excluded.modified_at
    """,
)

CLUSTER = Part(
    "cluster_moved",
    ("timeline int8", "facts_created text", "facts_sequence int8"),
    """
    UPDATE cluster AS c
    SET timeline = coalesce(new.timeline, c.timeline), facts_created = coalesce(new.facts_created, c.facts_created),
        facts_sequence = coalesce(new.facts_sequence, c.facts_sequence)
    FROM {new} WHERE c.id
    """,
    counted=True,
)

RESULTS_STORED = Part(
    "results_stored",
    ("execution_id text", "digest text"),
    """
    UPDATE results AS r SET inline = NULL, stored_at = coalesce(r.stored_at, {at})
    FROM {new} WHERE r.execution_id = new.execution_id AND r.digest = new.digest AND r.execution_id = ANY ({ids})
    """,
)

RESULTS_FINALISED = Part(
    "results_finalised",
    ("execution_id text", "digest text"),
    """
    UPDATE results AS r SET staged = false, stored_at = coalesce(r.stored_at, {at})
    FROM {new} WHERE r.execution_id = new.execution_id AND r.digest = new.digest AND r.staged
        AND r.execution_id = ANY ({ids})
    """,
)

RESULTS_REFUSED = Part(
    "results_refused",
    ("execution_id text", "digest text"),
    """
    UPDATE results AS r SET staged = false, committed = false
    FROM {new} WHERE r.execution_id = new.execution_id AND r.digest = new.digest AND r.staged
        AND r.execution_id = ANY ({ids})
    """,
    after=frozenset({"results_finalised"}),
)

RESULTS_WITHDRAWN = Part(
    "results_withdrawn",
    ("execution_id text",),
    "UPDATE results SET committed = false WHERE execution_id = ANY ({ids})",
    after=frozenset({"results_finalised"}),
)

RESULTS_DROPPED = Part(
    "results_dropped",
    ("execution_id text",),
    "UPDATE results SET stored_at = NULL WHERE execution_id = ANY ({ids})",
    after=frozenset({"results_stored"}),
)

AUDIT = Part(
    "audited",
    ("actor text", "action text", "object text", "details text"),
    "INSERT INTO audit (at, {names}) SELECT {at}, new.* FROM {new}",
)

NODE_EVENTS_KEPT = 100
"""Events kept of each node: days of an ordinary one, and a bound on one whose engine comes and goes each minute."""

NODE_EVENTS = Part(
    "node_events_told",
    ("node_id text", "place int8", "topic text", "message text"),
    """
    INSERT INTO node_events (node_id, seq, at, topic, message)
    SELECT node_id, place + coalesce((SELECT max(e.seq) FROM node_events e WHERE e.node_id = new.node_id), 0), {at},
           topic, message
    FROM {new}
    """,
)

NODE_EVENTS_OLD = Part(
    "node_events_dropped",
    ("node_id text", "kept int8"),
    """
    DELETE FROM node_events AS e USING {new}
    WHERE e.node_id = new.node_id AND e.node_id = ANY ({ids})
      AND e.seq <= (SELECT max(x.seq) FROM node_events x WHERE x.node_id = new.node_id) - new.kept
    """,
)

_NOTHING = (None,) * 9


def parts_of(changes: Changes, node_json: Callable[[NodeRow], str]) -> list[tuple[Part, Rows]]:
    """Return the parts of a commit with their rows, in the order in which they may have to be written."""
    cluster: Sequence[tuple[object, ...]] = ()
    if changes.position is not None or changes.timeline is not None:
        position = changes.position
        cluster = [(changes.timeline, position.created if position else None, position.sequence if position else None)]
    return [
        (EXECUTIONS, [_execution(change) for change in changes.executions]),
        (
            RESULTS,
            [
                (
                    new.execution_id,
                    new.job_id,
                    new.job_version,
                    new.task,
                    new.partition,
                    new.committed,
                    new.result.digest,
                    new.result.size,
                    None if new.result.inline is None else base64.b64decode(new.result.inline),
                    new.staged is not None,
                    "" if new.staged is None else storable(new.staged.publisher),
                    "" if new.staged is None else storable(new.staged.place),
                )
                for new in changes.results
            ],
        ),
        (
            JOBS,
            [
                (
                    job.id,
                    job.history_seq,
                    job.state,
                    None if job.message is None else storable(job.message),
                    None if job.details is None else dump(job.details),
                    len(job.won),
                )
                for job in changes.jobs
            ],
        ),
        (
            HISTORY,
            [
                (
                    item.job_id,
                    item.seq,
                    item.job_version,
                    item.execution_id,
                    item.topic,
                    storable(item.message),
                    dump(item.details),
                    item.node_time,
                )
                for item in changes.history
            ],
        ),
        (
            EVALUATIONS_NEW,
            [
                (new.id, new.job_id, new.namespace, new.trigger, storable(new.comment), new.delay_seconds)
                for new in changes.evaluations_new
            ],
        ),
        (EVALUATIONS_DONE, [(id_,) for id_ in changes.evaluations_done]),
        (NODES, [_node(node, node_json) for node in changes.nodes]),
        (CLUSTER, cluster),
        (RESULTS_STORED, changes.results_stored),
        (RESULTS_FINALISED, changes.results_finalised),
        (RESULTS_REFUSED, changes.results_refused),
        (RESULTS_WITHDRAWN, [(id_,) for id_ in changes.results_withdrawn]),
        (EXECUTIONS_NEW, [_execution_new(row) for row in changes.executions_new]),
        (RESULTS_DROPPED, [(id_,) for id_ in changes.results_dropped]),
        (AUDIT, [(storable(new.actor), new.action, storable(new.object), dump(new.details)) for new in changes.audit]),
        (NODE_EVENTS, _node_events(changes)),
        (NODE_EVENTS_OLD, [(node_id, NODE_EVENTS_KEPT) for node_id in {new.node_id for new in changes.node_events}]),
    ]


def _node_events(changes: Changes) -> list[tuple[object, ...]]:
    """Return the events with their places after the last one of each node."""
    places: Counter[str] = Counter()
    rows: list[tuple[object, ...]] = []
    for new in changes.node_events:
        places[new.node_id] += 1
        rows.append((new.node_id, places[new.node_id], new.topic, storable(new.message)))
    return rows


def _execution(change: ExecutionChange) -> tuple[object, ...]:
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
    )


def _output(output: RunOutput) -> tuple[object, ...]:
    return (storable(output.stdout), storable(output.stderr), output.stdout_truncated, output.stderr_truncated)


def _steps(steps: Sequence[Step]) -> str:
    return json.dumps(
        [{"state": step.state.value, "at": step.at.isoformat(), "start": step.start} for step in steps],
        separators=(",", ":"),
    )


def _execution_new(row: ExecutionRow) -> tuple[object, ...]:
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
    )


def _node(node: NodeRow, node_json: Callable[[NodeRow], str]) -> tuple[object, ...]:
    return (
        node.id,
        node_json(node),
        node.membership,
        node.connection,
        node.boot_id,
        node.incarnation,
        node.confirmed,
        node.confirmed_by,
        node.connected_since,
        node.disconnected_since,
        storable(node.error),
        dump_gone(node.gone),
    )
