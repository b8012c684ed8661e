"""What a job wants against what there is: which executions to stop, which units to place, whether it has failed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from skrei_domain.durations import duration
from skrei_domain.evolving import replace
from skrei_domain.ids import short
from skrei_domain.job_kinds import Kind
from skrei_domain.lifecycle import Connection, ExecutionState, JobState
from skrei_scheduling import data, rollout, targets, texts
from skrei_scheduling.moving import moving
from skrei_scheduling.retry import MAX_ATTEMPTS
from skrei_scheduling.returning import returning, silent
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, OnReturn, Unit
from skrei_scheduling.view import ClusterView

UNITS_A_LOOK = 1_000
"""Units placed by one look at one job: a plan's size, and so how long it holds the event loop, has a bound."""

STOPS_A_LOOK = 250
"""Executions stopped, kept or taken back by one plan: each is a row and its history, written inside one transaction."""

_WHY_STOPPED = {
    JobState.STOPPED: texts.STOP_JOB_STOPPED,
    JobState.FAILED: texts.STOP_JOB_FAILED,
    JobState.COMPLETED: texts.STOP_NOT_NEEDED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the job ends as Failed: `text` for its history, `message` for its state."""

    text: str
    message: str
    topic: str = texts.SCHEDULING
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Missing:
    """A unit that needs an execution. `originals` are its Unknown ones, whose nodes have been silent long enough."""

    unit: Unit
    attempt: int
    avoid: frozenset[str] = frozenset()
    originals: tuple[ExecutionRow, ...] = ()
    node: str = ""  # the only node that it may run on


@dataclass(frozen=True, slots=True)
class Difference:
    """What to do about one job, before anyone looks at nodes."""

    stop: tuple[tuple[ExecutionRow, str], ...] = ()
    failure: Failure | None = None
    missing: tuple[Missing, ...] = ()
    beyond: int = 0  # units to place that this look did not reach
    standing: int = 0  # units that an execution stands for
    look_again_seconds: float | None = None  # when the next silent node will have been silent long enough
    complete: bool = False
    good: bool = False  # the version is ready as a whole, for the first time since it was asked for
    roll_back: str = ""  # it had its time, and never was: what is told of that
    again: tuple[ExecutionRow, ...] = ()  # Unknown executions that are what they were: their nodes are back
    swapped: bool = False  # of them there is more to decide once this is written
    kept: tuple[ExecutionRow, ...] = ()  # executions of older versions that are the current one's from now on
    rolling: rollout.Standing | None = None  # how far a service is
    trading: tuple[ExecutionRow, ...] = ()  # of a service: those of older versions that go on for now
    targets: tuple[tuple[str, int], ...] = ()  # nodes that are the job's from now on, with their partitions
    lost: tuple[tuple[ExecutionRow, str], ...] = ()  # executions that are given up with their silent node
    given_up: tuple[tuple[Unit, str], ...] = ()  # units that end without a result, and why
    unstopped: bool = False  # there is more to stop than this look may
    leave: tuple[ExecutionRow, ...] = ()  # of a service: others are to take their places
    stay: tuple[ExecutionRow, ...] = ()  # of a service: they were leaving, and do no more


def reconcile(
    view: ClusterView, job: JobRow, evaluations: Iterable[Evaluation], now: datetime, *, stops: int = STOPS_A_LOOK
) -> Difference:
    """Compare what `job` wants with what the view holds of it; at most `stops` executions are changed by this look."""
    found = _compare(view, job, evaluations, now)
    again = found.again[: max(stops, 0)]
    kept = found.kept[: max(stops - len(again), 0)]
    stop = found.stop[: max(stops - len(again) - len(kept), 0)]
    rest = max(stops - len(again) - len(kept) - len(stop), 0)
    leave = found.leave[:rest]  # what stays is bounded as what left was
    more = len(found.again) + len(found.kept) + len(found.stop) + len(found.leave) > stops
    return replace(found, again=again, kept=kept, stop=stop, leave=leave, unstopped=more)


def _compare(view: ClusterView, job: JobRow, evaluations: Iterable[Evaluation], now: datetime) -> Difference:
    live = [row for row in view.of_job(job.id) if row.live and not row.revoked]
    if job.state.is_terminal:
        return Difference(stop=tuple((row, _WHY_STOPPED[job.state]) for row in live))
    evaluations = tuple(evaluations)
    older = [row for row in live if row.job_version != job.version]
    current = [row for row in live if row.job_version == job.version]
    updated = tuple((row, texts.STOP_JOB_UPDATED) for row in older)
    told = tuple(each for each in evaluations if each.about(job))
    failure = _timed_out(job, now) or _failed(told)
    if failure is not None:
        return _fails(failure, updated, current)
    if job.kind.per_node:
        return _per_node(view, job, updated, evaluations, now)
    if job.kind is Kind.SERVICE:
        return _service(view, job, current, evaluations, now, older=older)
    if job.split and not job.targets:  # nothing of it begins before it is known how many parts there are
        return Difference(stop=updated)
    if (gone := data.gone(view, job)) is not None:
        text = texts.HOLDER_GONE.format(node=short(gone[0]), partition=gone[1])
        failure = Failure(text, text, details={texts.IS_ERROR: "true", texts.REASON: text})
        return _fails(failure, updated, current)
    back = returning(view, job, current, told)
    current = back.left(current, now)
    missing, beyond, wait = _missing(view, job, current, evaluations, now)
    missing = _at_holders(job, missing) if job.split else missing
    if any(each.attempt > MAX_ATTEMPTS for each in missing):
        return _fails(_worn_out(told), updated, current)
    return Difference(
        stop=updated,
        again=tuple(back.again),
        missing=tuple(missing),
        standing=len({row.unit for row in current}) - sum(1 for each in missing if each.originals),
        beyond=beyond,
        look_again_seconds=wait,
        complete=len(job.won) >= job.units,
    )


def _fails(failure: Failure, stop: tuple[tuple[ExecutionRow, str], ...], current: list[ExecutionRow]) -> Difference:
    """A job that fails: beside what is stopped anyway, all of its current version is."""
    return Difference(stop=(*stop, *((row, texts.STOP_JOB_FAILED) for row in current)), failure=failure)


def _service(
    view: ClusterView,
    job: JobRow,
    current: list[ExecutionRow],
    evaluations: tuple[Evaluation, ...],
    now: datetime,
    *,
    older: list[ExecutionRow],
) -> Difference:
    """Compare what a service wants with what is live of it, of its current version and of older ones."""
    moves = moving(view, job, current, now)
    current = moves.left
    stands = [row for row in older if not row.leaving and not view.drains(row.node_id)]
    kept = rollout.kept(job, stands, {row.unit for row in current})
    theirs = {row.id for row in kept}
    outdated = [row for row in older if row.id not in theirs]
    current = [*current, *(replace(row, job_version=job.version) for row in kept)]
    back = returning(view, job, current, evaluations)
    current = back.left(current, now)
    found = rollout.standing(view, job, current, now)
    if rollout.late(job, now, tried=found.tried and not found.good):
        return Difference(standing=len(current), roll_back=rollout.back_because(job))
    missing, beyond, wait = _missing(view, job, current, evaluations, now)
    stood = {row.unit for row in (*kept, *moves.stay)}
    missing = [each for each in missing if each.originals or each.unit not in stood]
    step = rollout.step(job, current, outdated, now)
    if outdated:
        allowed = step.allow([each.unit for each in missing if not each.originals])
        missing = [each for each in missing if each.originals or each.unit in allowed]
        beyond = 0  # the rest comes as what was placed becomes ready
    stopped = {row.id for row, _ in step.stop}
    return Difference(
        kept=tuple(kept),
        again=tuple(back.again),
        swapped=back.swapped or moves.more,
        leave=tuple(moves.leave),
        stay=tuple(moves.stay),
        stop=(*moves.stop, *back.stop, *step.stop),
        missing=tuple(missing),
        beyond=beyond,
        standing=len({row.unit for row in current}) - sum(1 for each in missing if each.originals),
        look_again_seconds=wait,
        good=found.good and (job.good_version != job.version or job.progress < job.units),
        rolling=found,
        trading=tuple(row for row in outdated if row.id not in stopped),
    )


def _per_node(
    view: ClusterView,
    job: JobRow,
    outdated: tuple[tuple[ExecutionRow, str], ...],
    evaluations: Iterable[Evaluation],
    now: datetime,
) -> Difference:
    work = targets.look(view, job, evaluations, now)
    missing = [
        Missing(unit, job.attempts.get(unit, 0) + 1, node=node_id) for unit, node_id in work.missing[:UNITS_A_LOOK]
    ]
    return Difference(
        stop=(*outdated, *work.stop),
        missing=tuple(missing),
        beyond=len(work.missing) - len(missing),
        standing=work.standing,
        look_again_seconds=None if work.soonest is None else work.soonest.total_seconds(),
        targets=work.new,
        lost=tuple(work.lost),
        given_up=tuple(work.given_up),
    )


def _timed_out(job: JobRow, now: datetime) -> Failure | None:
    limit = job.total_timeout
    if limit is None or now < job.since + limit:
        return None
    text = texts.TIMED_OUT.format(limit=duration(limit))
    details = {texts.IS_ERROR: "true", texts.HINT: texts.TIMED_OUT_HINT}
    return Failure(text, text, topic=texts.JOB_TIMEOUT, details=details)


def _failed(evaluations: Iterable[Evaluation]) -> Failure | None:
    """An attempt that ended by its own doing asked for this evaluation, and named the cause."""
    for evaluation in evaluations:
        if evaluation.trigger == texts.TRIGGER_FAILURE:
            cause = evaluation.comment or texts.EXECUTIONS_FAILED
            details = {texts.IS_ERROR: "true", texts.REASON: cause}
            return Failure(texts.EXECUTIONS_FAILED, cause, details=details)
    return None


def _worn_out(evaluations: Iterable[Evaluation]) -> Failure:
    reason = next((each.comment for each in evaluations if each.trigger == texts.TRIGGER_RETRY and each.comment), "")
    text = texts.RETRIED_TOO_OFTEN + (f": {reason}" if reason else "")
    return Failure(text, text, details={texts.IS_ERROR: "true", texts.REASON: reason or texts.NO_REASON})


def _missing(
    view: ClusterView, job: JobRow, current: list[ExecutionRow], evaluations: Iterable[Evaluation], now: datetime
) -> tuple[list[Missing], int, float | None]:
    """Return the units to place now, how many open ones are beyond this look, and when to look at silent ones again."""
    missing: list[Missing] = []
    beyond = 0
    soonest: timedelta | None = None
    for unit, originals in silent(current).items():
        wait = _wait(view, job, originals, now)
        if wait is None:
            continue
        if wait > timedelta():
            soonest = wait if soonest is None else min(soonest, wait)
        elif len(missing) < UNITS_A_LOOK:
            missing.append(_one(view, job, unit, tuple(originals)))
        else:
            beyond += 1
    due, backoff = {evaluation.id for evaluation in evaluations}, view.backoff(job.id)
    open_units = view.open_units(job)
    looked = 0
    for unit in open_units:
        if len(missing) >= UNITS_A_LOOK:
            break
        looked += 1
        if unit not in backoff or backoff[unit] in due:
            missing.append(_one(view, job, unit))
    return missing, beyond + len(open_units) - looked, None if soonest is None else soonest.total_seconds()


def _at_holders(job: JobRow, missing: list[Missing]) -> list[Missing]:
    """Return the units to place, those of parted data each with the node that holds it: no other has that part."""
    nodes = {partition: node for node, partition in job.targets.items()}
    split = {task.name for task in job.tasks if task.split}
    return [replace(each, node=nodes[each.unit[1]]) if each.unit[0] in split else each for each in missing]


def _one(view: ClusterView, job: JobRow, unit: Unit, originals: tuple[ExecutionRow, ...] = ()) -> Missing:
    return Missing(unit, job.attempts.get(unit, 0) + 1, view.avoided(job, unit), originals)


def _wait(view: ClusterView, job: JobRow, rows: Iterable[ExecutionRow], now: datetime) -> timedelta | None:
    """How long until the unit's executions count as gone; None where one of them is heard, or none may be replaced."""
    if not job.offline.replace:
        return None
    longest = timedelta()
    for row in rows:
        node = view.nodes.get(row.node_id)
        if row.state is not ExecutionState.UNKNOWN or node is None or node.connection is Connection.CONNECTED:
            return None
        silent_since = node.disconnected_since or now
        longest = max(longest, silent_since + job.offline.wait - now)
    return longest


def replaced(job: JobRow) -> bool:
    """Whether a replacement revokes the original at once."""
    return job.offline.on_return is OnReturn.STOP
