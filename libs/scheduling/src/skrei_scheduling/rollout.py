"""How a service goes from one version to the next: the new beside the old, bounded; and back when it never is ready.

For each task: the old executions stay until as many new ones are ready; new ones are placed while old and new together
are at most `surge` more than the task needs. What is not ready is stopped first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from skrei_domain.job_kinds import Kind
from skrei_scheduling import texts
from skrei_scheduling.rows import ExecutionRow, JobRow, Unit


@dataclass(frozen=True, slots=True)
class Step:
    """What of an update can be done now: old executions that are not needed any more, and new ones that may come."""

    stop: tuple[tuple[ExecutionRow, str], ...]
    room: dict[str, int]  # task -> new executions that may be placed

    def allow(self, units: Sequence[Unit]) -> set[Unit]:
        """Return the first of these units that may be placed now."""
        left = dict(self.room)
        allowed: set[Unit] = set()
        for unit in units:
            if left.get(unit[0], 0) > 0:
                left[unit[0]] -= 1
                allowed.add(unit)
        return allowed


def step(job: JobRow, current: Sequence[ExecutionRow], outdated: Sequence[ExecutionRow]) -> Step:
    """Return the next step of an update, of which `outdated` is still wanted and `current` is there already."""
    new = Counter(row.task for row in current)
    ready = Counter(row.task for row in current if row.is_ready)
    stop: list[tuple[ExecutionRow, str]] = []
    room: dict[str, int] = {}
    old: dict[str, list[ExecutionRow]] = {}
    for row in sorted(outdated, key=lambda row: (not row.is_ready, row.job_version, row.partition, row.id)):
        old.setdefault(row.task, []).append(row)
    for task in job.tasks:
        rows = old.pop(task.name, [])
        keep = max(task.count - ready[task.name], 0)
        stop += [(row, texts.STOP_ROLLED) for row in rows[keep:]]
        room[task.name] = max(task.count + job.update.surge - len(rows[:keep]) - new[task.name], 0)
    stop += [(row, texts.STOP_JOB_UPDATED) for rows in old.values() for row in rows]  # tasks that are no more
    return Step(tuple(stop), room)


def is_ready(job: JobRow, current: Sequence[ExecutionRow]) -> bool:
    """Whether every unit of the current version is ready."""
    ready = {row.unit for row in current if row.is_ready}
    return bool(job.units) and len(ready) == job.units


def deadline(job: JobRow) -> datetime | None:
    """Return until when something more of a new version must become ready; None where nothing is gone back to."""
    if job.kind is not Kind.SERVICE or not job.good_version or job.good_version == job.version:
        return None
    return max(job.since, job.progress_at or job.since) + job.update.deadline


def late(job: JobRow, now: datetime) -> bool:
    """Whether a new version has had its time."""
    due = deadline(job)
    return due is not None and now >= due
