"""The scheduler as a function: a view and a batch of evaluations in, a plan out.

No I/O, no clock, no randomness: time, seed and ids are arguments. Jobs are taken in order of priority and age; what
one of them is promised is taken from the next one's room.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from skrei_domain.evolving import replace
from skrei_domain.ids import IdSource
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_scheduling import data, locality, memory, ranking, rolling, rollout, texts
from skrei_scheduling.changes import EvaluationNew
from skrei_scheduling.explain import Explanation, explain, refused_for_good
from skrei_scheduling.feasibility import ClassMask
from skrei_scheduling.held import HOLD_AFTER, Held, held
from skrei_scheduling.labels import Mask
from skrei_scheduling.locality import Nearness
from skrei_scheduling.nodes import Trial
from skrei_scheduling.patience import ends_of_patience, failure_of, may_be_missing, out_of_patience
from skrei_scheduling.plan import JobPlan, Plan, TaskWaits, Waits
from skrei_scheduling.reconcile import STOPS_A_LOOK, Difference, Failure, Missing, reconcile, replaced
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, Requirement, TaskPlan, wanted_ports
from skrei_scheduling.view import ClusterView
from skrei_scheduling.waiting import turn

DEALT_OUT_A_LOOK = 250
"""Partitions of a task that one look gives each the node which has its own share: 50 µs each at 1,000 nodes."""

SOONEST_SECONDS = 0.05
"""A timer that fired early (two clocks) is set again for at least this long, so that it cannot spin."""


def schedule(
    view: ClusterView,
    evaluations: Sequence[Evaluation],
    now: datetime,
    seed: int,
    ids: IdSource,
    *,
    pack: bool = False,
    keep: timedelta = memory.KEPT,
    hold_after: timedelta = HOLD_AFTER,
) -> Plan:
    """Return what brings each evaluated job to what it wants, and why not more.

    `keep` is how long a capability that a node lost is waited for, `hold_after` how long the first in line is overtaken
    before a node is held for it.

    Jobs that came with their evaluations are taken into the view first, as they were read from the record; nothing
    else of the view changes.
    """
    for evaluation in evaluations:
        if evaluation.job is not None:
            view.upsert_job(evaluation.job)
    grouped: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        grouped.setdefault(evaluation.job_id, []).append(evaluation)
    unknown: list[str] = []
    jobs: list[JobRow] = []
    for job_id, group in grouped.items():
        job = view.jobs.get(job_id) or next((each.job for each in group if each.job is not None), None)
        if job is None:
            unknown += [each.id for each in group if each.id]
        else:
            jobs.append(job)
    jobs.sort(key=turn)
    kept_back = held(view, now, grouped, after=hold_after) if view.waiting else None
    with view.matrix.trial() as trial:
        planner = _Planner(view, now, seed, ids, trial, pack=pack, keep=keep, kept_back=kept_back)
        decisions = tuple(planner.decide(job, tuple(grouped[job.id])) for job in jobs)
    return Plan(decisions, tuple(unknown), kept_back.job_id if kept_back else "", view, ids)


class _Planner:
    """One batch in the making: what it has promised so far lies in `trial`."""

    def __init__(
        self,
        view: ClusterView,
        now: datetime,
        seed: int,
        ids: IdSource,
        trial: Trial,
        *,
        pack: bool,
        keep: timedelta,
        kept_back: Held | None,
    ) -> None:
        self._view = view
        self._now = now
        self._seed = seed
        self._ids = ids
        self._trial = trial
        self._pack = pack
        self._keep = keep
        self._kept_back = kept_back
        self._hopeless: dict[Requirement, bool] = {}
        self._stops = STOPS_A_LOOK  # what this plan may still change
        self._explained: dict[tuple[Requirement, bool], tuple[int, Explanation]] = {}

    def decide(self, job: JobRow, evaluations: tuple[Evaluation, ...]) -> JobPlan:
        """Decide for one job."""
        holders = {} if job.state.is_terminal else data.holders(self._view, job)
        job = job.with_targets(holders) if holders else job
        difference = reconcile(self._view, job, evaluations, self._now, stops=self._stops)
        self._stops -= len(difference.stop) + len(difference.kept) + len(difference.again) + len(difference.leave)
        if job.state.is_terminal or difference.failure is not None or difference.complete:
            return JobPlan(
                job,
                evaluations,
                stop=difference.stop,
                failure=difference.failure,
                complete=difference.complete and not job.state.is_terminal,
                follow_up=self._rest(job, difference),
            )
        if difference.roll_back:
            return JobPlan(job, evaluations, standing=difference.standing, roll_back=difference.roll_back)
        many, failure = len(job.tasks) > 1, None
        nowhere = job.by_node and not job.targets and not difference.targets
        may_fail = not rollout.kept_alive(self._view, job)
        if may_fail and many and not difference.standing:
            failure = self._never(job)
        rows: list[ExecutionRow] = []
        unplaced: list[Missing] = []
        waits: Waits | None = None
        if failure is None:
            rows, unplaced = self._place(job, difference, next((each.id for each in evaluations if each.id), ""))
            waits = self._waits(job, unplaced, difference.beyond) if unplaced else None
            waits = self._no_match(job, many) if nowhere else waits
        if may_fail and waits is not None and many and not nowhere:
            late = out_of_patience(job, waits, self._now)
            failure = None if late is None else failure_of(late)
        elif may_fail and waits is not None and not rows and not difference.standing:
            failure = self._cannot_wait(job, waits)
        stuck = rollout.goes_back(job) and self._stuck(waits)
        if waits is not None and not rows and (back := rolling.given_up(job, waits, self._now, stuck=stuck)):
            return JobPlan(job, evaluations, standing=difference.standing, roll_back=back)
        if failure is not None:
            return self._failing(job, evaluations, difference, failure)
        taken = {row.unit for row in rows}
        originals = tuple(row for each in difference.missing if each.unit in taken for row in each.originals)
        rolled = rolling.roll(
            self._view, job, difference, waits, self._now, placed=bool(rows), stuck=stuck, may_stop=self._stops > 0
        )
        self._stops -= len(rolled.made_way)
        stop = (*difference.stop, *rolled.made_way)
        answered = {each.id for each in evaluations}
        timers = rolling.timers(self._view, job, difference, rolled, self._now, fired=answered)
        return JobPlan(
            job,
            evaluations,
            stop=stop,
            kept=difference.kept,
            again=difference.again,
            leave=difference.leave,
            stay=difference.stay,
            clock=rolled.clock,
            serves=rolling.serves(self._view, job, stop),
            place=tuple(rows),
            replaced=originals if replaced(job) else (),
            standing=difference.standing + sum(1 for each in unplaced if each.originals),
            waits=waits,
            follow_up=(
                *self._follow_up(
                    job,
                    evaluations,
                    difference,
                    waits=waits,
                    queued=waits is not None and not rows,
                    all_placed=not unplaced,
                ),
                *(self._timer(job, trigger, seconds) for trigger, seconds in timers),
            ),
            targets=difference.targets or tuple(holders.items()),
            split=data.told(self._view, job) if holders else "",
            lost=difference.lost,
            given_up=difference.given_up,
            good=difference.good,
        )

    def _failing(
        self, job: JobRow, evaluations: tuple[Evaluation, ...], difference: Difference, failure: Failure
    ) -> JobPlan:
        """A job that fails, with the stop of what still runs of it."""
        known = {row.id for row, _ in difference.stop}
        live = [row for row in self._view.of_job(job.id) if row.live and not row.revoked and row.id not in known]
        now = live[: max(self._stops, 0)]
        self._stops -= len(now)
        stop = (*difference.stop, *((row, texts.STOP_JOB_FAILED) for row in now))
        rest = (self._continue(job),) if difference.unstopped or len(now) < len(live) else ()
        return JobPlan(job, evaluations, stop=stop, failure=failure, follow_up=rest)

    # ------------------------------------------------------------ placing

    def _place(
        self, job: JobRow, difference: Difference, evaluation_id: str
    ) -> tuple[list[ExecutionRow], list[Missing]]:
        rows: list[ExecutionRow] = []
        unplaced: list[Missing] = []
        for task in job.tasks:
            missing = [each for each in difference.missing if each.unit[0] == task.name]
            if not missing:
                continue
            pinned = job.kind.per_node or task.split
            chosen = (self._pinned if pinned else self._choose)(job, task, missing)
            rows += [self._offer(job, task, each, node, evaluation_id) for each, node in chosen]
            placed = {each.unit for each, _ in chosen}
            unplaced += [each for each in missing if each.unit not in placed]
        return rows, unplaced

    def _closed(self, job: JobRow) -> Held | None:
        """The node that is held for somebody before `job` in line."""
        return self._kept_back if self._kept_back is not None and self._kept_back.closed_to(job) else None

    def _pinned(self, job: JobRow, task: TaskPlan, missing: list[Missing]) -> list[tuple[Missing, str]]:
        """Return those units whose own node has room for them; each node has one of a task."""
        mask = self._open(self._view.feasibility.of(task.requirement), self._closed(job))
        chosen = [(each, each.node) for each in missing if mask[self._view.matrix.row_of[each.node]]]
        for _, node in chosen:
            self._trial.reserve(node, task.requirement, job.id)
        return chosen

    def _choose(self, job: JobRow, task: TaskPlan, missing: list[Missing]) -> list[tuple[Missing, str]]:
        """Choose nodes: first for units that have nothing to avoid, all at once, then for the others one by one.

        What a job that never ends is to avoid is only liked less.
        """
        closed, again = self._closed(job), job.kind.endless
        work = self._view.feasibility.of(task.requirement)
        near = locality.nearness(job, task, self._view.matrix) if task.reads else None
        free = [each for each in missing if not each.avoid]
        chosen = self._by_share(job, task, work, free, closed) if task.inputs and task.count > 1 else []
        if chosen:
            taken = {each.unit for each, _ in chosen}
            free = [each for each in free if each.unit not in taken]
        while free:
            nodes = self._round(work, len(free), closed, near)
            if not nodes:
                break
            for each, node in zip(free, nodes, strict=False):
                self._trial.reserve(node, task.requirement, job.id)
                chosen.append((each, node))
            free = free[len(nodes) :]
        for each in missing:
            if each.avoid:
                found = self._apart(work, each.avoid, closed, near, again=again)
                if found is not None:
                    self._trial.reserve(found, task.requirement, job.id)
                    chosen.append((each, found))
        return chosen

    def _by_share(
        self, job: JobRow, task: TaskPlan, work: ClassMask, free: list[Missing], closed: Held | None
    ) -> list[tuple[Missing, str]]:
        """Choose for partitions whose own share of what is dealt out lies on some node, as far as that has room."""
        chosen: list[tuple[Missing, str]] = []
        if any(each.dealt_out for each in task.inputs):
            for each in free[:DEALT_OUT_A_LOOK]:
                near = locality.nearness(job, task, self._view.matrix, each.unit[1])
                nodes = self._round(work, 1, closed, near) if near is not None and near.moves else []
                for node in nodes:
                    self._trial.reserve(node, task.requirement, job.id)
                    chosen.append((each, node))
        return chosen

    def _open(self, work: ClassMask, closed: Held | None) -> Mask:
        """The nodes that have room for one more unit and are not held for another job."""
        mask = work.with_room(self._view.matrix)
        if closed is not None:
            mask[self._view.matrix.row_of[closed.node_id]] = False
        return mask

    def _round(self, work: ClassMask, count: int, closed: Held | None, near: Nearness | None) -> list[str]:
        """The best nodes that have room, each once: spreading goes round by round, packing node by node."""
        matrix = self._view.matrix
        mask = self._open(work, closed)
        share, close = (None, None) if near is None else (near.share, near.close)
        key = ranking.keys(matrix, self._seed, pack=self._pack, favours=work.bonus, bytes_there=share, close=close)
        if near is not None and near.moves:
            mask = ranking.nearest(mask, near.share)
        elif close is not None:
            mask = ranking.nearest(mask, close)
        if count == 1 or self._pack:
            row = ranking.best(mask, key)
            return [] if row is None else [matrix.ids[row]]
        return [matrix.ids[row] for row in ranking.best_of(mask, key, count)]

    def _apart(
        self,
        work: ClassMask,
        avoid: frozenset[str],
        closed: Held | None,
        near: Nearness | None,
        *,
        again: bool = False,
    ) -> str | None:
        """The best node that is not among `avoid`; one of those again only where no other could ever take the unit.

        With `again` also where no other has room now: what never ends would have failed everywhere one day.
        """
        matrix = self._view.matrix
        avoided = [row for row in (matrix.row_of.get(node) for node in avoid) if row is not None]
        others = work.candidates.copy()
        others[avoided] = False
        mask = self._open(work, closed)
        if (mask & others).any() if again else others.any():
            mask &= others
        share, close = (None, None) if near is None else (near.share, near.close)
        key = ranking.keys(
            matrix,
            self._seed,
            pack=self._pack,
            favours=work.bonus,
            failures=avoid,
            bytes_there=share,
            close=close,
        )
        row = ranking.best(mask, key)
        return None if row is None else matrix.ids[row]

    def _offer(self, job: JobRow, task: TaskPlan, missing: Missing, node_id: str, evaluation_id: str) -> ExecutionRow:
        name, partition = missing.unit
        return ExecutionRow(
            id=self._ids("e"),
            job_id=job.id,
            job_version=job.version,
            namespace=job.namespace,
            task=name,
            partition=partition,
            attempt=missing.attempt,
            node_id=node_id,
            incarnation=self._view.nodes[node_id].incarnation,
            state=ExecutionState.OFFERED,
            want=Want.RUN,
            revision=1,
            seen_revision=0,
            reserved=task.requirement.resources,
            evaluation_id=evaluation_id,
            what_runs=job.what_runs,
            ports=wanted_ports(task.requirement.ports),
            why=locality.why(job, task, self._view.matrix, node_id, partition) if task.reads else "",
        )

    # ------------------------------------------------------------ waiting

    def _waits(self, job: JobRow, unplaced: list[Missing], beyond: int) -> Waits:
        """Why units wait; those that this look did not reach are of the last task that it did."""
        if len(job.tasks) == 1:
            return Waits((self._task_waits(job, job.tasks[0], len(unplaced) + beyond),))
        units = Counter(each.unit[0] for each in unplaced)
        units[unplaced[-1].unit[0]] += beyond
        waiting = [task for task in job.tasks if units[task.name]]
        return Waits(tuple(self._task_waits(job, task, units[task.name]) for task in waiting), named=True)

    def _task_waits(self, job: JobRow, task: TaskPlan, units: int) -> TaskWaits:
        explanation = self._explain(task.requirement, units, self._closed(job))
        return TaskWaits(task, units, explanation, self._view.waiting.position(job, task.requirement))

    def _no_match(self, job: JobRow, many: bool) -> Waits:
        """Why a job that runs on every node that matches has none: it stands in line, with nobody knows how many."""
        each = self._task_waits(job, next((task for task in job.tasks if task.split), job.tasks[0]), 1)
        found = replace(each, explanation=replace(each.explanation, no_match=True))
        return Waits((found,), named=many and job.split)

    def _explain(self, requirement: Requirement, requested: int, closed: Held | None) -> Explanation:
        """Explain once per class for as long as nothing else was promised in between."""
        key = (requirement, closed is not None)
        promised, found = self._explained.get(key, (-1, None))
        if found is None or promised != self._trial.count:
            view = self._view
            found = explain(
                requirement,
                view.matrix,
                view.nodes,
                requested=requested,
                now=self._now,
                keep=self._keep,
                closed=None if closed is None else (closed.node_id, closed.reason),
            )
            self._explained[key] = (self._trial.count, found)
        return replace(found, requested=requested)

    def _cannot_wait(self, job: JobRow, waits: Waits) -> Failure | None:
        """Why a job that nothing could be placed of fails: its queue timeout is over, or nothing can ever come."""
        text = waits.explanation.text
        details = {texts.IS_ERROR: "true", **waits.explanation.details}
        if job.queue_timeout is not None:
            if self._now < job.since + job.queue_timeout:
                return None
            if job.state is not JobState.RUNNING:
                return Failure(text, text, details=details)
        if waits.explanation.no_match and job.kind is Kind.OPS and not waits.explanation.no_data:
            return Failure(text, text, details=details)
        if not self._refused_for_good(job.tasks[0].requirement):
            return None
        return Failure(text, text, details=details)

    def _never(self, job: JobRow) -> Failure | None:
        """Why a job of several tasks can never complete: a task is left of it that every known node refuses for good.

        Told before anything is placed, so that nobody waits hours for the task before it.
        """
        won = Counter(name for name, _ in job.won)
        for task in job.tasks:
            left = task.count - won[task.name]
            waits_on = left <= 0 or may_be_missing(job, task, self._now)
            if not waits_on and self._refused_for_good(task.requirement):
                return failure_of(self._task_waits(job, task, left))
        return None

    def _stuck(self, waits: Waits | None) -> bool:
        """Whether something waits that every known node refuses for good."""
        return waits is not None and any(self._refused_for_good(each.task.requirement) for each in waits.tasks)

    def _refused_for_good(self, requirement: Requirement) -> bool:
        found = self._hopeless.get(requirement)
        if found is None:
            view = self._view
            found = self._hopeless[requirement] = refused_for_good(
                requirement, view.matrix, view.feasibility, view.nodes, self._now, keep=self._keep
            )
        return found

    def _follow_up(
        self,
        job: JobRow,
        evaluations: tuple[Evaluation, ...],
        difference: Difference,
        *,
        waits: Waits | None,
        queued: bool,
        all_placed: bool,
    ) -> Iterable[EvaluationNew]:
        """The timers of a job: set when it is first seen or starts to wait, and again when one fired early."""
        fired = {evaluation.trigger for evaluation in evaluations}
        if job.total_timeout is not None and (job.state is JobState.PENDING or texts.TRIGGER_JOB_TIMEOUT in fired):
            yield self._timer(
                job, texts.TRIGGER_JOB_TIMEOUT, (job.since + job.total_timeout - self._now).total_seconds()
            )
        serves = job.kind is Kind.SERVICE  # it may be Running by an older version
        begins = job.state is JobState.PENDING if serves else job.state is not JobState.QUEUED
        starts = begins or texts.TRIGGER_QUEUE_TIMEOUT in fired
        runs = bool(job.attempts) if serves else job.state is JobState.RUNNING
        if len(job.tasks) > 1:
            for due in ends_of_patience(job, waits, self._view.waiting.of_job(job.id), fired):
                yield self._timer(job, texts.TRIGGER_QUEUE_TIMEOUT, (due - self._now).total_seconds())
        elif queued and starts and job.queue_timeout is not None and not runs:
            yield self._timer(
                job, texts.TRIGGER_QUEUE_TIMEOUT, (job.since + job.queue_timeout - self._now).total_seconds()
            )
        if difference.unstopped or difference.swapped or (difference.beyond and all_placed):
            yield self._continue(job)
        again, lost = difference.look_again_seconds, texts.TRIGGER_NODE_LOST
        if again is not None and (lost in fired or not self._view.timers.runs(job.id, lost)):
            yield self._timer(job, lost, again)

    def _rest(self, job: JobRow, difference: Difference) -> tuple[EvaluationNew, ...]:
        """What a job that places nothing more still asks for: to be looked at until all is stopped."""
        return (self._continue(job),) if difference.unstopped else ()

    def _continue(self, job: JobRow) -> EvaluationNew:
        return EvaluationNew(self._ids("v"), job.id, job.namespace, texts.TRIGGER_CONTINUE)

    def _timer(self, job: JobRow, trigger: str, seconds: float) -> EvaluationNew:
        return EvaluationNew(
            self._ids("v"), job.id, job.namespace, trigger, delay_seconds=max(seconds, SOONEST_SECONDS)
        )
