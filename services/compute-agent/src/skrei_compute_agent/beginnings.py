"""How executions begin on a node: on a command, or taken up from the journal by a new process. Pure."""

from skrei_compute_agent.events import Adopt, ArmTimer, Release, Stage, Timer, Upload
from skrei_compute_agent.held import Held, Phase
from skrei_compute_agent.restarts import Restarts, pause_at_begin
from skrei_compute_agent.room import Room
from skrei_compute_agent.task import InvalidTask, read_task, stages_at_once
from skrei_compute_agent.turns import TurnDraft
from skrei_compute_agent.verdicts import (
    REFUSED,
    goes_elsewhere,
    left_parts,
    remaining,
    start_again,
    stays_at,
    steps_so_far,
    told_steps,
)
from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import ExecutionObserved, Problem, RunOrder, Step
from skrei_domain.node import Gpu
from skrei_domain.resources import Resources
from skrei_domain.spec import TaskSpec
from skrei_domain.sync import Known
from skrei_domain.uploads import Parcel

REPORT_SECONDS = 0.2
"""An execution that ends sooner is reported once: three facts a small job cost a third of the throughput. No eye sees
it; of a burst that fills a node a quarter lives longer, where two thirds live for more than 0.05 s."""
JOURNAL_FACTS = 10_000
"""Unconfirmed facts beyond which nothing new is begun: with inline results of a few KiB some tens of megabytes of
memory and journal. The first link of back-pressure; what runs already is still told."""
KEEP_SECONDS = 30.0
"""How long a failed or stopped execution may go on uploading what never counts: its room is held until then."""


class Beginnings:
    """Gives executions their room, and the instructions that they begin with."""

    def __init__(self, draft: TurnDraft, room: Room, restarts: Restarts, *, adopting: frozenset[str]) -> None:
        self._draft = draft
        self._restarts = restarts
        self._node = draft.node
        self._room = room
        self._adopting = adopting

    def after_a_restart(self) -> None:
        """Take up what the journal left unfinished; first what still runs, since that has its room already."""
        steps = told_steps(self._node.memory.outbox)
        gone = [known for known in self._node.unfinished() if not self._adopt(known, steps.get(known.execution_id, ()))]
        # Then those whose GPUs are here: nobody else may be given them.
        for known in sorted(gone, key=lambda known: not self._room.gpus.has(known.devices)):
            self.take_up(known, steps.get(known.execution_id, ()))

    def admit(self, execution_id: str, order: RunOrder, steps: tuple[Step, ...] = ()) -> None:
        """Take an execution, or say why not: a refusal is a fact, and so is a task that cannot be read."""
        if (begun := self._hold(execution_id, order, steps)) is None:
            return
        held, task, gpus = begun
        if held.started_early:
            self._draft.started(execution_id)
        self._draft.instruct(Stage(execution_id, order, task, held.needs, gpus))
        self._arm(execution_id, order)

    def _arm(self, execution_id: str, order: RunOrder) -> None:
        """Have it reported once it has lived for a while, and ended when its job's time is over."""
        self._draft.instruct(ArmTimer(execution_id, Timer.REPORT, REPORT_SECONDS))
        if order.total_timeout_seconds is not None:
            self._draft.instruct(ArmTimer(execution_id, Timer.TOTAL, order.total_timeout_seconds))

    def _hold(
        self, execution_id: str, order: RunOrder, steps: tuple[Step, ...]
    ) -> tuple[Held, TaskSpec, tuple[Gpu, ...]] | None:
        """Give an execution its room; None where it has ended instead, which is told."""
        try:
            task, needs = read_task(order.task_json)
        except InvalidTask as error:
            problem = Problem(code=error.code, message=error.message)
            self._draft.conclude(execution_id, ExecutionState.FAILED, problem)
            return None
        if reason := self._refusal(task, needs):
            self._draft.conclude(execution_id, ExecutionState.REFUSED, Problem(code=REFUSED, message=reason))
            return None
        engine = self._keeper(task)
        held = Held(execution_id, order, needs, started_early=stages_at_once(task), engine=engine, steps=steps)
        held.ready = None if task.check is None else False
        self._room.add(held)
        gpus = self._give_gpus(execution_id, needs.gpu)
        self._draft.reach(held, ExecutionState.STAGING)
        return held, task, gpus

    def take_up(self, known: Known, steps: tuple[Step, ...]) -> None:
        """Go on after a restart of the agent: whatever ran in a child of the last process has died with it."""
        if known.want is Want.STOP:
            self._draft.conclude(known.execution_id, ExecutionState.STOPPED, steps=steps)
            return
        again = start_again(known, self._draft.now)
        if isinstance(again, Problem):
            self._draft.conclude(known.execution_id, ExecutionState.FAILED, again, steps)
            return
        falls, pause = pause_at_begin(known, again, self._draft.now)
        if not pause:
            self.admit(known.execution_id, again, steps)
        elif (begun := self._hold(known.execution_id, again, steps)) is not None:
            if known.fell_at is None:
                self._draft.write(self._node.fell(known.execution_id, falls, self._draft.now))
            self._restarts.wait(begun[0], pause)
            self._arm(known.execution_id, again)

    def upload(self, held: Held, ended: ExecutionObserved) -> None:
        """Have what a program left uploaded, or left where it is to stay."""
        result = ended.result
        assert result is not None, "there is something to upload"
        # What can never count goes to Skrei's own store, whatever destination its job names.
        counts = held.order.publishing is None or goes_elsewhere(held.order, ended)
        parcel = Parcel(execution_id=held.execution_id, digest=result.digest, size=result.size, counts=counts)
        place, left = stays_at(held.order, ended), left_parts(held.order, ended)
        self._draft.instruct(Upload(parcel, held.order.token, result.inline, place, left))
        if ended.state is not ExecutionState.COMPLETED:
            self._draft.instruct(ArmTimer(held.execution_id, Timer.UPLOAD, KEEP_SECONDS))

    def _refusal(self, task: TaskSpec, needs: Resources) -> str:
        """Return why this node does not take a task now; empty when it does."""
        unconfirmed = len(self._node.memory.outbox)
        if unconfirmed >= JOURNAL_FACTS:
            return f"this node's journal is full: {unconfirmed} facts wait to be confirmed"
        return self._room.refusal(task, needs)

    def _keeper(self, task: TaskSpec) -> str:
        """Return the task's engine if its programs outlive the agent, else nothing."""
        engine = task.engine.type.casefold()
        return engine if engine in self._adopting else ""

    def _give_gpus(self, execution_id: str, count: int) -> tuple[Gpu, ...]:
        """Give an execution its devices, those that it had before where they are free, and note them."""
        known = self._node.known(execution_id)
        gpus = self._room.gpus.take(execution_id, count, wanted=known.devices if known is not None else ())
        self._draft.write(self._node.assigned(execution_id, tuple(gpu.key for gpu in gpus), self._draft.now))
        return gpus

    def _adopt(self, known: Known, steps: tuple[Step, ...]) -> bool:
        """Go on after a restart of the agent with a program that may have outlived it, or has ended before; whether
        this is such a one.
        """
        order, now = known.order, self._draft.now
        if known.ended is not None and known.want is not Want.STOP:
            self._upload_again(known, known.ended)
            return True
        if order is None or not known.starts or known.ended is not None or known.fell_at is not None:
            return False
        try:
            task, needs = read_task(order.task_json)
        except InvalidTask:
            return False
        engine = self._keeper(task)
        if not engine:
            return False
        if known.want is Want.STOP:
            self._draft.conclude(known.execution_id, ExecutionState.STOPPED, steps=steps)
            self._draft.instruct(Release(known.execution_id, engine))
            return True
        held = Held(known.execution_id, order, needs, started_early=True, engine=engine, phase=Phase.ADOPTING)
        held.steps, held.ports = steps_so_far(known, steps, now), known.ports
        held.ready = None if task.check is None else False
        self._room.add(held)
        self._room.gpus.keep(known.execution_id, known.devices)
        self._draft.instruct(
            Adopt(known.execution_id, known.starts, order, task, needs, known.ports),
            ArmTimer(known.execution_id, Timer.REPORT, REPORT_SECONDS),
        )
        for timer, limit in (
            (Timer.TOTAL, order.total_timeout_seconds),
            (Timer.EXECUTION, order.execution_timeout_seconds),
        ):
            if (seconds := remaining(limit, known, now)) is not None:
                self._draft.instruct(ArmTimer(known.execution_id, timer, seconds))
        return True

    def _upload_again(self, known: Known, ended: ExecutionObserved) -> None:
        """Go on with an upload: the program has ended, and is not run again."""
        assert known.order is not None, "what is live has its order"
        order = known.order
        held = Held(known.execution_id, order, Resources(), phase=Phase.PUBLISHING, ended=ended, steps=ended.steps)
        self._room.add(held)
        if (seconds := remaining(order.total_timeout_seconds, known, self._draft.now)) is not None:
            self._draft.instruct(ArmTimer(known.execution_id, Timer.TOTAL, seconds))
        self.upload(held, ended)
