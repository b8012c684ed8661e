"""What was decided for a batch of evaluations, and how it becomes a commit under the locked rows."""

from dataclasses import dataclass, field

from skrei_domain.ids import IdSource
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import Problem
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, EvaluationNew, Locked, Observed, Rollback
from skrei_scheduling.explain import Explanation
from skrei_scheduling.reconcile import Failure
from skrei_scheduling.rollout import Clock
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, Requirement, TaskPlan, Unit
from skrei_scheduling.view import ClusterView

READ_SECONDS = 0.05
"""After a version of our own: it is read from the record, as every new version is."""

MOST_TOLD = 4
"""Tasks of a job whose reasons are told at once: each may have ten lines."""


@dataclass(frozen=True, slots=True)
class TaskWaits:
    """What of one task cannot be placed now, and why."""

    task: TaskPlan
    units: int
    explanation: Explanation
    position: int


@dataclass(frozen=True, slots=True)
class Waits:
    """What cannot be placed now, and why: by task, in their order. Of a job of several tasks each is `named`."""

    tasks: tuple[TaskWaits, ...]
    named: bool = False

    @property
    def units(self) -> int:
        """How many units wait."""
        return sum(each.units for each in self.tasks)

    @property
    def classes(self) -> dict[Requirement, int]:
        """How many of them wait in each class of work."""
        found: dict[Requirement, int] = {}
        for each in self.tasks:
            found[each.task.requirement] = found.get(each.task.requirement, 0) + each.units
        return found

    @property
    def explanation(self) -> Explanation:
        """Why the first of them waits."""
        return self.tasks[0].explanation

    @property
    def text(self) -> str:
        """Why they wait, as people read it."""
        if not self.named:
            return self.explanation.text
        return "\n".join(
            texts.OF_TASK.format(task=each.task.name, text=each.explanation.text) for each in self.tasks[:MOST_TOLD]
        )

    @property
    def details(self) -> dict[str, str]:
        """Reasons and position, for the job's row."""
        told = {**self.explanation.details, texts.POSITION: str(self.tasks[0].position)}
        return {**told, texts.TASKS: ", ".join(each.task.name for each in self.tasks)} if self.named else told


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What was decided for one job."""

    job: JobRow
    evaluations: tuple[Evaluation, ...]
    stop: tuple[tuple[ExecutionRow, str], ...] = ()
    place: tuple[ExecutionRow, ...] = ()
    replaced: tuple[ExecutionRow, ...] = ()  # Unknown originals that their replacement revokes
    failure: Failure | None = None
    complete: bool = False
    standing: int = 0
    waits: Waits | None = None
    follow_up: tuple[EvaluationNew, ...] = ()
    targets: tuple[tuple[str, int], ...] = ()
    split: str = ""  # over which holders of its data, where that was decided
    lost: tuple[tuple[ExecutionRow, str], ...] = ()
    given_up: tuple[tuple[Unit, str], ...] = ()
    good: bool = False  # the version is ready as a whole
    roll_back: str = ""  # it had its time, and never was: what is told of that
    again: tuple[ExecutionRow, ...] = ()  # Unknown executions that are what they were
    kept: tuple[ExecutionRow, ...] = ()  # executions of older versions that are the job's current one's from now on
    clock: Clock | None = None  # what becomes of the time that a service's version has
    leave: tuple[ExecutionRow, ...] = ()  # executions of a service that others are to take the places of
    stay: tuple[ExecutionRow, ...] = ()  # and those that stay after all
    serves: bool = False  # something of a service is ready, of whichever version


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions for a batch of evaluations. `unknown` are evaluations whose job nobody has read yet."""

    decisions: tuple[JobPlan, ...]
    unknown: tuple[str, ...] = ()
    held_for: str = ""  # the job that a node was held for: once it waits no more, others may have that node
    view: ClusterView = field(default_factory=ClusterView, repr=False, compare=False)
    ids: IdSource = field(default=lambda prefix: prefix, repr=False, compare=False)

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs whose rows the commit must lock, in order."""
        return tuple(sorted(each.job.id for each in self.decisions))

    @property
    def evaluations(self) -> tuple[str, ...]:
        """The evaluations that the commit answers, as far as they still exist."""
        return tuple(sorted(each.id for decision in self.decisions for each in decision.evaluations if each.id))

    @property
    def placements(self) -> tuple[ExecutionRow, ...]:
        """The executions that the plan would make."""
        return tuple(row for decision in self.decisions for row in decision.place)

    @property
    def moves(self) -> int:
        """How many executions the plan would make or stop."""
        return sum(len(decision.place) + len(decision.stop) for decision in self.decisions)

    def explanation(self, job_id: str) -> Explanation | None:
        """Why units of a job wait, or None where none do."""
        for decision in self.decisions:
            if decision.job.id == job_id and decision.waits is not None:
                return decision.waits.explanation
        return None

    def decide(self, locked: Locked) -> Changes:
        """Return what the plan writes under the locked rows; a job that moved on since is left out."""
        builder = ChangesBuilder(self.view, locked, self.ids)
        self.decide_into(builder)
        return builder.build()

    def decide_into(self, builder: ChangesBuilder) -> None:
        """Add what the plan writes to a commit: the next one of its view, for its promises are not looked at again."""
        for decision in self.decisions:
            if _still_holds(builder, decision):
                _write(builder, decision)


def _still_holds(builder: ChangesBuilder, decision: JobPlan) -> bool:
    locked = builder.locked.jobs.get(decision.job.id)
    if locked is None or locked.generation != decision.job.generation:
        return False
    return any(not each.id or each.id in builder.locked.evaluations for each in decision.evaluations)


def _write(builder: ChangesBuilder, decision: JobPlan) -> None:
    job = decision.job
    builder.done(*(each.id for each in decision.evaluations if each.id in builder.locked.evaluations))
    state = builder.state(job.id)
    if state is None or (state.is_terminal and not job.state.is_terminal):
        return  # it ended by a fact since; what that revoked is revoked
    if _rolled(builder, decision):
        return
    _write_stops(builder, decision)
    for evaluation in decision.follow_up:
        builder.evaluation(evaluation)
    if decision.failure is not None:
        failure = decision.failure
        builder.set_state(
            job.id,
            JobState.FAILED,
            message=failure.message,
            details=failure.details,
            topic=failure.topic,
            text=failure.text,
        )
        _tell_skipped(builder, job)
        return
    for row in decision.replaced:
        _stop(builder, row, texts.STOP_REPLACED, lost=True)
    builder.set_targets(job, decision.targets)
    if decision.split:
        builder.history(job.id, texts.SCHEDULING, decision.split)
    for row in decision.place:
        builder.place(row)
    for row, reason in decision.lost:
        _lose(builder, row, reason)
    for unit, reason in decision.given_up:
        builder.give_up(job.id, unit, reason)
    if decision.given_up:
        builder.complete(job.id)
    if decision.complete:
        builder.set_state(job.id, JobState.COMPLETED)
    elif not job.state.is_terminal:
        _write_state(builder, decision, state)


def _write_stops(builder: ChangesBuilder, decision: JobPlan) -> None:
    for row in decision.kept:
        builder.keep_for(row, decision.job.version)
    for row in decision.again:
        builder.come_back(row)
    for row in decision.leave:
        builder.leave(row)
    for row in decision.stay:
        builder.stay(row)
    for row, reason in decision.stop:
        _stop(builder, row, reason)


def _rolled(builder: ChangesBuilder, decision: JobPlan) -> bool:
    """Write how the update of a service has ended; whether it is gone back on, and nothing else is to be done."""
    draft, clock = builder.draft(decision.job.id), decision.clock
    if draft is not None and clock is not None and clock != Clock():
        draft.progress, draft.paused, draft.changed = clock.progress, clock.paused, True
        draft.progress_at = builder.locked.now if clock.starts else None
    if decision.good:
        _mark_good(builder, decision.job)
    if decision.roll_back:
        _roll_back(builder, decision.job, decision.roll_back)
    return bool(decision.roll_back)


def _mark_good(builder: ChangesBuilder, job: JobRow) -> None:
    """A service's version is ready as a whole: it is what the job goes back to from now on."""
    draft = builder.draft(job.id)
    if draft is not None:
        draft.good_version, draft.changed = job.version, True
        ready = texts.VERSION_READY.format(version=job.version, units=job.units)
        builder.history(job.id, texts.STATE_UPDATE, ready, details={texts.READY_VERSION: str(job.version)})


def _roll_back(builder: ChangesBuilder, job: JobRow, reason: str) -> None:
    """Go back to the last version that was ready; what runs of any is the next plan's, as in every update."""
    builder.roll_back(Rollback(job.id, job.good_version, job.version + 1, reason))
    builder.evaluation(
        EvaluationNew(builder.new_id("v"), job.id, job.namespace, texts.TRIGGER_ROLLBACK, delay_seconds=READ_SECONDS)
    )


def _tell_skipped(builder: ChangesBuilder, job: JobRow) -> None:
    """Say which tasks of a job that fails will not begin any more."""
    names = [task.name for task in job.tasks if task.needs and not job.begun(task)] if job.ordered else []
    if names:
        told = ", ".join(names)
        text = texts.SKIPPED.format(tasks=told)
        builder.history(job.id, texts.SCHEDULING, text, details={texts.SKIPPED_KEY: told})


def _stop(builder: ChangesBuilder, planned: ExecutionRow, reason: str, *, lost: bool = False) -> None:
    row = builder.row(planned.id)  # None: it ended since, and is let go
    if row is not None:
        builder.stop(row, reason, lost=lost)


def _lose(builder: ChangesBuilder, planned: ExecutionRow, reason: str) -> None:
    """Give an execution up with its silent node; what it still does there is recorded, and never counts."""
    row = builder.row(planned.id)
    if row is not None and row.live and not row.revoked and not row.staged:
        builder.stop(row, reason, lost=True)
        stopped = builder.row(planned.id)
        assert stopped is not None
        builder.put(stopped, Observed(problem=Problem(code=texts.NODE_LOST_CODE, message=reason)))


def _write_state(builder: ChangesBuilder, decision: JobPlan, state: JobState) -> None:
    job, waits = decision.job, decision.waits
    waited = builder.view.waiting.of_job(job.id)
    asleep = job.kind is Kind.SERVICE and not job.units  # scaled to nothing, as it was asked
    runs = bool(decision.place) or decision.standing > 0 or asleep or decision.serves
    if waits is None:
        if runs:
            builder.set_state(job.id, JobState.RUNNING)
        if waited:
            builder.describe(job.id, waiting={}, message="", details={})
        return
    text, classes = waits.text, waits.classes
    if runs:
        builder.set_state(job.id, JobState.RUNNING)
        if classes != waited:
            if not waited:
                told = texts.UNITS_QUEUED.format(waiting=waits.units, units=job.units, text=text)
                builder.history(job.id, texts.QUEUEING, told, details=waits.details)
            builder.describe(job.id, waiting=classes, message=text, details=waits.details)
    elif state is not JobState.QUEUED:
        queued = texts.JOB_QUEUED.format(text=text)
        builder.set_state(
            job.id, JobState.QUEUED, message=text, details=waits.details, topic=texts.QUEUEING, text=queued
        )
        builder.describe(job.id, waiting=classes)
    elif classes != waited or any(each.id for each in decision.evaluations):
        builder.describe(job.id, waiting=classes, message=text, details=waits.details)
