"""What of a draining node is stopped, and when: all of it at its deadline, daemons once nothing else is left there.

Until then a batch may end by itself, and services move as `moving` says. What was stopped is wanted elsewhere; what can
run on that node alone waits for it.
"""

from collections.abc import Iterable
from datetime import datetime

from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.view import ClusterView


def due(view: ClusterView, now: datetime) -> list[str]:
    """Return the executions on draining nodes that are to be stopped now."""
    found: list[str] = []
    for node_id in view.draining:
        until = view.nodes[node_id].drain_until
        rows = [row for row in view.of_node(node_id) if row.live and not row.staged]
        others = [row for row in rows if not _is_daemon(view, row.job_id)]
        if (until is not None and now >= until) or not others:
            found += [row.id for row in rows if not row.revoked]
    return found


def end_into(builder: ChangesBuilder, execution_ids: Iterable[str]) -> None:
    """Stop executions because their nodes drain, and have their jobs looked at."""
    asked: dict[str, None] = {}
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None or row.revoked or not row.live:
            continue
        builder.stop(row, texts.STOP_DRAINED, lost=row.state is ExecutionState.UNKNOWN)
        if row.job_id not in asked:
            asked[row.job_id] = None
            builder.evaluate(row, texts.TRIGGER_DRAIN)


def _is_daemon(view: ClusterView, job_id: str) -> bool:
    job = view.jobs.get(job_id)
    return job is not None and job.kind is Kind.DAEMON
