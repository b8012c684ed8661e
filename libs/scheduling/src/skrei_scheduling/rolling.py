"""What a look at a service comes to, once it is known what of it finds a place: its clock, timers, and who makes way.

`rollout` says how far a version is and what it may; this says what the planner does about it.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from skrei_domain.job_kinds import Kind
from skrei_scheduling import rollout, texts
from skrei_scheduling.making_way import making_way
from skrei_scheduling.patience import out_of_patience
from skrei_scheduling.plan import Waits
from skrei_scheduling.reconcile import Difference
from skrei_scheduling.rows import ExecutionRow, JobRow
from skrei_scheduling.view import ClusterView


@dataclass(frozen=True, slots=True)
class Rolled:
    """What else a look does. `tried`: something of the version is placed, or never can be."""

    clock: rollout.Clock | None = None
    tried: bool = False
    made_way: tuple[tuple[ExecutionRow, str], ...] = ()


def given_up(job: JobRow, waits: Waits, now: datetime, *, stuck: bool) -> str:
    """Why a service goes back of whose version nothing more finds a place: it never can, or has waited long enough.

    `stuck`: something of it waits that every known node refuses for good.
    """
    if not rollout.goes_back(job):
        return ""
    if (late := out_of_patience(job, waits, now)) is not None:
        return rollout.back_because(job, text=waits.text, limit=late.task.queue_timeout)
    return rollout.back_because(job, text=waits.text) if stuck and rollout.late(job, now, tried=True) else ""


def roll(
    view: ClusterView,
    job: JobRow,
    difference: Difference,
    waits: Waits | None,
    now: datetime,
    *,
    placed: bool,
    stuck: bool,
    may_stop: bool,
) -> Rolled:
    """Return what else a look at a service does; nothing for any other job."""
    found = difference.rolling
    if found is None:
        return Rolled()
    tried = found.tried or placed or stuck
    clock = rollout.clock(job, found, placed=placed, tried=tried)
    idle = not placed and not found.tried and not difference.stop and may_stop
    if waits is None or not idle or not difference.trading:
        return Rolled(clock, tried)
    way = making_way(view, job, [each.task for each in waits.tasks], difference.trading)
    return Rolled(clock, tried, () if way is None else (way,))


def serves(view: ClusterView, job: JobRow, stopped: Iterable[tuple[ExecutionRow, str]]) -> bool:
    """Whether something of a service is ready and goes on, of whichever version."""
    if job.kind is not Kind.SERVICE:
        return False
    ids = {row.id for row, _ in stopped}
    return any(row.is_ready and not row.revoked and row.id not in ids for row in view.of_job(job.id))


def timers(
    view: ClusterView, job: JobRow, difference: Difference, rolled: Rolled, now: datetime, *, fired: Collection[str]
) -> Iterator[tuple[str, float]]:
    """Yield when to look at a service again, as (trigger, seconds): what is ready counts then, or its time is over.

    `fired` are the evaluations of this look: a timer among them runs no more.
    """
    found = difference.rolling
    if found is None or rolled.clock is None:
        return
    counts = not found.good or bool(difference.trading)
    if found.wait is not None and counts and not view.timers.runs(job.id, texts.TRIGGER_READY, but=fired):
        yield texts.TRIGGER_READY, found.wait.total_seconds()
    due = rollout.deadline(job, now if rolled.clock.starts else job.progress_at)
    waits = rolled.tried and not difference.good and not view.timers.runs(job.id, texts.TRIGGER_PROGRESS, but=fired)
    if due is not None and waits:
        yield texts.TRIGGER_PROGRESS, (due - now).total_seconds()
