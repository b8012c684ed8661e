"""What a fact does to the record: the execution's row, its history, its result, and what follows for its job.

Called inside the commit of the facts, under the job's lock. A fact is never refused here: one that may not count
(revoked, late, another version, the unit already won) is still written to the execution and its history.
"""

from collections.abc import Iterable, Mapping, Sequence

from skrei_domain.errors import InvalidTransition
from skrei_domain.evolving import replace
from skrei_domain.ids import IdSource
from skrei_domain.lifecycle import ORDER, ExecutionState, advance
from skrei_domain.messages import ExecutionObserved, Problem, ResultRef, Step
from skrei_scheduling import texts
from skrei_scheduling.builder import ChangesBuilder, never_shown
from skrei_scheduling.changes import AuditNew, Changes, Locked, Observed, Place
from skrei_scheduling.kinds import as_counted, follow_up, ran_seconds, readiness_into
from skrei_scheduling.publishing import begins_to_wait, stage_into
from skrei_scheduling.rows import ExecutionRow
from skrei_scheduling.view import ClusterView

NO_RESULT = ResultRef(digest="", size=0)
"""What a completed execution that named no result has won its unit with."""


def jobs_of(
    view: ClusterView, execution_ids: Iterable[str], late: Mapping[str, ExecutionRow] | None = None
) -> tuple[str, ...]:
    """Return the jobs that a commit about these executions must lock, in order."""
    rows = (view.executions.get(each) or (late or {}).get(each) for each in execution_ids)
    return tuple(sorted({row.job_id for row in rows if row is not None}))


def settle(
    view: ClusterView,
    observed: Sequence[tuple[str, ExecutionObserved]],
    locked: Locked,
    ids: IdSource,
    *,
    late: Mapping[str, ExecutionRow] | None = None,
    places: Mapping[tuple[str, str], Place] | None = None,
) -> Changes:
    """Return what these facts, in order, change: (node id, fact) each. `late` holds rows that the view let go, `places`
    where the results lie that facts name, by node and execution.
    """
    builder = ChangesBuilder(view, locked, ids, late=late)
    builder.places.update(places or {})
    settle_into(builder, observed)
    return builder.build()


def settle_into(builder: ChangesBuilder, observed: Iterable[tuple[str, ExecutionObserved]]) -> None:
    """Add what these facts change to a commit. Facts about what nobody knows, or another node's, are counted."""
    for node_id, told in observed:
        row = builder.row(told.execution_id)
        if row is None or row.node_id != node_id:
            builder.skipped += 1
            continue
        fact = as_counted(builder.kind(row.job_id), told)
        if row.staged:
            _while_staged(builder, row, fact)
        elif row.state.is_terminal:
            _after_the_end(builder, row, fact)
        elif fact.state.is_terminal:
            _end(builder, row, _judged(builder, row, fact))
        else:
            _progress(builder, row, fact)


# ---------------------------------------------------------------- still going


def _progress(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved) -> None:
    seen = _further(row.observed, fact.state)
    state = _live_state(builder, row, seen)
    revision = max(row.seen_revision, fact.revision)
    starts = max(row.starts, fact.starts)
    message = _noted(row, seen, fact)
    ready = row.ready if fact.ready is None else fact.ready
    ports = fact.ports or row.ports
    if (state, seen, revision, starts, message, ready, ports) == (
        row.state,
        row.observed,
        row.seen_revision,
        row.starts,
        row.message,
        row.ready,
        row.ports,
    ):
        return
    new = row.evolve(
        state=state, observed=seen, seen_revision=revision, starts=starts, message=message, ready=ready, ports=ports
    )
    builder.put(new, _told(fact))
    readiness_into(builder, row, new)
    _tell_steps(builder, row, new, fact)
    if begins_to_wait(row, message):
        builder.history(row.job_id, texts.EXECUTION, message, row=new)


def _noted(row: ExecutionRow, seen: ExecutionState, fact: ExecutionObserved) -> str:
    """While an execution stages its message is how far that is, while it runs why it is not ready, and no history is
    made of it; while it publishes what its result waits for.
    """
    if fact.note is not None and fact.state is seen and not row.revoked:
        if seen is ExecutionState.PUBLISHING and fact.note:
            return texts.PUBLISH_WAITS.format(reason=fact.note)
        return fact.note
    if seen is ExecutionState.STAGING:
        return row.message
    return "" if row.observed is ExecutionState.STAGING and not row.revoked else row.message


def _live_state(builder: ChangesBuilder, row: ExecutionRow, seen: ExecutionState) -> ExecutionState:
    """A returned original stays Unknown while its replacement lives: a unit has one live execution that is not."""
    if row.state is ExecutionState.UNKNOWN and not row.revoked and builder.had_rival(row):
        return ExecutionState.UNKNOWN
    return seen


def _further(held: ExecutionState, told: ExecutionState) -> ExecutionState:
    """The later of two states that are not terminal: an older fact, or a local restart, takes nothing back."""
    return advance(held, told) if told is not ExecutionState.UNKNOWN else held


# ---------------------------------------------------------------- the end


def _judged(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved) -> ExecutionObserved:
    """Return the fact as its job counts it: with `FailOn: exit-code` a program that says it failed has failed."""
    job = builder.job(row.job_id)
    if fact.state is not ExecutionState.COMPLETED or not fact.exit_code or job is None or not job.fails_on_exit:
        return fact
    problem = Problem(code=texts.EXIT_CODE, message=texts.EXITED.format(code=fact.exit_code))
    return fact.model_copy(update={"state": ExecutionState.FAILED, "problem": problem})


def _end(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved) -> None:
    place = _place(builder, row, fact.result)
    # What was uploaded and cannot win is kept, and not final yet: Completed would say that it can be read.
    beaten = fact.state is ExecutionState.COMPLETED and place is not None and not builder.may_win(row)
    new = row.evolve(
        state=ExecutionState.STOPPED if row.revoked or beaten else fact.state,
        observed=fact.state,
        seen_revision=max(row.seen_revision, row.revision, fact.revision),  # nothing is left to be told to the node
        starts=max(row.starts, fact.starts),
        holds=False,
        message=row.reason if row.revoked else texts.NOT_COUNTED if beaten else _message(fact),
    )
    counts = builder.counts(row)
    won = False
    if fact.state is ExecutionState.COMPLETED and fact.result is not None and place and builder.may_win(row):
        _tell_steps(builder, row, new, fact)
        stage_into(builder, new, fact.result, place)
        builder.put(builder.row(new.id) or new, _told(fact))
        return
    if fact.state is ExecutionState.COMPLETED:
        won = builder.win(new, fact.result or NO_RESULT, place)
    elif fact.result is not None:
        builder.result(new, fact.result, committed=False, place=place)
    builder.put(new, _told(fact))
    _tell_steps(builder, row, new, fact)
    _tell_end(builder, new, fact, revoked=row.revoked, won=won)
    readiness_into(builder, row, new)
    if row.revoked and fact.state is not ExecutionState.STOPPED:
        _audit_late(builder, new, fact)
    if counts and not builder.closed(new):
        follow_up(builder, new, fact.problem, kind=builder.kind(row.job_id), ran=ran_seconds(fact))
    builder.complete(row.job_id)


def _place(builder: ChangesBuilder, row: ExecutionRow, result: ResultRef | None) -> Place | None:
    """Return where a result is until it is final; None for one that is so by this commit.

    What stays on its node, and cannot win, is removed there: what was told of it is all there is.
    """
    if result is None or (result.inline is not None and not result.left_unseen):
        return None
    may = result.inline is None or builder.may_win(row)
    return builder.places.get((row.node_id, row.id)) if may else None


def _while_staged(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved) -> None:
    """A fact about an execution whose end is known: it can only be a repeat, whatever it says."""
    if fact.revision > row.seen_revision:
        builder.put(row.evolve(seen_revision=fact.revision))


def _after_the_end(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved) -> None:
    """A fact about an execution that has ended: a repeat says nothing; another end is history, and frees its room."""
    ends = fact.state.is_terminal
    new = replace(
        row,
        seen_revision=max(row.seen_revision, fact.revision, row.revision if ends else 0),
        holds=row.holds and not ends,
        observed=fact.state if ends else row.observed,
    )
    if new == row:
        return
    builder.put(replace(new, changes=row.changes + 1), _told(fact) if ends else None)
    try:
        advance(row.state, fact.state)
    except InvalidTransition:
        if fact.state is row.observed:
            return  # said before: a fact that comes twice is told once
        if fact.result is not None and not row.observed.is_terminal:  # one result an execution: that of its first end
            result = never_shown(fact.result) if fact.state is ExecutionState.COMPLETED else fact.result
            builder.result(row, result, committed=False)
        message = texts.LATE_TERMINAL.format(state=fact.state.value.capitalize(), held=row.state.value)
        if row.revoked and fact.state is ExecutionState.STOPPED:
            message = texts.STOPPED
        builder.history(
            row.job_id, texts.EXECUTION, message, row=row, details={texts.LATE_KEY: "true"} | _problem(fact)
        )
        if ends and row.revoked and fact.state is not ExecutionState.STOPPED:
            _audit_late(builder, row, fact)


def _audit_late(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved) -> None:
    """Keep aside that an execution went on to an end of its own after it was revoked: recorded, never counted."""
    details = {"job_id": row.job_id, "state": fact.state.value, "revoked": row.reason} | _problem(fact)
    if fact.result is not None:
        details["result"] = fact.result.digest
    builder.audit(AuditNew(actor=row.node_id, action=texts.LATE_REPORT, object=row.id, details=details))


# ---------------------------------------------------------------- what is told


def _tell_steps(builder: ChangesBuilder, old: ExecutionRow, new: ExecutionRow, fact: ExecutionObserved) -> None:
    running = ORDER[ExecutionState.RUNNING]
    ran = _step(fact, ExecutionState.RUNNING)
    told = old.observed is not ExecutionState.UNKNOWN and ORDER[old.observed] >= running
    if not told and (ran is not None or fact.state in {ExecutionState.RUNNING, ExecutionState.PUBLISHING}):
        builder.history(new.job_id, texts.EXECUTION, texts.RUNNING, row=new, node_time=None if ran is None else ran.at)
    if new.starts > max(old.starts, 1):
        builder.history(new.job_id, texts.RESTART, texts.RESTARTED.format(start=new.starts), row=new)


def _tell_end(builder: ChangesBuilder, row: ExecutionRow, fact: ExecutionObserved, *, revoked: bool, won: bool) -> None:
    last = _step(fact, fact.state)
    topic, details = texts.EXECUTION, dict[str, str]()
    if revoked and fact.state is not ExecutionState.STOPPED:
        message = texts.LATE.format(state=fact.state.value.capitalize())
        details = {texts.LATE_KEY: "true"} | _problem(fact)
    elif fact.state is ExecutionState.COMPLETED:
        message = texts.COMPLETED_SUCCESSFULLY if won else texts.NOT_COUNTED
        details = {} if won else {texts.LATE_KEY: "true"}
    elif fact.state is ExecutionState.STOPPED:
        message = texts.STOPPED
    else:
        message = row.message
        details = {texts.IS_ERROR: "true"} | _problem(fact)
        if fact.problem is not None and fact.problem.code in texts.TIMEOUT_CODES:
            topic, details = texts.EXEC_TIMEOUT, details | {texts.HINT: texts.TIMED_OUT_HINT}
    builder.history(
        row.job_id,
        topic,
        message,
        row=row,
        details=details,
        node_time=None if last is None else last.at,
    )


def _message(fact: ExecutionObserved) -> str:
    if fact.state is ExecutionState.COMPLETED:
        return ""
    if fact.problem is None:
        return fact.state.value.capitalize()
    return fact.problem.message or fact.problem.code


def _problem(fact: ExecutionObserved) -> dict[str, str]:
    return {} if fact.problem is None else {texts.ERROR_CODE: fact.problem.code}


def _step(fact: ExecutionObserved, state: ExecutionState) -> Step | None:
    return next((step for step in fact.steps if step.state is state), None)


def _told(fact: ExecutionObserved) -> Observed:
    return Observed(
        steps=fact.steps,
        exit_code=fact.exit_code,
        problem=fact.problem,
        output=fact.output,
        image_digest=fact.image_digest,
        ports=fact.ports,
        data=fact.data,
    )
