"""Instruction in, asyncio task, event out: nothing here touches the machine, and no task is ever lost."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from skrei_compute_agent.events import (
    Adopt,
    Answer,
    ArmTimer,
    ClosePorts,
    DisarmTimers,
    Door,
    DropFiles,
    Event,
    Exited,
    Kill,
    NotAdopted,
    Noted,
    Release,
    RunEngine,
    Stage,
    Staged,
    StageFailed,
    Timer,
    TimerFired,
    Upload,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.notes import Notes
from skrei_compute_agent.verdicts import INTERRUPTED
from skrei_domain.errors import SkreiError
from skrei_domain.messages import Problem
from skrei_kit.observability import get_logger
from skrei_plugin_api.engine import Tell

log = get_logger()

Doing: TypeAlias = (
    Stage | RunEngine | Adopt | Release | Upload | Door | Kill | ArmTimer | DisarmTimers | ClosePorts | DropFiles
)
"""What is done for executions; all else is the link's."""

KILLED = Problem(code="killed", message="ended before it was done")


class Work(Protocol):
    """What is done for executions: the part that touches plugins, disk and network."""

    async def stage(self, wanted: Stage, tell: Tell) -> Staged:
        """Prepare an execution, and say how far that is. Raises SkreiError where it cannot be."""

    async def run(self, execution_id: str, start: int) -> Exited:
        """Run a staged execution to its end. Cancelled: end it, then return or raise."""

    async def adopt(self, wanted: Adopt) -> Exited | NotAdopted:
        """See a start to its end that an earlier process began; NotAdopted when nothing is there of it."""

    def leave(self) -> None:
        """The agent ends: what can live on without it does, although its task is cancelled."""

    def release(self, execution_id: str, engine: str) -> None:
        """Remove what an engine kept of an execution, without waiting for it."""

    async def upload(self, wanted: Upload, tell: Tell) -> Uploaded:
        """Bring what an execution left to the publisher, or to where it stays, and say what that waits for.

        Raises SkreiError where it cannot be.
        """

    def door(self, url: str) -> None:
        """Say where the publisher's door is; empty: there is none."""

    def close_ports(self, execution_id: str) -> None:
        """Let others have an execution's ports."""

    def drop(self, execution_id: str) -> None:
        """Remove what an execution left."""


class Listener(Protocol):
    """Who wants to know of starts; it never waits."""

    def staged(self, wanted: Stage, answer: Staged) -> None:
        """An execution is staged."""

    def begun(self, execution_id: str, start: int) -> None:
        """A staged execution is about to run."""

    def adopted(self, wanted: Adopt) -> None:
        """A start that an earlier process began is about to be taken up."""

    def ended(self, execution_id: str, answer: "Answer | None") -> None:
        """A start has ended; None where it ended with an error."""

    def dropped(self, execution_id: str) -> None:
        """What an execution left is about to go."""


class Together:
    """Several listeners, told in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def staged(self, wanted: Stage, answer: Staged) -> None:
        """Tell them."""
        for each in self._listeners:
            each.staged(wanted, answer)

    def begun(self, execution_id: str, start: int) -> None:
        """Tell them."""
        for each in self._listeners:
            each.begun(execution_id, start)

    def adopted(self, wanted: Adopt) -> None:
        """Tell them."""
        for each in self._listeners:
            each.adopted(wanted)

    def ended(self, execution_id: str, answer: "Answer | None") -> None:
        """Tell them."""
        for each in self._listeners:
            each.ended(execution_id, answer)

    def dropped(self, execution_id: str) -> None:
        """Tell them."""
        for each in self._listeners:
            each.dropped(execution_id)


class Runner:
    """Carries out what is about one execution; Stage, RunEngine, Adopt and Upload are each answered by one event."""

    def __init__(
        self,
        work: Work,
        post: Callable[[Event], None],
        fail: Callable[[BaseException], None],
        listener: Listener | None = None,
    ) -> None:
        self._work = work
        self._listener = listener or Together()
        self._post = post
        self._fail = fail
        self._tasks: dict[str, asyncio.Task[Answer]] = {}
        self._timers: dict[tuple[str, Timer], asyncio.TimerHandle] = {}

    def carry_out(self, instruction: Doing) -> None:
        """Begin what is asked; never waits."""
        execution_id = "" if isinstance(instruction, Door) else instruction.execution_id
        log.debug("instruction", kind=type(instruction).__name__, execution_id=execution_id)
        match instruction:
            case Door(url):
                self._work.door(url)
            case Upload():
                self._begin(execution_id, self._upload(instruction), self._not_uploaded)
            case Stage(execution_id):
                self._begin(execution_id, self._stage(instruction), self._not_staged)
            case RunEngine(execution_id, start):
                self._begin(execution_id, self._run(execution_id, start), self._not_run)
            case Adopt(execution_id):
                self._begin(execution_id, self._adopt(instruction), self._not_run)
            case Release(execution_id, engine):
                self._work.release(execution_id, engine)
            case Kill(execution_id, reason):
                if (task := self._tasks.get(execution_id)) is not None:
                    task.cancel(reason)
            case ArmTimer(execution_id, timer, seconds):
                loop = asyncio.get_running_loop()
                self._timers[execution_id, timer] = loop.call_later(seconds, self._ring, execution_id, timer)
            case DisarmTimers(execution_id):
                self._disarm(execution_id)
            case ClosePorts(execution_id):
                self._work.close_ports(execution_id)
            case DropFiles(execution_id):
                self._listener.dropped(execution_id)
                self._work.drop(execution_id)

    @property
    def busy(self) -> int:
        """How many executions are being staged or run."""
        return len(self._tasks)

    async def close(self) -> None:
        """End everything that runs (or leave it, where it lives on), without events: the journal says how to go on."""
        self._work.leave()
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel("the agent ends")
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------ tasks

    def _begin(
        self,
        execution_id: str,
        work: Coroutine[Any, Any, Answer],
        otherwise: Callable[[str, Problem, bool], Answer],
    ) -> None:
        if execution_id in self._tasks:
            work.close()
            self._fail(RuntimeError(f"two tasks for {execution_id}"))
            return
        telling = self._tell(execution_id, work)
        task = asyncio.get_running_loop().create_task(telling, name=f"execution {execution_id}")
        self._tasks[execution_id] = task

        def done(done: "asyncio.Task[Answer]") -> None:
            work.close()  # it has not begun where its task was cancelled at once
            self._done(execution_id, done, otherwise)

        task.add_done_callback(done)

    async def _tell(self, execution_id: str, work: Coroutine[Any, Any, Answer]) -> Answer:
        """See work to its end, and tell of a good one at once: `_done` is a turn of the loop later, which a short job
        waits for."""
        answer = await work
        if self._tasks.get(execution_id) is asyncio.current_task():  # else we are closing
            del self._tasks[execution_id]
            try:
                self._post(answer)
            except Exception as error:  # noqa: BLE001 - whoever looks after the agent is told, whatever it is
                self._fail(error)
        return answer

    def _done(
        self,
        execution_id: str,
        task: "asyncio.Task[Answer]",
        otherwise: Callable[[str, Problem, bool], Answer],
    ) -> None:
        if self._tasks.get(execution_id) is not task:
            return  # closing, or told already
        del self._tasks[execution_id]
        if task.cancelled():
            self._post(otherwise(execution_id, KILLED, False))
        elif isinstance(error := task.exception(), SkreiError):
            self._post(otherwise(execution_id, Problem(code=str(error.code), message=error.sentence), error.retryable))
        elif isinstance(error, OSError):
            self._post(otherwise(execution_id, Problem(code="node-trouble", message=_trouble(error)), True))
        elif error is not None:
            self._fail(error)

    async def _stage(self, wanted: Stage) -> Answer:
        with Notes(lambda line: self._post(Noted(wanted.execution_id, line))) as notes:
            answer = await self._work.stage(wanted, notes.tell)
        self._listener.staged(wanted, answer)
        return answer

    async def _run(self, execution_id: str, start: int) -> Answer:
        self._listener.begun(execution_id, start)
        return await self._heard(execution_id, self._work.run(execution_id, start))

    async def _adopt(self, wanted: Adopt) -> Answer:
        self._listener.adopted(wanted)
        return await self._heard(wanted.execution_id, self._work.adopt(wanted))

    async def _heard(self, execution_id: str, start: Coroutine[Any, Any, Answer]) -> Answer:
        answer: Answer | None = None
        try:
            answer = await start
            return answer
        finally:
            self._listener.ended(execution_id, answer)

    async def _upload(self, wanted: Upload) -> Answer:
        with Notes(lambda line: self._post(Noted(wanted.execution_id, line))) as notes:
            return await self._work.upload(wanted, notes.tell)

    def _not_uploaded(self, execution_id: str, problem: Problem, passing: bool) -> Answer:
        if passing:
            problem = Problem(code=INTERRUPTED, message=problem.message)
        return UploadFailed(execution_id, problem)

    def _not_staged(self, execution_id: str, problem: Problem, passing: bool) -> Answer:
        return StageFailed(execution_id, problem, passing)

    def _not_run(self, execution_id: str, problem: Problem, passing: bool) -> Answer:
        if passing:
            problem = Problem(code=INTERRUPTED, message=problem.message)
        return Exited(execution_id, problem=problem)

    def _disarm(self, execution_id: str) -> None:
        for timer in Timer:
            if (handle := self._timers.pop((execution_id, timer), None)) is not None:
                handle.cancel()

    def _ring(self, execution_id: str, timer: Timer) -> None:
        self._timers.pop((execution_id, timer), None)
        self._post(TimerFired(execution_id, timer))


def _trouble(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "this node's disk is full: it is tried again, on other nodes where there are some; make room on the disk "
            "of the node's data folder (`df`), or give the node a larger one (--data-dir)"
        )
    return f"this node: {error}"
