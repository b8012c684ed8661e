"""What an execution's end counts as, and whether a new process may start one again: pure rules of the machine."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from skrei_compute_agent.events import ExecutionEvent, Exited, StageFailed, Timer, Uploaded
from skrei_compute_agent.held import Held, Phase
from skrei_domain.durations import duration
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ExecutionObserved, Fact, LeftPart, Problem, ResultRef, RunOrder, Step
from skrei_domain.sync import Known

REFUSED = "refused"
"""The problem code of what this node would not take, or cannot do now: the leader places it again."""
TOLD_BY_NAME = frozenset(
    {
        "registry-not-found",
        "image-platform",
        "gpu-not-given",
        "network-refused",
        "input-beyond-disk",
        "input-host-unknown",
    }
)
"""Codes of refusals that the leader tells from others: the same node would refuse again."""
INTERRUPTED = "interrupted"
"""The problem code of what ended by no doing of its own: the leader places it again."""
TOO_LARGE = "result-too-large"
PUBLISH_FAILED = "publish-failed"
INLINE_BYTES = 64 * 1024  # what engines pack inline: see `skrei_plugin_api.engine`


def verdict(held: Held, event: ExecutionEvent) -> tuple[ExecutionState, Problem | None]:
    """Return the state that the end of an execution is reported as, and the problem beside it.

    Why it was told to end counts more than how it ended; an exit code, also one that is not 0, is a completion.
    """
    if held.phase is Phase.STOPPING:
        return ExecutionState.STOPPED, None
    if held.phase is Phase.EXPIRING:
        return ExecutionState.FAILED, held.problem
    if isinstance(event, StageFailed) and event.passing:
        code = event.problem.code if event.problem.code in TOLD_BY_NAME else REFUSED
        return ExecutionState.REFUSED, Problem(code=code, message=event.problem.message)
    problem = event.problem if isinstance(event, StageFailed | Exited) else None
    return (ExecutionState.COMPLETED if problem is None else ExecutionState.FAILED), problem


def goes_elsewhere(order: RunOrder, ended: ExecutionObserved) -> bool:
    """Whether what an execution left goes to the destination that its job names, however small it is.

    What can never count (it failed, it was stopped) goes where it would without: it is kept for whoever looks for why.
    """
    to = order.publishing
    return to is not None and ended.state is ExecutionState.COMPLETED and not (to.on_zero and ended.exit_code)


def kept(order: RunOrder, state: ExecutionState, exit_code: int | None) -> bool:
    """Whether what an execution left is kept: what cannot count is not where its job says so."""
    counts = state is ExecutionState.COMPLETED and not (order.drop == "nonzero" and exit_code)
    return order.drop is None or counts


def stays_at(order: RunOrder, ended: ExecutionObserved) -> str | None:
    """Return the folder of this node in which what an execution left stays, if its job wants that.

    What can never count lies beside it, so that another attempt finds the place free.
    """
    to = order.publishing
    return None if to is None or to.place is None else _place(to.place, order, ended)


def left_parts(order: RunOrder, ended: ExecutionObserved) -> tuple[LeftPart, ...]:
    """Return what of a result stays in folders of this node, whatever becomes of the rest."""
    parts = order.publishing.left if order.publishing is not None else ()
    return tuple(LeftPart(paths=each.paths, place=_place(each.place, order, ended)) for each in parts)


def stays(order: RunOrder, ended: ExecutionObserved) -> bool:
    """Whether any of what an execution left stays on this node: it travels with no fact."""
    return stays_at(order, ended) is not None or bool(left_parts(order, ended))


def _place(place: str, order: RunOrder, ended: ExecutionObserved) -> str:
    if goes_elsewhere(order, ended):
        return place
    whose = "" if ended.execution_id in place else f".{ended.execution_id}"
    return f"{place}{whose}.failed"


def expiry(order: RunOrder, timer: Timer) -> Problem:
    """Return the problem of an execution whose time is over."""
    if timer is Timer.EXECUTION:
        limit = duration(timedelta(seconds=order.execution_timeout_seconds or 0))
        message = f"Execution timed out. Execution took longer than {limit}"
        return Problem(code="execution-timeout", message=message)
    return Problem(code="total-timeout", message="Job timed out. Job took longer than its total timeout")


def after_upload(held: Held, uploaded: Uploaded) -> ExecutionObserved:
    """Return how an execution ended whose result the publisher holds, or of which it is told where it stays."""
    ended, left = _overruled(held), uploaded.left
    assert ended.result is not None, "what is uploaded is a result"
    if left is not None:
        gone = held.phase is not Phase.PUBLISHING and goes_elsewhere(held.order, held.ended or ended)
        # What was told to end after its program had can never count: what it was to show is removed.
        nowhere = {"left_at": None, "left_bytes": 0, "left_unseen": False}
        return ended.model_copy(update={"result": left.model_copy(update=nowhere) if gone else left})
    brought = {"receipt": uploaded.receipt, "inline": None}
    return ended.model_copy(update={"result": (uploaded.rest or ended.result).model_copy(update=brought)})


def without_upload(held: Held, problem: Problem) -> ExecutionObserved:
    """Return how an execution ended whose result could not be uploaded: what never counts ends as it did without.

    A small one still rides in the fact of the failure, so that what was said and made can be read; not what was to stay
    on this node.
    """
    ended = _overruled(held)
    small = ended.result is not None and ended.result.inline is not None and not stays(held.order, ended)
    changes: dict[str, object] = {} if small else {"result": None}
    if ended.state is ExecutionState.COMPLETED:
        changes |= {"state": ExecutionState.FAILED, "problem": problem}
    return ended.model_copy(update=changes)


def no_door(result: ResultRef) -> Problem:
    """Return the problem of a result that has to be uploaded, where nobody takes uploads."""
    if result.inline is not None:
        return Problem(code=PUBLISH_FAILED, message="this control plane has no publisher that takes uploads")
    return Problem(
        code=TOO_LARGE,
        message=(
            f"the result is too large: packed (stdout, stderr, result paths) it has {result.size} bytes; "
            f"{INLINE_BYTES} may travel with the report, and this control plane has no publisher that takes uploads. "
            "Write less, or read the output with `skrei job logs --follow` while it runs"
        ),
    )


def _overruled(held: Held) -> ExecutionObserved:
    """Return the end of its program, unless the execution was told to end meanwhile."""
    assert held.ended is not None, "its program has ended"
    if held.phase is Phase.STOPPING:
        return held.ended.model_copy(update={"state": ExecutionState.STOPPED, "problem": None})
    if held.phase is Phase.EXPIRING:
        return held.ended.model_copy(update={"state": ExecutionState.FAILED, "problem": held.problem})
    return held.ended


def start_again(known: Known, now: datetime) -> RunOrder | Problem:
    """Return the order under which a new process takes an execution up, or why it may not."""
    order = known.order
    if order is None or known.starts > order.local_restarts:
        return Problem(
            code=INTERRUPTED,
            message=f"the node's agent ended during start {known.starts}; no further start is allowed on this node",
        )
    return order.model_copy(update={"total_timeout_seconds": remaining(order.total_timeout_seconds, known, now)})


def remaining(seconds: float | None, known: Known, now: datetime) -> float | None:
    """Return what is left of a limit since the execution last changed: by the wall, as this is another process."""
    if seconds is None or known.changed_at is None:
        return seconds
    return max(seconds - max((now - known.changed_at).total_seconds(), 0.0), 0.0)


def steps_so_far(known: Known, steps: tuple[Step, ...], now: datetime) -> tuple[Step, ...]:
    """Return the steps of a start that an earlier process began: those it told, and that it runs."""
    if any(step.state is ExecutionState.RUNNING and step.start == known.starts for step in steps):
        return steps
    return (*steps, Step(state=ExecutionState.RUNNING, at=known.changed_at or now, start=known.starts))


def told_steps(outbox: Mapping[int, Fact]) -> dict[str, tuple[Step, ...]]:
    """Return the steps that an earlier process reported of each execution, as far as the log still has them."""
    facts = (outbox[sequence] for sequence in sorted(outbox))
    return {fact.execution_id: fact.steps for fact in facts if isinstance(fact, ExecutionObserved)}
