"""What a commit of the leader writes, as bulk statements: one part for each field of `Changes`."""

from collections.abc import Callable, Sequence

from skrei_scheduling.changes import Changes
from skrei_scheduling.rows import NodeRow
from skrei_store.bulk import Part, Rows
from skrei_store.parts_executions import EXECUTIONS, EXECUTIONS_NEW, execution_row, new_execution_row
from skrei_store.parts_jobs import (
    EVALUATIONS_DONE,
    EVALUATIONS_NEW,
    HISTORY,
    JOBS,
    history_row,
    job_row,
    new_evaluation_row,
)
from skrei_store.parts_manifests import MANIFESTS_NEW, manifest_rows
from skrei_store.parts_nodes import (
    NODE_EVENTS,
    NODE_EVENTS_GONE,
    NODE_EVENTS_KEPT,
    NODE_EVENTS_OLD,
    NODE_INTENTS_DONE,
    NODES,
    NODES_GONE,
    node_event_rows,
    node_row,
)
from skrei_store.parts_results import (
    RESULTS,
    RESULTS_DROPPED,
    RESULTS_FINALISED,
    RESULTS_PUBLISHED,
    RESULTS_REFUSED,
    RESULTS_STORED,
    RESULTS_WITHDRAWN,
    new_result_row,
)
from skrei_store.parts_rollbacks import ROLLBACKS, rollback_row
from skrei_store.parts_targets import TARGETS_FAILED, TARGETS_NEW, failed_rows, target_rows
from skrei_store.values import dump, storable

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


AUDIT = Part(
    "audited",
    ("actor text", "action text", "object text", "details text"),
    "INSERT INTO audit (at, {names}) SELECT {at}, new.* FROM {new}",
)


def parts_of(changes: Changes, node_json: Callable[[NodeRow], str]) -> list[tuple[Part, Rows]]:
    """Return the parts of a commit with their rows, in the order in which they may have to be written."""
    cluster: Sequence[tuple[object, ...]] = ()
    if changes.position is not None or changes.timeline is not None:
        position = changes.position
        cluster = [(changes.timeline, position.created if position else None, position.sequence if position else None)]
    return [
        (EXECUTIONS, [execution_row(change) for change in changes.executions]),
        (RESULTS, [new_result_row(new) for new in changes.results]),
        (JOBS, [job_row(job) for job in changes.jobs]),
        (HISTORY, [history_row(item) for item in changes.history]),
        (TARGETS_NEW, [row for job in changes.jobs for row in target_rows(job)]),
        (MANIFESTS_NEW, [row for job in changes.jobs for row in manifest_rows(job)]),
        (TARGETS_FAILED, [row for job in changes.jobs for row in failed_rows(job)]),
        *((part, [rollback_row(each) for each in changes.rollbacks]) for part in ROLLBACKS),
        (EVALUATIONS_NEW, [new_evaluation_row(new) for new in changes.evaluations_new]),
        (EVALUATIONS_DONE, [(id_,) for id_ in changes.evaluations_done]),
        (NODES, [node_row(node, node_json) for node in changes.nodes]),
        (CLUSTER, cluster),
        (RESULTS_STORED, changes.results_stored),
        (RESULTS_FINALISED, changes.results_finalised),
        (RESULTS_PUBLISHED, changes.results_published),
        (RESULTS_REFUSED, changes.results_refused),
        (RESULTS_WITHDRAWN, [(id_,) for id_ in changes.results_withdrawn]),
        (EXECUTIONS_NEW, [new_execution_row(row) for row in changes.executions_new]),
        (RESULTS_DROPPED, [(id_,) for id_ in changes.results_dropped]),
        (AUDIT, [(storable(new.actor), new.action, storable(new.object), dump(new.details)) for new in changes.audit]),
        (NODES_GONE, [(node_id,) for node_id in changes.nodes_gone]),
        (NODE_EVENTS_GONE, [(node_id,) for node_id in changes.nodes_gone]),
        (NODE_INTENTS_DONE, [(number,) for number in changes.node_intents_done]),
        (NODE_EVENTS, node_event_rows(changes.node_events)),
        (NODE_EVENTS_OLD, [(node_id, NODE_EVENTS_KEPT) for node_id in {new.node_id for new in changes.node_events}]),
    ]
