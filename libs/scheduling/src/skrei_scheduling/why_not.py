"""Why units of a job are not placed, and whether waiting can help them."""

from collections import Counter
from datetime import datetime, timedelta

from skrei_domain.evolving import replace
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import JobState
from skrei_scheduling import texts
from skrei_scheduling.explain import Explanation, explain, refused_for_good
from skrei_scheduling.held import Held, closed_to
from skrei_scheduling.nodes import Trial
from skrei_scheduling.patience import failure_of, may_be_missing
from skrei_scheduling.plan import TaskWaits, Waits
from skrei_scheduling.reconcile import Failure, Missing
from skrei_scheduling.rows import JobRow, Requirement, TaskPlan
from skrei_scheduling.view import ClusterView


class WhyNot:
    """Explains for one batch: every answer counts what the batch has promised so far in `trial`."""

    def __init__(
        self, view: ClusterView, now: datetime, trial: Trial, *, keep: timedelta, kept_back: Held | None
    ) -> None:
        self._view = view
        self._now = now
        self._trial = trial
        self._keep = keep
        self._kept_back = kept_back
        self._hopeless: dict[Requirement, bool] = {}
        self._explained: dict[tuple[Requirement, bool], tuple[int, Explanation]] = {}

    def waits(self, job: JobRow, unplaced: list[Missing], beyond: int) -> Waits:
        """Why units wait; those that this look did not reach are of the last task that it did."""
        if len(job.tasks) == 1:
            return Waits((self._task_waits(job, job.tasks[0], len(unplaced) + beyond),))
        units = Counter(each.unit[0] for each in unplaced)
        units[unplaced[-1].unit[0]] += beyond
        waiting = [task for task in job.tasks if units[task.name]]
        return Waits(tuple(self._task_waits(job, task, units[task.name]) for task in waiting), named=True)

    def no_match(self, job: JobRow, many: bool) -> Waits:
        """Why a job that runs on every node that matches has none: it stands in line, with nobody knows how many."""
        each = self._task_waits(job, next((task for task in job.tasks if task.split), job.tasks[0]), 1)
        found = replace(each, explanation=replace(each.explanation, no_match=True))
        return Waits((found,), named=many and job.split)

    def cannot_wait(self, job: JobRow, waits: Waits) -> Failure | None:
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

    def never(self, job: JobRow) -> Failure | None:
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

    def stuck(self, waits: Waits | None) -> bool:
        """Whether something waits that every known node refuses for good."""
        return waits is not None and any(self._refused_for_good(each.task.requirement) for each in waits.tasks)

    def _task_waits(self, job: JobRow, task: TaskPlan, units: int) -> TaskWaits:
        explanation = self._explain(task.requirement, units, closed_to(self._kept_back, job))
        return TaskWaits(task, units, explanation, self._view.waiting.position(job, task.requirement))

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

    def _refused_for_good(self, requirement: Requirement) -> bool:
        found = self._hopeless.get(requirement)
        if found is None:
            view = self._view
            found = self._hopeless[requirement] = refused_for_good(
                requirement, view.matrix, view.feasibility, view.nodes, self._now, keep=self._keep
            )
        return found
