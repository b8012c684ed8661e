"""Jobs that run once a node: which nodes are theirs, and what is missing, lost or too much on each.

A node has one number in a version of a job, its partition, given once and kept: also while it is away, and when it
comes back. The nodes of an `ops` job are those that match, and from which what it uses is reached, when some first do;
a `daemon` gets each one that ever does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from skrei_domain.constraints import satisfied
from skrei_domain.durations import duration
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import Connection, ExecutionState, Membership
from skrei_scheduling import data, memory, texts
from skrei_scheduling.explain import why_not
from skrei_scheduling.ranking import is_soft
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, NodeRow, TaskPlan, Unit
from skrei_scheduling.view import ClusterView


@dataclass(slots=True)
class NodeWork:
    """What one look at a job that runs once a node found. `missing` names the node of each unit."""

    new: tuple[tuple[str, int], ...] = ()
    missing: list[tuple[Unit, str]] = field(default_factory=list)
    stop: list[tuple[ExecutionRow, str]] = field(default_factory=list)
    lost: list[tuple[ExecutionRow, str]] = field(default_factory=list)
    given_up: list[tuple[Unit, str]] = field(default_factory=list)
    standing: int = 0
    soonest: timedelta | None = None

    def later(self, wait: timedelta) -> None:
        """Look again after so long, at the latest."""
        self.soonest = wait if self.soonest is None else min(self.soonest, wait)


def grown(view: ClusterView, job: JobRow) -> tuple[tuple[str, int], ...]:
    """Return the nodes that are the job's from now on, each with the next number; `ops` grows once."""
    if job.kind is Kind.OPS and job.targets:
        return ()
    first = max(job.targets.values(), default=-1) + 1
    new = [
        node_id
        for node_id in view.feasibility.able(job.tasks)
        if node_id not in job.targets and _reaches_all(view, job, view.matrix.row_of[node_id])
    ]
    return tuple((node_id, first + number) for number, node_id in enumerate(new))


def _reaches_all(view: ClusterView, job: JobRow, row: int) -> bool:
    """Whether a node reaches what the tasks of a job use, and has in its cache what has to be there."""
    needs = [task.requirement for task in job.tasks]
    return all(view.matrix.reaches(each, row) for need in needs for each in need.uses) and all(
        view.matrix.cached.has(row, *each.keys) for need in needs for each in need.cached
    )


def first(view: ClusterView, job: JobRow) -> tuple[tuple[str, int], ...]:
    """Return the nodes that an `ops` job, or one that is split, is fixed to if that is decided now, with their numbers.

    None for one that has its nodes, or that no node is fixed for, and none while no node is one of them.
    """
    if job.targets:
        return ()
    return grown(view, job) if job.kind is Kind.OPS else tuple(data.holders(view, job).items())


def look(view: ClusterView, job: JobRow, evaluations: Iterable[Evaluation], now: datetime) -> NodeWork:
    """Compare what a job wants on each of its nodes with what is there."""
    work = NodeWork(new=grown(view, job))
    looking = _Look(view, job, now, work)
    due, backoff = {each.id for each in evaluations}, view.backoff(job.id)
    current: dict[Unit, list[ExecutionRow]] = {}
    for row in view.of_job(job.id):
        if row.live and not row.revoked and row.job_version == job.version:
            current.setdefault(row.unit, []).append(row)
    for node_id, partition in (*job.targets.items(), *work.new):
        node = view.nodes.get(node_id)
        for task in job.tasks:
            unit = (task.name, partition)
            if job.closed(unit):
                continue
            rows = current.get(unit, [])
            wanted = (
                looking.daemon(node, task, rows) if job.kind is Kind.DAEMON else looking.ops(node, task, unit, rows)
            )
            if wanted and (unit not in backoff or backoff[unit] in due):
                work.missing.append((unit, node_id))
    return work


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at one job: what each of its units comes to is noted in `work`."""

    view: ClusterView
    job: JobRow
    now: datetime
    work: NodeWork

    def daemon(self, node: NodeRow | None, task: TaskPlan, rows: list[ExecutionRow]) -> bool:
        """Whether a daemon is missing on a node; one that does not match any more is stopped.

        An engine or room that is gone stops nothing: what runs there has both. Nothing is made up for elsewhere.
        """
        if node is None or not _matches(node, task):
            self.work.stop += [(row, texts.STOP_NO_MATCH) for row in rows]
            return False
        self.work.standing += bool(rows)
        work = self.view.feasibility.of(task.requirement)
        return not rows and bool(work.candidates[self.view.matrix.row_of[node.id]])

    def ops(self, node: NodeRow | None, task: TaskPlan, unit: Unit, rows: list[ExecutionRow]) -> bool:
        """Whether a unit is to be placed on its node; what that node can never answer is given up."""
        wait = self._away(node)
        if rows:
            silent = all(row.state is ExecutionState.UNKNOWN for row in rows)
            if wait is None or not silent or not self._over(wait, unit):
                self.work.standing += 1
            else:
                self.work.lost += [(row, self._lost) for row in rows]
        elif node is None:
            self.work.given_up.append((unit, texts.NODE_REMOVED))
        elif wait is not None:
            self._over(wait, unit)
        elif node.connection is Connection.CONNECTED:  # else it is waited for as long as it takes
            if not self._hopeless(node, task):
                return True
            reason = why_not(task.requirement, node, self.view.matrix)
            self.work.given_up.append((unit, texts.NODE_CHANGED.format(reason=reason)))
        return False

    def _over(self, wait: timedelta, unit: Unit) -> bool:
        """Give a unit up whose node was away for long enough, or look again when it will have been."""
        if wait > timedelta():
            self.work.later(wait)
            return False
        self.work.given_up.append((unit, self._lost))
        return True

    def _away(self, node: NodeRow | None) -> timedelta | None:
        """How much longer a node that is away is waited for; None where it is there, or waited for without limit."""
        if node is None or node.connection is Connection.CONNECTED or not self.job.offline.replace:
            return None
        return (node.disconnected_since or self.now) + self.job.offline.wait - self.now

    def _hopeless(self, node: NodeRow, task: TaskPlan) -> bool:
        possible = self.view.feasibility.of(task.requirement).possible[self.view.matrix.row_of[node.id]]
        return not possible and not memory.waited_for(task.requirement, node, self.now)

    @property
    def _lost(self) -> str:
        return texts.NODE_LOST.format(wait=duration(self.job.offline.wait))


def _matches(node: NodeRow, task: TaskPlan) -> bool:
    """Whether a node is one that the job's owner meant."""
    return node.membership is Membership.APPROVED and all(
        satisfied(each, node.offers.labels) for each in task.requirement.constraints if not is_soft(each)
    )
