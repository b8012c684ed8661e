"""What the leader knows of the cluster: rows, the indexes that decisions need, and who waits for room.

The view is rebuilt from the record at takeover (`load`) and then moves only by the leader's own commits (`apply`)
and by jobs as they were read with their evaluations (`upsert_job`). Every step costs what the commit touched,
never what the cluster holds.
"""

import base64
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from skrei_domain.evolving import replace
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import Connection, ExecutionState, Intake, JobState
from skrei_domain.messages import CachedInputs
from skrei_scheduling.changes import Changes, EvaluationNew, JobChange, Locked
from skrei_scheduling.feasibility import Feasibility
from skrei_scheduling.graph import Graph
from skrei_scheduling.nodes import NodeMatrix
from skrei_scheduling.rows import ExecutionRow, JobRow, NodeRow, Requirement, Unit
from skrei_scheduling.services import Service
from skrei_scheduling.texts import TRIGGER_NODE_LOST, TRIGGER_PROGRESS, TRIGGER_READY
from skrei_scheduling.timers import Asked, Timers
from skrei_scheduling.waiting import WaitingLine, fits

_K = TypeVar("_K")
_V = TypeVar("_V")

LOADED_AT_ONCE = 500
"""Rows of the record taken in between two breaths: about 10 ms."""

HEADS_A_SWEEP = 1_000
"""Of so many classes a sweep asks whether the first job waits behind its own older version: a millisecond."""

_TIMERS = frozenset({TRIGGER_READY, TRIGGER_PROGRESS, TRIGGER_NODE_LOST})
_BAD_ENDS = frozenset({ExecutionState.REFUSED, ExecutionState.FAILED, ExecutionState.LOST})


class ClusterView:
    """Rows by id, and indexes kept beside them. Read the mappings; change them through the methods alone."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeRow] = {}
        self.draining: dict[str, None] = {}  # nodes that are
        self.jobs: dict[str, JobRow] = {}
        self.executions: dict[str, ExecutionRow] = {}  # live, or holding a reservation
        self.matrix = NodeMatrix()
        self.feasibility = Feasibility(self.matrix)
        self.waiting = WaitingLine()
        self.timers = Timers()
        self._of_job: dict[str, dict[Unit, tuple[str, ...]]] = {}
        self._of_node: dict[str, dict[str, None]] = {}
        self._line_moved = False  # a job left the line unplaced: room that it was woken for is there for the next
        self._open: dict[str, dict[Unit, None]] = {}
        self._graphs: dict[str, Graph] = {}  # of jobs whose tasks have an order
        self._backoff: Asked[Unit] = Asked()  # by unit: the evaluation that ends its backoff
        self._streaks: dict[str, dict[Unit, int]] = {}  # job -> unit -> bad ends in a row, of what never ends
        self._last_bad: dict[str, dict[Unit, str]] = {}  # job -> unit -> where that was last
        self._served: set[Service] = set()  # what more can reach since the last look at who waits
        self._per_node: dict[str, None] = {}  # open jobs that run once a node: a change of any node concerns them

    @classmethod
    def load(
        cls, nodes: Iterable[NodeRow], jobs: Iterable[JobRow], executions: Iterable[ExecutionRow]
    ) -> "ClusterView":
        """Build a view of the record: all nodes, non-terminal jobs, executions that are live or hold a reservation.

        A job that is Queued, or has a unit without an execution after it started, counts as waiting. Backoffs are
        not known here: at worst each is cut short once.
        """
        view = cls()
        for _ in view.loading(nodes, jobs, executions):
            pass
        return view

    def loading(
        self, nodes: Iterable[NodeRow], jobs: Iterable[JobRow], executions: Iterable[ExecutionRow]
    ) -> Iterator[None]:
        """Do what `load` does to an empty view, and yield now and then: whoever drives it may let others breathe."""
        done = itertools.count(1)
        for node in nodes:
            self._put_node(node)
        for job in jobs:
            self._put_job(_own(job))
        for execution in executions:
            self._put_execution(execution)
            if next(done) % LOADED_AT_ONCE == 0:
                yield
        for job in list(self.jobs.values()):
            if job.state.is_terminal:
                self._drop_if_done(job.id)
            elif job.state is not JobState.PENDING:
                self._put_waiting(job, self._open_classes(job))
            if next(done) % LOADED_AT_ONCE == 0:
                yield

    # ------------------------------------------------------------ reading

    def of_unit(self, job_id: str, unit: Unit) -> Iterator[ExecutionRow]:
        """Yield what the view holds of one unit, oldest first."""
        return (self.executions[each] for each in self._of_job.get(job_id, {}).get(unit, ()))

    def of_job(self, job_id: str) -> Iterator[ExecutionRow]:
        """Yield what the view holds of one job."""
        return (self.executions[each] for unit in self._of_job.get(job_id, {}).values() for each in unit)

    def of_node(self, node_id: str) -> Iterator[ExecutionRow]:
        """Yield what the view holds on one node."""
        return (self.executions[each] for each in self._of_node.get(node_id, {}))

    def open_units(self, job: JobRow) -> Mapping[Unit, None]:
        """Return the units that are not won and have no live unrevoked execution; those in backoff too, but none that
        waits for another task.

        Worked out once for each job and kept: a job of 10,000 units is looked at each time that one of them ends.
        """
        kept = self._is_known(job)
        found = self._open.get(job.id) if kept else None
        if found is None:
            found = {unit: None for unit in job.all_units() if not job.closed(unit) and not self._covered(job, unit)}
            if (graph := self.graph(job)) is not None:
                found = {unit: None for unit in found if graph.ready(unit)}
            if kept:
                self._open[job.id] = found
        return found

    def _is_known(self, job: JobRow) -> bool:
        """Whether a job is as the view has it, and not of a plan in the making that gives it its nodes."""
        known = self.jobs.get(job.id)
        return known is not None and len(known.targets) >= len(job.targets)

    def _covered(self, job: JobRow, unit: Unit) -> bool:
        return any(covers(row, job) for row in self.of_unit(job.id, unit))

    def graph(self, job: JobRow) -> Graph | None:
        """Return the order of the job's tasks, and how far they are; None for a job without an order."""
        if not job.ordered:
            return None
        kept = self._is_known(job)
        found = self._graphs.get(job.id) if kept else None
        if found is None:
            found = Graph(job.tasks, job.won)
            if kept:
                self._graphs[job.id] = found
        return found

    def rolls(self, job: JobRow) -> bool:
        """Whether something of a service's older version is still wanted: it may make way, one at a time."""
        rows = self.of_job(job.id) if job.kind is Kind.SERVICE else ()
        return any(row.live and not row.revoked and row.job_version != job.version for row in rows)

    def drains(self, node_id: str) -> bool:
        """Whether what runs on a node is to go."""
        return node_id in self.draining

    def hears(self, node_id: str) -> bool:
        """Whether a node is there, and connected: what is told to it arrives, and what runs there is heard of."""
        node = self.nodes.get(node_id)
        return node is not None and node.connection is Connection.CONNECTED

    def backoff(self, job_id: str) -> Mapping[Unit, str]:
        """Return the units that wait for an evaluation (its id) before they are placed again."""
        return self._backoff.of(job_id)

    def streak(self, job_id: str, unit: Unit) -> int:
        """Return how often in a row a unit of what never ends has ended; a new leader begins to count."""
        return self._streaks.get(job_id, {}).get(unit, 0)

    def avoided(self, job: JobRow, unit: Unit) -> frozenset[str]:
        """Return the nodes that a unit is better not placed on again."""
        if job.kind.endless:
            last = self._last_bad.get(job.id, {}).get(unit)
            return frozenset() if last is None else frozenset({last})
        return job.refused_by.get(unit, frozenset())

    def per_node(self) -> list[str]:
        """Return the open jobs that run once a node."""
        return list(self._per_node)

    def latest(self, fresh: JobRow) -> JobRow:
        """Return `fresh` with what only the view counts (wins, attempts), where it is of the same version."""
        known = self.jobs.get(fresh.id)
        if known is None or known is fresh:
            return fresh
        if known.generation > fresh.generation:
            return known
        good = max(known.good_version, fresh.good_version)
        if known.version != fresh.version:
            return replace(fresh, good_version=good)
        merged = replace(
            fresh,
            won=known.won | fresh.won,
            good_version=good,
            progress=max(known.progress, fresh.progress),
            progress_at=known.progress_at or fresh.progress_at,
            paused=known.paused,
            failed=_both(fresh.failed, known.failed),
            targets=_both(fresh.targets, known.targets),
            attempts={**fresh.attempts, **known.attempts},
            refused_by={**fresh.refused_by, **known.refused_by},
            won_at=_both(fresh.won_at, known.won_at),
            manifests=_both(fresh.manifests, known.manifests),
        )
        merged = merged.with_targets({}) if merged.split else merged
        # The record's state may be older than a commit of ours that the reader had not seen; terminal states are final.
        return replace(merged, state=known.state) if known.generation == fresh.generation else merged

    # ------------------------------------------------------------ moving on

    def upsert_job(self, job: JobRow) -> None:
        """Take in a job as it was read from the record; what the view counted of this version stays."""
        known = self.jobs.get(job.id)
        if known is not None and known.version < job.version:
            self._stand_down(job.id)
        merged = _own(self.latest(job))
        self._put_job(merged)
        if known is None or (known.version, len(known.won)) != (merged.version, len(merged.won)):
            self._open.pop(job.id, None)
            self._graphs.pop(job.id, None)
        self._drop_if_done(job.id)

    def apply(self, changes: Changes) -> list[str]:
        """Advance by one commit (once for each), and return the ids of the waiting jobs worth waking, in order."""
        touched: set[str] = set()
        freed: dict[str, None] = {}  # jobs that gave room back
        version = self.matrix.version
        for node in changes.nodes:
            if self._put_node(node):
                touched.add(node.id)
        for node_id in changes.nodes_gone:
            self._remove_node(node_id)
        moved = list(self._per_node) if self.matrix.version != version else []
        for row in changes.executions_new:
            self._put_execution(row)
            self._count_attempt(row)
        for change in changes.executions:
            if self._put_execution(change.row):
                touched.add(change.row.node_id)
                freed[change.row.job_id] = None
        for job in changes.jobs:
            self._put_change(job)
        for evaluation in changes.evaluations_new:
            self._put_backoff(evaluation)
        for evaluation_id in changes.evaluations_done:
            self.timers.end(evaluation_id)
            self._backoff.end(evaluation_id)
        for job_id in {change.row.job_id for change in changes.executions}:
            self._drop_if_done(job_id)
        woken = self.waiting.woken(self.matrix, touched, picky=self._picky) if touched and self.waiting else []
        woken += self._woken_by_services()
        woken += [job_id for job_id in freed if job_id in self.waiting and self.rolls(self.jobs[job_id])]
        if self._line_moved:
            self._line_moved = False
            woken += self.sweep()
        return list(dict.fromkeys((*woken, *moved)))

    def _in_their_own_way(self) -> list[str]:
        """Return services, each the first of its class, that wait while their older version runs: it may make way."""
        heads = dict.fromkeys(job_id for _, job_id in self.waiting.firsts(HEADS_A_SWEEP))
        return [job_id for job_id in heads if self.rolls(self.jobs[job_id])]

    def _woken_by_services(self) -> list[str]:
        """Return the waiting jobs that reach now what they use, as many as there is room for."""
        served, self._served = self._served, set()
        if not served:
            return []
        woken = self.waiting.woken(self.matrix, self.nodes, picky=self._picky, using=served) if self.waiting else []
        return [*woken, *(job_id for job_id in self._per_node if self.jobs[job_id].uses_any(served))]

    def hear_cached(self, node_id: str, cached: CachedInputs) -> list[str]:
        """Take what a node says of its cache, which is within its bounds; return the waiting jobs worth waking."""
        row = self.matrix.row_of.get(node_id)
        if row is None:
            return []
        known = self.matrix.cached
        if cached.filter is not None:
            known.replace(row, base64.b64decode(cached.filter))
        else:
            known.add(row, [key for key, _ in cached.added])
        known.sized(cached.added)
        woken = self.waiting.woken(self.matrix, [node_id], picky=self._picky, cached=True) if self.waiting else []
        return [*woken, *(job_id for job_id in self._per_node if self._may_join(self.jobs[job_id], node_id, row))]

    def _may_join(self, job: JobRow, node_id: str, row: int) -> bool:
        """Whether a node has by now what a job that runs once a node wants in its cache, and is none of its nodes."""
        wanted = [each for task in job.tasks for each in task.requirement.cached]
        fixed = bool(job.targets) and job.kind is not Kind.DAEMON
        if not wanted or fixed or node_id in job.targets:
            return False
        return all(self.matrix.cached.has(row, *each.keys) for each in wanted)

    def heed(self, locked: Locked, asked: Iterable[str] = ()) -> None:
        """Let go of jobs that had ended when their rows were locked: a hint that came late brought them back. And of
        those that were `asked` for and are not there: one that came early did, of what is to be read, if it ever comes.
        """
        for job_id in asked:
            known = self.jobs.get(job_id)
            if job_id not in locked.jobs and known is not None and job_id not in self._of_job:
                self.jobs[job_id] = replace(known, state=JobState.STOPPED)
                self._drop_if_done(job_id)
        for row in locked.jobs.values():
            job = self.jobs.get(row.id)
            if row.state.is_terminal and job is not None and job.generation <= row.generation:
                self.jobs[row.id] = replace(job, state=row.state, generation=row.generation)
                self._drop_if_done(row.id)

    def sweep(self) -> list[str]:
        """Return the first waiting jobs of every class that has room somewhere now, or may make some for itself: what
        wake-ups may have missed.
        """
        most = self.matrix.most_free()
        found = [
            job_id
            for requirement, heads in self.waiting.heads(self._picky)
            if fits(requirement.resources.vector(), most)  # else no node has room: there may be thousands of classes
            and self.feasibility.of(requirement).with_room(self.matrix).any()
            for job_id in heads
        ]
        return [*found, *self._in_their_own_way()]

    def _picky(self, job_id: str) -> bool:
        """Whether a waiting job has nodes to avoid, or one of its own, so that room that it does not want must not
        count as handed out.
        """
        job = self.jobs.get(job_id)
        return job is not None and (bool(job.refused_by) or job.by_node)

    def _put_node(self, node: NodeRow) -> bool:
        old = self.nodes.get(node.id)
        self.nodes[node.id] = node
        if node.intake is Intake.DRAINING:
            self.draining[node.id] = None
        else:
            self.draining.pop(node.id, None)
        return self.matrix.set(node, old=old)

    def _remove_node(self, node_id: str) -> None:
        self.draining.pop(node_id, None)
        if self.nodes.pop(node_id, None) is not None:
            self.matrix.remove(node_id)

    def _put_execution(self, row: ExecutionRow) -> bool:
        """Store the row; returns whether it gave room back."""
        old = self.executions.get(row.id)
        held = old is not None and old.holds
        if row.holds and not held:
            self.matrix.reserve(row.node_id, row.reserved)
        elif held and not row.holds:
            self.matrix.release(row.node_id, row.reserved)
        if row.ports or (old is not None and old.ports):
            self._put_ports(old, row)
            self._serve(row)
        if row.holds or row.live:
            self.executions[row.id] = row
            if old is None:
                units = self._of_job.setdefault(row.job_id, {})
                units[row.unit] = (*units.get(row.unit, ()), row.id)
                self._of_node.setdefault(row.node_id, {})[row.id] = None
        elif old is not None:
            self._forget(row)
        self._reopen(row)
        if old is not None and old.job_version != row.job_version:  # kept for another version: an attempt of that one
            self._count_attempt(row)
        if old is not None and row.state in _BAD_ENDS and old.state is not row.state:
            self._count_bad_end(row)
        return held and not row.holds

    def _put_ports(self, old: ExecutionRow | None, row: ExecutionRow) -> None:
        """Note which ports of its node an execution has now."""
        had = {port.port for port in old.ports} if old is not None and old.holds else set()
        has = {port.port for port in row.ports} if row.holds else set()
        self.matrix.give_back_ports(row.node_id, had - has, row.job_id)
        self.matrix.take_ports(row.node_id, has - had, row.job_id)

    def _serve(self, row: ExecutionRow) -> None:
        """Note what an execution serves, if its job is there to serve."""
        job = self.jobs.get(row.job_id)
        if job is not None and job.kind.endless and (service := self.matrix.serve(job, row)) is not None:
            self._served.add(service)

    def _reopen(self, row: ExecutionRow) -> None:
        """Bring the open units of the execution's job up to date."""
        units, job = self._open.get(row.job_id), self.jobs.get(row.job_id)
        if units is None or job is None or job.version != row.job_version:
            return
        if job.closed(row.unit) or self._covered(job, row.unit):
            units.pop(row.unit, None)
        else:
            units[row.unit] = None

    def _forget(self, row: ExecutionRow) -> None:
        del self.executions[row.id]
        del self._of_node[row.node_id][row.id]
        units = self._of_job[row.job_id]
        left = tuple(each for each in units[row.unit] if each != row.id)
        if left:
            units[row.unit] = left
        else:
            del units[row.unit]
        if not units:
            del self._of_job[row.job_id]

    def _count_attempt(self, row: ExecutionRow) -> None:
        job = self.jobs.get(row.job_id)
        if job is not None and job.version == row.job_version and job.attempts.get(row.unit, 0) < row.attempt:
            # In place: the view's rows are its own, and a copy for each of 10,000 partitions would be quadratic.
            job.attempts[row.unit] = row.attempt

    def _count_bad_end(self, row: ExecutionRow) -> None:
        job = self.jobs.get(row.job_id)
        if job is None or job.version != row.job_version or job.kind.per_node:
            return  # what has a node of its own avoids none
        if job.kind.endless:  # it would have failed everywhere one day
            self._last_bad.setdefault(row.job_id, {})[row.unit] = row.node_id
        else:
            job.refused_by[row.unit] = job.refused_by.get(row.unit, frozenset()) | {row.node_id}

    def _put_change(self, change: JobChange) -> None:
        job = self.jobs.get(change.id)
        if job is None:
            return
        moved: dict[str, Any] = {} if change.state is None else {"state": change.state}
        if change.won:
            moved["won"] = job.won.union(change.won)
            for unit in change.won:
                self._open.get(change.id, {}).pop(unit, None)
        if moved:
            job = replace(job, **moved)
        if change.won and job.ordered:
            job = self._free(job, change)
        if change.failed:
            job = replace(job, failed={**job.failed, **dict(change.failed)})
            for unit, _ in change.failed:
                self._open.get(change.id, {}).pop(unit, None)
        if change.targets:
            job = job.with_targets(dict(change.targets))
            self._open.pop(change.id, None)
            self._graphs.pop(change.id, None)
        if change.manifests:
            job = replace(job, manifests={**job.manifests, **dict(change.manifests)})
        job = _rolled(job, change)
        self.jobs[change.id] = job
        if job.state.is_terminal:
            self._drop_if_done(change.id)
        elif change.waiting is not None:
            self._put_waiting(job, change.waiting)

    def _free(self, job: JobRow, change: JobChange) -> JobRow:
        """Open the units that wait no more, now that others are won; return the job with when that was."""
        graph, units = self.graph(job), self._open.get(job.id)
        assert graph is not None, "asked for a job with an order"
        for unit in graph.win(change.won):
            if units is not None and unit not in job.won and not self._covered(job, unit):
                units[unit] = None
        if change.won_at is None:
            return job
        return replace(job, won_at={**job.won_at, **{task: change.won_at for task, _ in change.won}})

    def _put_waiting(self, job: JobRow, classes: Mapping[Requirement, int]) -> None:
        if classes:
            self.waiting.put(job, classes)
        else:
            self.waiting.drop(job.id)

    def _open_classes(self, job: JobRow) -> dict[Requirement, int]:
        """Return how many units of each class are open; where the holders of its data are not known, of their tasks."""
        if job.split and not job.targets:
            return {task.requirement: 1 for task in job.tasks if task.split}
        units = self.open_units(job)
        if len(job.tasks) == 1:
            return {job.tasks[0].requirement: len(units)} if units else {}
        of = {task.name: task.requirement for task in job.tasks}
        return dict(Counter(of[name] for name, _ in units))

    def _put_job(self, job: JobRow) -> None:
        self.jobs[job.id] = job
        if job.kind.per_node and not job.state.is_terminal:
            self._per_node[job.id] = None

    def _put_backoff(self, evaluation: EvaluationNew) -> None:
        if evaluation.job_id not in self.jobs:
            return
        if evaluation.trigger in _TIMERS and evaluation.delay_seconds:
            self.timers.set(evaluation.job_id, evaluation.trigger, evaluation.id)
        if evaluation.unit is not None:
            self._backoff.set(evaluation.job_id, evaluation.unit, evaluation.id)
            if evaluation.streak:
                self._streaks.setdefault(evaluation.job_id, {})[evaluation.unit] = evaluation.streak

    def _drop_if_done(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None or not job.state.is_terminal:
            return
        self._stand_down(job_id)
        self._open.pop(job_id, None)
        self._graphs.pop(job_id, None)
        if job_id not in self._of_job:
            del self.jobs[job_id]

    def _stand_down(self, job_id: str) -> None:
        if job_id in self.waiting:
            self._line_moved = True
        self.waiting.drop(job_id)
        self._streaks.pop(job_id, None)
        self._last_bad.pop(job_id, None)
        self._per_node.pop(job_id, None)
        self.timers.drop(job_id)
        self._backoff.drop(job_id)


def _both(one: Mapping[_K, _V], over: Mapping[_K, _V]) -> Mapping[_K, _V]:
    """Return what is in either; one of the two where the other is empty, as most are."""
    return {**one, **over} if one and over else one or over


def _own(job: JobRow) -> JobRow:
    """Return the row with counters that are the view's alone: it counts in place."""
    refused_by = dict(job.refused_by) if job.kind is Kind.BATCH else {}
    return replace(job, attempts=dict(job.attempts), refused_by=refused_by)


def _rolled(job: JobRow, change: JobChange) -> JobRow:
    """Return the job with how far its rollout is since a commit, which mostly says nothing of that."""
    told = (change.good_version, change.progress, change.progress_at, change.paused)
    if told == (None, None, None, None):
        return job
    return replace(
        job,
        good_version=job.good_version if change.good_version is None else change.good_version,
        progress=job.progress if change.progress is None else change.progress,
        progress_at=change.progress_at or job.progress_at,
        paused=job.paused if change.paused is None else change.paused,
    )


def covers(row: ExecutionRow, job: JobRow) -> bool:
    """Whether an execution stands for its unit: live, wanted, of the current version, and to stay."""
    return row.live and not row.revoked and not row.leaving and row.job_version == job.version
