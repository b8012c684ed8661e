"""An execution's output for one reader: from its node while it runs, from its result once it has ended.

Where neither can be had, it is what the node had sent while it ran, and the reader is told that.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from skrei_domain import subjects
from skrei_domain.envelope import unwrap, wrap
from skrei_domain.errors import NotFound, SkreiError, Unavailable
from skrei_domain.lifecycle import Connection, ExecutionState
from skrei_domain.messages import LogChunk, LogRequest
from skrei_kit.bus import BusUnavailable, Message
from skrei_orchestrator_api import kept_output
from skrei_orchestrator_api.deps import Deps
from skrei_orchestrator_api.log_pieces import Piece, capped, last_lines
from skrei_orchestrator_api.views import ExecutionView, JobView

QUEUE_CHUNKS = 16
PENDING_BYTES = 2 * 1024 * 1024
"""Held for a reader that is slower than its node; beyond it output is lost, and the reader is told."""
LOOKED_AT = 100
"""Executions that are looked at for the one whose output is meant: the newest."""
LOOK_SECONDS = 0.25
"""How often a reader that came before the output looks whether it has begun."""
QUICK_SECONDS = 1.0
"""How long a node that is held for silent already is waited for: it may be back, and nobody has noticed yet."""
BEGIN_SECONDS = 60.0
"""How long such a reader waits for an execution that nobody has started: then it is told so."""

_NOT_STARTED = frozenset({ExecutionState.PENDING, ExecutionState.OFFERED})
_DISCARDED = frozenset({ExecutionState.FAILED, ExecutionState.STOPPED, ExecutionState.REFUSED, ExecutionState.LOST})


@dataclass(frozen=True, slots=True)
class Selection:
    """Which output is asked for, and whether to wait for more (`follow`) or to skip what was said before (`tail`).

    It is that of the version (0: the current one) unless an execution is named, or `all_versions` are meant; of a task
    and partition where those are named. `lines`: of what was said before only so many lines of each stream.
    """

    job_id: str
    namespace: str = ""
    execution_id: str = ""
    follow: bool = False
    tail: bool = False
    version: int = 0
    all_versions: bool = False
    task: str | None = None
    partition: int | None = None
    lines: int | None = None


class NodeSilent(Unavailable):
    """The node that has the output does not answer."""

    code = "node-silent"


class TransportAway(Unavailable):
    """Nobody can be asked."""

    code = "transport-away"


async def read_logs(deps: Deps, selection: Selection) -> AsyncIterator[Piece]:
    """Yield (stream, text) until the end: stream 1 is stdout, 2 stderr. Raises SkreiError with what went wrong."""
    job = await deps.record.find_job(selection.job_id, selection.namespace, selection.version)
    execution = await _choose(deps, job, selection)
    deadline = time.monotonic() + BEGIN_SECONDS
    while execution.state in _NOT_STARTED:
        if not selection.follow:
            raise Unavailable(f"execution {execution.id} has not started", hint="add --follow to wait for it")
        if time.monotonic() > deadline:
            raise Unavailable(f"execution {execution.id} has not started within {BEGIN_SECONDS:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)
        execution = await _choose(deps, job, selection)
    if not execution.state.is_terminal:
        told = False
        try:
            async for piece in capped(_live(deps, execution, selection)):
                told = True
                yield piece
            return
        except (NodeSilent, TransportAway) as error:
            if told or selection.tail:
                raise
            async for piece in _cut(_sent_instead(deps, execution, error), selection):
                yield piece
            return
        except _NotThere as error:
            # It may have ended and been forgotten between our look and the question.
            execution = await deps.record.find_execution(job.id, execution.id)
            if told or not execution.state.is_terminal:
                raise Unavailable(error.message) from error
    if selection.tail and not selection.follow:
        return
    async for piece in _cut(kept_output.ended(deps, execution), selection):
        yield piece


def _cut(pieces: AsyncIterator[Piece], selection: Selection) -> AsyncIterator[Piece]:
    return pieces if selection.lines is None else last_lines(pieces, selection.lines)


class _NotThere(SkreiError):
    """The node answered that it has no such output."""


async def _choose(deps: Deps, job: JobView, asked: Selection) -> ExecutionView:
    """Return the execution that is named, else the one that changed last; those that failed come after the others."""
    if asked.execution_id:
        return await deps.record.find_execution(job.id, asked.execution_id)
    version = None if asked.all_versions else job.version
    found = await deps.record.executions(
        job.id,
        order="modified_at",
        reverse=True,
        limit=LOOKED_AT,
        version=version,
        task=asked.task,
        partition=asked.partition,
    )
    if not found and (asked.task is not None or asked.partition is not None):
        raise _no_such_unit(job, asked)
    if not found:
        if job.is_terminal:
            said = f": {job.message}" if job.message else ""
            raise NotFound(f"no execution of job {job.id} ever ran; it is {job.state.value}{said}")
        raise NotFound(f"no executions of job {job.id} yet", hint="see `skrei job describe` for what it waits for")
    return next((execution for execution in found if execution.state not in _DISCARDED), found[0])


def _no_such_unit(job: JobView, asked: Selection) -> NotFound:
    what = [f"task {asked.task!r}"] if asked.task is not None else []
    what += [f"partition {asked.partition}"] if asked.partition is not None else []
    return NotFound(
        f"no execution of {' and '.join(what)} of job {job.id}",
        hint="`skrei job executions` lists what there is, with tasks and partitions",
    )


async def _sent_instead(deps: Deps, execution: ExecutionView, why: Unavailable) -> AsyncIterator[tuple[int, str]]:
    """Yield what a node that cannot be asked had sent before; raises `why` where that was nothing."""
    try:
        async for piece in kept_output.sent(deps, execution):
            yield piece
    except kept_output.NotAll:
        raise
    except (NotFound, Unavailable):
        raise why from None


async def _live(deps: Deps, execution: ExecutionView, selection: Selection) -> AsyncIterator[Piece]:
    """Yield what the node streams until its end chunk."""
    request = LogRequest(
        request_id=str(uuid.uuid4()),
        execution_id=execution.id,
        follow=selection.follow,
        tail=selection.tail,
        lines=selection.lines,
    )
    silence = deps.settings.log_silence_seconds
    if execution.state is ExecutionState.UNKNOWN:
        silence = min(silence, QUICK_SECONDS)
    async with _listening(deps, execution.node_id, request) as queue:
        expected = 1
        while True:
            try:
                async with asyncio.timeout(silence):
                    chunk = await queue.get()
            except TimeoutError:
                if await _still_runs(deps, execution, request, silence, answered=expected > 1):
                    continue
                if expected == 1:
                    raise _NotThere(f"execution {execution.id} has ended") from None
                return
            if chunk.sequence != expected:
                raise Unavailable("some output was lost on its way: the reader or the node was too slow")
            expected += 1
            if chunk.problem is not None:
                raise _NotThere(chunk.problem.message)
            if chunk.data:
                yield chunk.stream, chunk.data
            if chunk.end:
                return


async def _still_runs(
    deps: Deps, execution: ExecutionView, request: LogRequest, silence: float, *, answered: bool
) -> bool:
    """Look whether more can come after a silence: a quiet program says nothing, a node that is away never will.

    An unanswered question is asked again: it may have been lost. Raises NodeSilent.
    """
    current = await deps.record.find_execution(execution.job_id, execution.id)
    if current.state.is_terminal:
        return False
    node = await deps.record.find_node(execution.node_id)
    away = current.state is ExecutionState.UNKNOWN or node.connection is not Connection.CONNECTED
    if away or not (answered or request.follow):
        raise NodeSilent(
            f"node {execution.node_id} does not answer ({silence:g} s)",
            hint="the output is kept: ask again once the node is back",
        )
    if not answered:
        await _ask(deps, execution.node_id, request)
    return True


@asynccontextmanager
async def _listening(deps: Deps, node_id: str, request: LogRequest) -> AsyncIterator["asyncio.Queue[LogChunk]"]:
    """Subscribe, ask the node, and tell it when the reader has gone."""
    if not deps.bus.connected:
        raise TransportAway("the transport is away: live logs cannot be read now", hint="try again in a moment")
    queue: asyncio.Queue[LogChunk] = asyncio.Queue(QUEUE_CHUNKS)

    async def take(message: Message) -> None:
        await queue.put(unwrap(LogChunk, message.data))

    subscription = await deps.bus.subscribe(
        subjects.log(node_id, request.request_id), take, pending_bytes=PENDING_BYTES
    )
    try:
        await _ask(deps, node_id, request)
        yield queue
    finally:
        await deps.bus.unsubscribe(subscription)
        with contextlib.suppress(BusUnavailable):  # the node ends a stream that nobody reads by itself
            await _ask(deps, node_id, request.model_copy(update={"cancel": True}))


async def _ask(deps: Deps, node_id: str, request: LogRequest) -> None:
    payload = wrap(request, type_=request.type, source="skrei/api", id_=request.request_id)
    await deps.bus.publish(subjects.rpc(node_id), payload)
