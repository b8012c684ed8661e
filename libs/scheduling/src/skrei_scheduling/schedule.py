"""The scheduler as a function: a view and a batch of evaluations in, a plan out.

No I/O, no clock, no randomness: time, seed and ids are arguments. Jobs are taken in order of priority and age; what
one of them is promised is taken from the next one's room.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from skrei_domain.ids import IdSource
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_scheduling import data, locality, memory, rolling, rollout, texts
from skrei_scheduling.changes import EvaluationNew
from skrei_scheduling.held import HOLD_AFTER, held
from skrei_scheduling.patience import ends_of_patience, failure_of, out_of_patience
from skrei_scheduling.placing import Placing
from skrei_scheduling.plan import JobPlan, Plan, Waits
from skrei_scheduling.reconcile import STOPS_A_LOOK, Difference, Failure, Missing, reconcile, replaced
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, TaskPlan, wanted_ports
from skrei_scheduling.view import ClusterView
from skrei_scheduling.waiting import turn
from skrei_scheduling.why_not import WhyNot

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
        placing = Placing(view, seed, trial, pack=pack, kept_back=kept_back)
        planner = _Planner(view, now, ids, placing, WhyNot(view, now, trial, keep=keep, kept_back=kept_back))
        decisions = tuple(planner.decide(job, tuple(grouped[job.id])) for job in jobs)
    return Plan(decisions, tuple(unknown), kept_back.job_id if kept_back else "", view, ids)


class _Planner:
    """One batch in the making: what it has promised so far lies in the trial that `placing` and `why_not` share."""

    def __init__(self, view: ClusterView, now: datetime, ids: IdSource, placing: Placing, why_not: WhyNot) -> None:
        self._view = view
        self._now = now
        self._ids = ids
        self._placing = placing
        self._why_not = why_not
        self._stops = STOPS_A_LOOK  # what this plan may still change

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
            failure = self._why_not.never(job)
        rows: list[ExecutionRow] = []
        unplaced: list[Missing] = []
        waits: Waits | None = None
        if failure is None:
            rows, unplaced = self._place(job, difference, next((each.id for each in evaluations if each.id), ""))
            waits = self._why_not.waits(job, unplaced, difference.beyond) if unplaced else None
            waits = self._why_not.no_match(job, many) if nowhere else waits
        if may_fail and waits is not None and many and not nowhere:
            late = out_of_patience(job, waits, self._now)
            failure = None if late is None else failure_of(late)
        elif may_fail and waits is not None and not rows and not difference.standing:
            failure = self._why_not.cannot_wait(job, waits)
        stuck = rollout.goes_back(job) and self._why_not.stuck(waits)
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
            chosen = self._placing.choose(job, task, missing)
            rows += [self._offer(job, task, each, node, evaluation_id) for each, node in chosen]
            placed = {each.unit for each, _ in chosen}
            unplaced += [each for each in missing if each.unit not in placed]
        return rows, unplaced

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

    # ------------------------------------------------------------ looking again

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
