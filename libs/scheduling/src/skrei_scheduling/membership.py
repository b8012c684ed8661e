"""What the silence, the return, and the forgetting of a node do to its executions.

Each function adds to a `ChangesBuilder`; the short forms beside them build a commit of their own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from skrei_domain.ids import IdSource
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import Connection, ExecutionState, Want
from skrei_domain.messages import Problem
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, EvaluationNew, Locked
from skrei_scheduling.kinds import follow_up, in_doubt
from skrei_scheduling.rows import ExecutionRow, NodeRow, OnReturn
from skrei_scheduling.view import ClusterView

HEARTBEAT_TIMEOUT = "heartbeat timeout"

ASKED_AT_ONCE = 20
"""Waiting jobs that are told anew why when a node comes or goes, each the first of its class: a row and a look each."""


def silence_into(builder: ChangesBuilder, node_ids: Iterable[str], *, error: str = HEARTBEAT_TIMEOUT) -> None:
    """The nodes fell silent: `disconnect_into`, and `quiet_into` for all that lives on them."""
    nodes = list(node_ids)
    disconnect_into(builder, nodes, error=error)
    quiet_into(builder, [row_id for node_id in nodes for row_id in live_on(builder.view, node_id)])


def disconnect_into(builder: ChangesBuilder, node_ids: Iterable[str], *, error: str) -> None:
    """The nodes are disconnected: nothing is placed on them from this commit on."""
    changed = False
    for node_id in node_ids:
        node = builder.node(node_id)
        if node is not None and node.connection is not Connection.DISCONNECTED:
            changed, away = True, builder.locked.now
            builder.put_node(
                replace(
                    node,
                    connection=Connection.DISCONNECTED,
                    disconnected_since=away,
                    connected_since=None,
                    error=error,
                )
            )
    if changed:
        _ask_why(builder)


def _ask_why(builder: ChangesBuilder) -> None:
    """Let what waits first of each class be told anew why, by the nodes that are there now: nobody else would look at
    it before it has room.
    """
    first = dict.fromkeys(job_id for _, job_id in builder.view.waiting.firsts(ASKED_AT_ONCE))
    for job in (builder.view.jobs[job_id] for job_id in first):
        builder.evaluation(EvaluationNew(builder.new_id("v"), job.id, job.namespace, texts.TRIGGER_NODES))


def quiet_into(builder: ChangesBuilder, execution_ids: Iterable[str]) -> None:
    """What lives on silent nodes becomes Unknown, and its jobs are looked at after their wait.

    An execution that is wanted stopped is asked for nothing more: it ends when its node says so. The executions of
    one node may come in several commits, but not when the node has said hello in between. A leader that takes over
    finds what was left with `half_silent`.
    """
    waits: dict[str, tuple[str, float]] = {}
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None or not row.live or row.staged:
            continue
        if row.state is not ExecutionState.UNKNOWN:
            builder.put(row.evolve(state=ExecutionState.UNKNOWN))
            details = {texts.NODE_ID: row.node_id}
            builder.history(row.job_id, texts.EXECUTION, texts.SILENT, row=row, details=details)
        job = builder.job(row.job_id)
        waits_for_it = job is not None and job.offline.replace and job.kind is not Kind.DAEMON
        if job is not None and waits_for_it and not row.revoked and builder.counts(row):
            waits[job.id] = (job.namespace, job.offline.wait.total_seconds())
    for job_id, (namespace, wait) in waits.items():
        builder.evaluation(
            EvaluationNew(builder.new_id("v"), job_id, namespace, texts.TRIGGER_NODE_LOST, delay_seconds=wait)
        )


def live_on(view: ClusterView, node_id: str) -> list[str]:
    """Return the live executions on a node: what its silence makes Unknown.

    One that is staged needs it no more, or waits for it as for any destination that is away.
    """
    return [row.id for row in view.of_node(node_id) if row.live and not row.staged]


def half_silent(view: ClusterView) -> dict[str, list[str]]:
    """Return the disconnected nodes with their live executions that are not Unknown yet: their silence is half told."""
    left = {
        node.id: [
            row_id for row_id in live_on(view, node.id) if view.executions[row_id].state is not ExecutionState.UNKNOWN
        ]
        for node in view.nodes.values()
        if node.connection is Connection.DISCONNECTED
    }
    return {node_id: rows for node_id, rows in left.items() if rows}


Listed = Mapping[str, tuple[ExecutionState, int]]
"""What a hello listed: (state, applied revision) of each execution."""


def revive_into(builder: ChangesBuilder, node: NodeRow, listed: Listed, only: Iterable[str] | None = None) -> None:
    """A node said hello (`node` is its new row, connected) and listed its executions.

    What was Unknown is again what its facts last told, under the job's `OnReturn`; states move by facts alone. What
    ended and is not listed has no room on the node any more, unless a command to it is still on its way. Live ones
    that the node's journal has lost are named to `lose_into`, before this. With `only`, the rest is left to calls of
    `revive_rows_into` in commits of their own (see `to_revive`).
    """
    known = builder.node(node.id)
    if known is None or known.connection is not node.connection:
        _ask_why(builder)
    builder.put_node(node)
    rows = [row.id for row in builder.view.of_node(node.id)] if only is None else only
    revive_rows_into(builder, node, listed, rows)


def revive_rows_into(builder: ChangesBuilder, node: NodeRow, listed: Listed, execution_ids: Iterable[str]) -> None:
    """Do what `revive_into` does to these executions of a connected node."""
    back: dict[str, ExecutionRow] = {}
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None:
            continue
        if row.id in listed and listed[row.id][1] > row.seen_revision:
            row = row.evolve(seen_revision=listed[row.id][1])
            builder.put(row)
        if row.live:
            if _returned(builder, row):
                back[row.job_id] = row
        elif row.id not in listed and (row.seen_revision >= row.revision or row.incarnation < node.incarnation):
            builder.put(row.evolve(holds=False, seen_revision=max(row.seen_revision, row.revision)))
    for row in back.values():
        builder.evaluate(row, texts.TRIGGER_NODE_BACK)


def to_revive(view: ClusterView, node_id: str, listed: Listed) -> list[str]:
    """Return the executions on a node that its hello may change."""
    return [
        row.id
        for row in view.of_node(node_id)
        if row.state is ExecutionState.UNKNOWN
        or (listed[row.id][1] > row.seen_revision if row.id in listed else not row.live)
    ]


def gone_from(view: ClusterView, node_id: str, listed: Listed, incarnation: int) -> list[str]:
    """Return the live executions that a node's journal of `incarnation` does not know, and never will."""
    return [
        row_id
        for row_id in live_on(view, node_id)
        if view.executions[row_id].incarnation != incarnation and row_id not in listed
    ]


def _returned(builder: ChangesBuilder, row: ExecutionRow) -> bool:
    """Let an Unknown execution be what it was, under its job's `OnReturn`; whether its job is to be looked at."""
    if row.state is not ExecutionState.UNKNOWN:
        return False
    if row.revoked or row.leaving or not builder.had_rival(row):
        builder.come_back(row)
        waits = row.job_id in builder.view.waiting  # for a place beside this one, which it does not need any more
        return not row.revoked and (waits or (row.serves and in_doubt(builder, row)))
    job = builder.job(row.job_id)
    if job is None or not builder.counts(row):
        return False
    if job.offline.on_return is OnReturn.KEEP_ORIGINAL:
        for other in list(builder.rows_of_unit(row.job_id, row.unit)):
            if other.attempt > row.attempt and other.job_version == row.job_version:  # the later one is no original
                builder.stop(other, texts.STOP_ORIGINAL_BACK, lost=other.state is ExecutionState.UNKNOWN)
        return True
    return job.kind is Kind.SERVICE


def lose_into(builder: ChangesBuilder, execution_ids: Iterable[str], reason: str) -> None:
    """The executions are gone from their node: they hold no room, and their units are tried again."""
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None or row.staged:  # of what stays on its node the publisher hears that this is gone
            continue
        if not row.live:
            builder.put(row.evolve(holds=False, seen_revision=max(row.seen_revision, row.revision)))
            continue
        counts = builder.counts(row) and not builder.closed(row)
        lost = row.evolve(
            state=ExecutionState.STOPPED if row.revoked else ExecutionState.LOST,
            want=Want.STOP,
            revoked=True,
            holds=False,
            seen_revision=max(row.seen_revision, row.revision),
            message=row.reason if row.revoked else texts.LOST.format(reason=reason),
            reason=row.reason or reason,
        )
        _give_up(builder, row, lost, texts.LOST_CODE, retry=counts)


def unanswered_into(builder: ChangesBuilder, execution_ids: Iterable[str]) -> None:
    """The offers were not answered in time: revoked, tried again; their room counts until the node has said no."""
    abandon_into(builder, execution_ids, texts.STOP_NO_ANSWER, texts.NO_ANSWER_CODE)


def abandon_into(builder: ChangesBuilder, execution_ids: Iterable[str], message: str, code: str) -> None:
    """The executions are waited for no more: wanted stopped, tried again elsewhere; their room counts on."""
    for execution_id in execution_ids:
        row = builder.row(execution_id)
        if row is None or not row.live or row.revoked:
            continue
        counts = builder.counts(row) and not builder.closed(row)
        lost = row.evolve(
            state=ExecutionState.LOST,
            want=Want.STOP,
            revision=row.revision + 1,
            revoked=True,
            message=message,
            reason=code,
        )
        _give_up(builder, row, lost, code, retry=counts)


def _give_up(builder: ChangesBuilder, old: ExecutionRow, new: ExecutionRow, code: str, *, retry: bool) -> None:
    builder.put(new)
    details = {} if old.revoked else {texts.IS_ERROR: "true", texts.ERROR_CODE: code}
    builder.history(
        new.job_id, texts.EXECUTION, texts.STOPPED if old.revoked else new.message, row=new, details=details
    )
    if retry:
        follow_up(builder, new, Problem(code=code, message=new.message), kind=builder.kind(new.job_id))


# ---------------------------------------------------------------- commits of their own


def silence(view: ClusterView, node_ids: Iterable[str], locked: Locked, ids: IdSource) -> Changes:
    """Return the commit of `silence_into`."""
    return _alone(view, locked, ids, lambda builder: silence_into(builder, node_ids))


def revive(
    view: ClusterView,
    node: NodeRow,
    listed: Listed,
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
