"""What the end of an execution calls for, by the kind of its job: another attempt, the end of a unit, or of the job."""

from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, Problem
from skrei_domain.restarts import restart_seconds, streak_after
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.retry import (
    MAX_ATTEMPTS,
    backoff_seconds,
    by_own_doing,
    given_up,
)
from skrei_scheduling.rows import ExecutionRow


def as_counted(kind: Kind, fact: ExecutionObserved) -> ExecutionObserved:
    """Return what a fact counts as: of a job that runs until it is stopped, no program may just end."""
    if not kind.endless or fact.state is not ExecutionState.COMPLETED:
        return fact
    exited = texts.EXITED_UNEXPECTEDLY.format(code=fact.exit_code) if fact.exit_code else texts.COMPLETED_UNEXPECTEDLY
    problem = Problem(code=texts.COMPLETED_CODE, message=exited)
    return fact.model_copy(update={"state": ExecutionState.FAILED, "problem": problem})


def ran_seconds(fact: ExecutionObserved) -> float:
    """Return how long the program's last start ran, by its node's own clock; 0 where it never did."""
    began = next((step.at for step in reversed(fact.steps) if step.state is ExecutionState.RUNNING), None)
    return 0.0 if began is None else (fact.steps[-1].at - began).total_seconds()


def follow_up(
    builder: ChangesBuilder, row: ExecutionRow, problem: Problem | None, *, kind: Kind, ran: float = 0.0
) -> None:
    """Ask for what an execution's bad end calls for, once it had run for so many seconds."""
    if kind.endless:
        ask_retry(builder, row, kind=kind, ran=ran)
    elif kind is Kind.OPS:
        _after_ops(builder, row, problem)
    elif by_own_doing(row.state, problem) or given_up(row.attempt, problem):
        builder.evaluate(row, texts.TRIGGER_FAILURE, comment=_cause(builder, row), unit=True)
    elif row.state is not ExecutionState.COMPLETED:
        ask_retry(builder, row, kind=kind)


def readiness_into(builder: ChangesBuilder, old: ExecutionRow, new: ExecutionRow) -> None:
    """A service is looked at when an execution becomes ready or ends, and somebody waits for that."""
    if new.revoked or (new.serves is old.serves and not (new.serves and new.starts > old.starts)):
        return
    if in_doubt(builder, new):
        builder.evaluate(new, texts.TRIGGER_READY)


def in_doubt(builder: ChangesBuilder, row: ExecutionRow) -> bool:
    """Whether something else of a service depends on how this execution is: its version, an older one, or its twin."""
    job, draft = builder.job(row.job_id), builder.draft(row.job_id)
    if job is None or job.kind is not Kind.SERVICE or draft is None or draft.state.is_terminal:
        return False
    ready = job.good_version == job.version and job.progress >= job.units
    return not ready or builder.view.rolls(job) or builder.has_twin(row)


def ask_retry(builder: ChangesBuilder, row: ExecutionRow, *, kind: Kind, ran: float = 0.0) -> None:
    """Ask for another attempt of the execution's unit, after its backoff, unless another one stands for it.

    What never ends backs off by how often it failed in a row, and is tried for ever; the rest by its attempt.
    """
    if builder.has_rival(row):
        return
    streak = 0
    delay = backoff_seconds(row.attempt)
    if kind.endless:
        streak = streak_after(builder.view.streak(row.job_id, row.unit), ran)
        delay = restart_seconds(streak)
    builder.evaluate(
        row, texts.TRIGGER_RETRY, delay_seconds=delay, comment=_cause(builder, row), unit=True, streak=streak
    )


def _cause(builder: ChangesBuilder, row: ExecutionRow) -> str:
    """Why an execution ended badly; of a job of several tasks, whose it was."""
    draft = builder.draft(row.job_id)
    named = draft is not None and draft.many and row.message
    return texts.OF_TASK.format(task=row.task, text=row.message) if named else row.message


def _after_ops(builder: ChangesBuilder, row: ExecutionRow, problem: Problem | None) -> None:
    """A node is asked again while nothing has run there; what ran and failed is that node's answer."""
    if row.state is ExecutionState.COMPLETED:
        return
    never_ran = row.state is ExecutionState.REFUSED or (problem is not None and problem.code in texts.NEVER_RAN)
    if never_ran and row.attempt < MAX_ATTEMPTS and not given_up(row.attempt, problem):
        ask_retry(builder, row, kind=Kind.OPS)
        return
    builder.give_up(row.job_id, row.unit, _cause(builder, row) or texts.NO_REASON)
    builder.complete(row.job_id)
