"""How a service goes from one version to the next: the new beside the old, bounded; and back when it never is ready.

For each task: the old executions stay until as many new ones have been ready for long enough (`Update.MinReady`); new
ones are placed while old and new together are at most `surge` more than the task needs. What is not ready is stopped
first. Executions that run what the new version runs are kept: they are the new version's from then on.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from skrei_domain.durations import duration
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import ExecutionState
from skrei_scheduling import texts
from skrei_scheduling.rows import ExecutionRow, JobRow, Unit
from skrei_scheduling.view import ClusterView


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


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the current version of a service is."""

    settled: int  # units of it that have been ready for long enough
    tried: bool  # something of it is placed, or about to be again, and has not been ready for long enough
    good: bool  # every unit has
    wait: timedelta | None = None  # until the next one that is ready has been for long enough


def kept_alive(view: ClusterView, job: JobRow) -> bool:
    """Whether a job runs until it is stopped, whatever is in its way: only a first version may have no place at all."""
    if job.kind is not Kind.SERVICE:
        return job.kind is Kind.DAEMON
    return bool(job.attempts or job.good_version) or any(row.live and not row.revoked for row in view.of_job(job.id))


def kept(job: JobRow, outdated: Iterable[ExecutionRow], taken: Collection[Unit]) -> list[ExecutionRow]:
    """Return the executions of older versions that are what the current one wants, one for each unit.

    `taken` are the units that have one. An Unknown one comes with the replacement that its unit has, or alone.
    """
    count = {task.name: task.count for task in job.tasks}
    found: list[ExecutionRow] = []
    version: dict[Unit, int] = {}
    for row in sorted(outdated, key=lambda row: (-row.job_version, row.state is ExecutionState.UNKNOWN, row.id)):
        same = bool(row.what_runs) and row.what_runs == job.what_runs and row.job_version >= job.anew
        if same and row.unit not in taken and row.partition < count.get(row.task, 0):
            found += [row] if version.setdefault(row.unit, row.job_version) == row.job_version else []
    return found


def step(job: JobRow, current: Sequence[ExecutionRow], outdated: Sequence[ExecutionRow], now: datetime) -> Step:
    """Return the next step of an update, of which `outdated` is still wanted and `current` is there already."""
    new = Counter(task for task, _ in {row.unit for row in current})  # an Unknown one beside its replacement is no more
    settled = Counter(row.task for row in current if row.settled(now, job.update.min_ready))
    back = going_back(job)
    stop: list[tuple[ExecutionRow, str]] = []
    room: dict[str, int] = {}
    old: dict[str, list[ExecutionRow]] = {}
    for row in sorted(outdated, key=lambda row: (not row.is_ready, row.job_version, row.partition, row.id)):
        old.setdefault(row.task, []).append(row)
    for task in job.tasks:
        rows = old.pop(task.name, [])
        most = max(task.count - settled[task.name], 0)
        if back:  # what was never ready is worth nothing, and may hold the room that is needed
            most = min(most, sum(row.is_ready for row in rows))
        keep, rest = rows[:most], rows[most:]
        stop += [(row, _why(job, row, back=back)) for row in rest]
        room[task.name] = max(task.count + job.update.surge - len(keep) - new[task.name], 0)
    stop += [(row, texts.STOP_JOB_UPDATED) for rows in old.values() for row in rows]  # tasks that are no more
    return Step(tuple(stop), room)


def going_back(job: JobRow) -> bool:
    """Whether the current version is one that the job has gone back to, and is not ready as a whole yet."""
    return job.good_version == job.version and job.progress < job.units


def _why(job: JobRow, row: ExecutionRow, *, back: bool) -> str:
    if row.partition >= job.task(row.task).count:
        return texts.STOP_NOT_NEEDED
    return texts.STOP_GIVEN_UP.format(version=row.job_version) if back else texts.STOP_ROLLED


def standing(view: ClusterView, job: JobRow, current: Iterable[ExecutionRow], now: datetime) -> Standing:
    """Return how far the current version is; a version without units is ready at once."""
    settled: set[Unit] = set()
    tried = bool(view.backoff(job.id))
    soonest: datetime | None = None
    for row in current:
        if row.settled(now, job.update.min_ready):
            settled.add(row.unit)
            continue
        tried = tried or row.state is not ExecutionState.UNKNOWN
        if row.is_ready and row.ready_at is not None:
            soonest = row.ready_at if soonest is None else min(soonest, row.ready_at)
    wait = None if soonest is None else soonest + job.update.min_ready - now
    return Standing(len(settled), tried, len(settled) == job.units, wait)


# ---------------------------------------------------------------- going back


def goes_back(job: JobRow) -> bool:
    """Whether the current version has yet to prove itself, and there is one to go back to."""
    return job.kind is Kind.SERVICE and 0 < job.good_version != job.version


def deadline(job: JobRow, progress_at: datetime | None) -> datetime | None:
    """Return until when more of a new version must become ready, since `progress_at`; None where nothing is gone back
    to.

    It counts only while something is tried: see `Clock`. What becomes ready at its end has its `min_ready` on top.
    """
    if not goes_back(job):
        return None
    return max(job.since, progress_at or job.since) + job.update.deadline + job.update.min_ready


def late(job: JobRow, now: datetime, *, tried: bool) -> bool:
    """Whether a new version has had its time; none passes while all that is not ready waits for room."""
    due = deadline(job, job.progress_at)
    return tried and not job.paused and due is not None and now >= due


@dataclass(frozen=True, slots=True)
class Clock:
    """What a look does to the time of a version: progress or a new try begins it, waiting for room stops it."""

    progress: int | None = None
    starts: bool = False
    paused: bool | None = None


def clock(job: JobRow, found: Standing, *, placed: bool, tried: bool) -> Clock:
    """Return what a look does that placed something; `tried`: or something was, or never can be."""
    more = found.settled > job.progress
    if not goes_back(job):
        return Clock(progress=found.settled if more else None)
    begins = (job.paused and tried) or (placed and not found.tried and not found.good)
    return Clock(
        progress=found.settled if more else None,
        starts=more or begins,
        paused=None if tried is not job.paused else not tried,
    )


def back_because(job: JobRow, *, text: str = "", limit: timedelta | None = None) -> str:
    """Say why a service goes back; `text` where it found no place within `limit`."""
    told = duration(limit or job.update.deadline)
    words = {"good": job.good_version, "bad": job.version, "limit": told}
    return texts.NEVER_PLACED.format(**words, text=text) if text else texts.ROLLED_BACK.format(**words)
