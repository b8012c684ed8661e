"""What the silence, the return, and the forgetting of a node do to its executions.

Each function adds to a `ChangesBuilder`; the short forms beside them build a commit of their own.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from skrei_domain.ids import IdSource
from skrei_domain.lifecycle import Connection, ExecutionState, Want
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, EvaluationNew, Locked
from skrei_scheduling.rows import ExecutionRow, NodeRow, OnReturn
from skrei_scheduling.settle import ask_retry
from skrei_scheduling.view import ClusterView

HEARTBEAT_TIMEOUT = "heartbeat timeout"


def silence_into(
    builder: ChangesBuilder, node_ids: Iterable[str], *, error: str = HEARTBEAT_TIMEOUT, most: int | None = None
) -> bool:
    """The nodes fell silent: they are disconnected, their live executions Unknown, their jobs looked at after the wait.

    An execution that is wanted stopped is asked for nothing more: it ends when its node says so.

    With `most`, at most so many executions become Unknown by this commit, and True says that more are left. All the
    nodes are disconnected at once, so nothing is placed on them meanwhile; call again with the same nodes in a commit
    of its own while more is left, but not for a node that has said hello since. A leader that takes over finds what
    was left with `half_silent`.
    """
    left = math.inf if most is None else most
    more = False
    waits: dict[str, tuple[str, float]] = {}
    for node_id in node_ids:
        node = builder.node(node_id)
        if node is None:
            continue
        again = most is not None and node.connection is Connection.DISCONNECTED
        if node.connection is not Connection.DISCONNECTED:
            builder.put_node(
                replace(
                    node,
                    connection=Connection.DISCONNECTED,
                    disconnected_since=builder.locked.now,
                    connected_since=None,
                    error=error,
                )
            )
        for held in list(builder.view.of_node(node_id)):
            row = builder.row(held.id) or held
            if not row.live or (again and row.state is ExecutionState.UNKNOWN):
                continue  # the commit that made it Unknown has asked for its job
            if row.state is not ExecutionState.UNKNOWN:
                if left <= 0:
                    more = True
                    continue
                left -= 1
                builder.put(row.evolve(state=ExecutionState.UNKNOWN))
                builder.history(row.job_id, texts.EXECUTION, texts.SILENT, row=row, details={texts.NODE_ID: node_id})
            job = builder.job(row.job_id)
            if job is not None and not row.revoked and builder.counts(row) and job.offline.replace:
                waits[job.id] = (job.namespace, job.offline.wait.total_seconds())
    for job_id, (namespace, wait) in waits.items():
        builder.evaluation(
            EvaluationNew(builder.new_id("v"), job_id, namespace, texts.TRIGGER_NODE_LOST, delay_seconds=wait)
        )
    return more


def half_silent(view: ClusterView) -> list[str]:
    """Return the disconnected nodes with live executions that are not Unknown yet: `silence_into` is not done."""
    return [
        node.id
        for node in view.nodes.values()
        if node.connection is Connection.DISCONNECTED
        and any(row.live and row.state is not ExecutionState.UNKNOWN for row in view.of_node(node.id))
    ]


def revive_into(builder: ChangesBuilder, node: NodeRow, listed: Mapping[str, tuple[ExecutionState, int]]) -> None:
    """A node said hello (`node` is its new row, connected) and listed its executions as (state, applied revision).

    What was Unknown is again what its facts last told, under the job's `OnReturn`; states move by facts alone. What
    ended and is not listed has no room on the node any more, unless a command to it is still on its way. Live ones
    that the node's journal has lost are named to `lose_into`, before this.
    """
    builder.put_node(node)
    for held in list(builder.view.of_node(node.id)):
        row = builder.row(held.id) or held
        if row.id in listed and listed[row.id][1] > row.seen_revision:
            row = row.evolve(seen_revision=listed[row.id][1])
            builder.put(row)
        if row.live:
            _returned(builder, row)
        elif row.id not in listed and (row.seen_revision >= row.revision or row.incarnation < node.incarnation):
            builder.put(row.evolve(holds=False, seen_revision=row.revision))


def _returned(builder: ChangesBuilder, row: ExecutionRow) -> None:
    if row.state is not ExecutionState.UNKNOWN:
        return
    job = builder.job(row.job_id)
    if row.revoked or not builder.had_rival(row):
        builder.put(row.evolve(state=row.observed))
        message = texts.RETURNED.format(state=row.observed.value.capitalize())
        builder.history(row.job_id, texts.EXECUTION, message, row=row)
    elif job is not None and job.offline.on_return is OnReturn.KEEP_ORIGINAL:
        for other in list(builder.rows_of_unit(row.job_id, row.unit)):
            if other.id != row.id:  # the original is what its next fact tells: see `had_rival`
                builder.stop(other, texts.STOP_ORIGINAL_BACK, lost=other.state is ExecutionState.UNKNOWN)


def lose_into(builder: ChangesBuilder, execution_ids: Iterable[str], reason: str) -> None:
    """The executions are gone from their node: they hold no room, and their units are tried again."""
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None:
            continue
        if not row.live:
            builder.put(row.evolve(holds=False, seen_revision=row.revision))
            continue
        counts = builder.counts(row) and not builder.won(row)
        lost = row.evolve(
            state=ExecutionState.STOPPED if row.revoked else ExecutionState.LOST,
            want=Want.STOP,
            revoked=True,
            holds=False,
            seen_revision=row.revision,
            message=row.reason if row.revoked else texts.LOST.format(reason=reason),
            reason=row.reason or reason,
        )
        _give_up(builder, row, lost, texts.LOST_CODE, retry=counts)


def unanswered_into(builder: ChangesBuilder, execution_ids: Iterable[str]) -> None:
    """The offers were not answered in time: revoked, tried again; their room counts until the node has said no."""
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None or not row.live or row.revoked:
            continue
        counts = builder.counts(row) and not builder.won(row)
        lost = row.evolve(
            state=ExecutionState.LOST,
            want=Want.STOP,
            revision=row.revision + 1,
            revoked=True,
            message=texts.STOP_NO_ANSWER,
            reason=texts.NO_ANSWER_CODE,
        )
        _give_up(builder, row, lost, texts.NO_ANSWER_CODE, retry=counts)


def _give_up(builder: ChangesBuilder, old: ExecutionRow, new: ExecutionRow, code: str, *, retry: bool) -> None:
    builder.put(new)
    details = {} if old.revoked else {texts.IS_ERROR: "true", texts.ERROR_CODE: code}
    builder.history(
        new.job_id, texts.EXECUTION, texts.STOPPED if old.revoked else new.message, row=new, details=details
    )
    if retry:
        ask_retry(builder, new)


# ---------------------------------------------------------------- commits of their own


def silence(view: ClusterView, node_ids: Iterable[str], locked: Locked, ids: IdSource) -> Changes:
    """Return the commit of `silence_into`."""
    return _alone(view, locked, ids, lambda builder: silence_into(builder, node_ids))


def revive(
    view: ClusterView,
    node: NodeRow,
    listed: Mapping[str, tuple[ExecutionState, int]],
    locked: Locked,
    ids: IdSource,
) -> Changes:
    """Return the commit of `revive_into`."""
    return _alone(view, locked, ids, lambda builder: revive_into(builder, node, listed))


def lose(view: ClusterView, execution_ids: Iterable[str], reason: str, locked: Locked, ids: IdSource) -> Changes:
    """Return the commit of `lose_into`."""
    return _alone(view, locked, ids, lambda builder: lose_into(builder, execution_ids, reason))


def unanswered(view: ClusterView, execution_ids: Iterable[str], locked: Locked, ids: IdSource) -> Changes:
    """Return the commit of `unanswered_into`."""
    return _alone(view, locked, ids, lambda builder: unanswered_into(builder, execution_ids))


def _alone(view: ClusterView, locked: Locked, ids: IdSource, add: Callable[[ChangesBuilder], object]) -> Changes:
    builder = ChangesBuilder(view, locked, ids)
    add(builder)
    return builder.build()
