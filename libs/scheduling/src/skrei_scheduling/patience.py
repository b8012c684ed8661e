"""Jobs of several tasks that wait: how long each task may, from when it waits for no other, and what its end means."""

from collections.abc import Collection, Iterator
from datetime import datetime

from skrei_scheduling import texts
from skrei_scheduling.plan import TaskWaits, Waits
from skrei_scheduling.reconcile import Failure
from skrei_scheduling.rows import JobRow, Requirement, TaskPlan


def patience(job: JobRow, task: TaskPlan) -> datetime | None:
    """Return until when the first unit of a task may wait for room; None where it may for ever."""
    return None if task.queue_timeout is None else job.free_since(task) + task.queue_timeout


def out_of_patience(job: JobRow, waits: Waits, now: datetime) -> TaskWaits | None:
    """Return a task that has waited for room as long as it said, and of which nothing ever was."""
    for each in waits.tasks:
        due = patience(job, each.task)
        if due is not None and now >= due and not job.begun(each.task):
            return each
    return None


def ends_of_patience(
    job: JobRow, waits: Waits | None, waited: Collection[Requirement], fired: Collection[str]
) -> Iterator[datetime]:
    """Yield when to look again: of tasks that begin to wait, and of those whose timer fired early.

    `waited` are the classes in which the job waited before.
    """
    for each in () if waits is None else waits.tasks:
        due = patience(job, each.task)
        starts = each.task.requirement not in waited or texts.TRIGGER_QUEUE_TIMEOUT in fired
        if due is not None and starts and not job.begun(each.task):
            yield due


def may_be_missing(job: JobRow, task: TaskPlan, now: datetime) -> bool:
    """Whether a task may have no node that could run it yet: it said how long it waits, and that is not over."""
    due = patience(job, task)
    return due is not None and (now < due or not job.begun(task))


def failure_of(waits: TaskWaits) -> Failure:
    """The failure of a job for what one of its tasks waits for."""
    text = texts.OF_TASK.format(task=waits.task.name, text=waits.explanation.text)
    details = {texts.IS_ERROR: "true", texts.TASK: waits.task.name, **waits.explanation.details}
    return Failure(text, text, details=details)
