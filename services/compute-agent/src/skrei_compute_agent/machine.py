"""The life of a node's executions, pure: events in, rows and instructions out. No I/O, no clock, no plugin.

`NodeSide` decides what the journal remembers and what the leader is told; this decides what the node does.
A turn's rows are durable before its instructions are carried out, so a crash between any two events loses nothing
that was promised.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar, TypeAlias

from skrei_compute_agent.events import (
    Adopt,
    ArmTimer,
    Begun,
    Commanded,
    Confirmed,
    DisarmTimers,
    Door,
    DropFiles,
    Event,
    ExecutionEvent,
    Exited,
    Fingerprinted,
    Halted,
    HelloDue,
    Instruction,
    Kill,
    Moment,
    NotAdopted,
    Noted,
    Publish,
    Refused,
    Release,
    RepeatAt,
    RepeatDue,
    Replied,
    RunEngine,
    SendHello,
    Stage,
    Staged,
    StageFailed,
    TidyDue,
    TidyMore,
    Timer,
    TimerFired,
    Turn,
    Upload,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.gpu_ledger import GpuLedger
from skrei_compute_agent.held import Held, IllegalEvent, Phase
from skrei_compute_agent.task import InvalidTask, read_task, stages_at_once, why_not
from skrei_compute_agent.verdicts import (
    REFUSED,
    after_upload,
    expiry,
    remaining,
    start_again,
    steps_so_far,
    told_steps,
    verdict,
    without_upload,
)
from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import ExecutionObserved, Heartbeat, Problem, RunOrder, Step
from skrei_domain.node import Gpu, NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.spec import TaskSpec
from skrei_domain.sync import (
    Act,
    Denied,
    Drop,
    Halt,
    JournalRow,
    Known,
    NodeSide,
    Run,
    SayHello,
    Write,
)
from skrei_domain.uploads import Parcel

REPORT_SECONDS = 0.05
"""An execution that ends sooner is reported once: three facts a small job cost a third of the throughput."""
NOTED_FACTS = 64
"""Unconfirmed facts beyond which no progress is noted: a node that is cut off does not fill its journal with it."""
JOURNAL_FACTS = 10_000
"""Unconfirmed facts beyond which nothing new is begun: with inline results of a few KiB some tens of megabytes of
memory and journal. The first link of back-pressure; what runs already is still told."""

KEEP_SECONDS = 30.0
"""How long a failed or stopped execution may go on uploading what never counts: its room is held until then."""
TOO_LARGE = "result-too-large"
INLINE_BYTES = 64 * 1024  # what engines pack inline: see `skrei_plugin_api.engine`

_Handler: TypeAlias = "Callable[[AgentMachine, Held, ExecutionEvent], None]"


class AgentMachine:
    """One node. `handle` takes an event and the time, and returns the turn it comes to.

    `adopting` names the engines (in lower case) whose programs outlive the agent.
    """

    def __init__(self, node: NodeSide, info: NodeInfo, *, adopting: frozenset[str] = frozenset()) -> None:
        self.node = node
        self.info = info
        self._adopting = adopting
        self._held: dict[str, Held] = {}
        self._reserved = Resources()
        self._gpus = GpuLedger(info.gpus)
        self._rows: list[JournalRow] = []
        self._out: list[Instruction] = []
        self._repeat_at: float | None = None
        self._moment: Moment
        self._door: str | None = None  # the publisher's; empty: there is none; None: no hello was answered yet

    # ------------------------------------------------------------ reading

    @property
    def greeted(self) -> bool:
        """Whether commands are obeyed and facts sent: the last hello has been answered."""
        return self.node.greeted

    @property
    def reserved(self) -> Resources:
        """What live executions hold of the capacity."""
        return self._reserved

    def held(self, execution_id: str) -> Held | None:
        """Return an execution that this process looks after, ended ones until they are confirmed."""
        return self._held.get(execution_id)

    def heartbeat(self, *, leaving: bool = False) -> Heartbeat:
        """Return a heartbeat as of the last fact."""
        return self.node.heartbeat(leaving=leaving)

    def validate(self) -> None:
        """Raise AssertionError where what is held, reserved and journaled do not agree."""
        self.node.memory.known.check()
        live = {known.execution_id for known in self.node.unfinished()}
        needs = Resources()
        for execution_id, held in self._held.items():
            story = "\n  ".join((execution_id, *held.story))
            if held.phase is Phase.ENDED:
                assert execution_id not in live, f"ended, yet the journal does not say so: {story}"
                continue
            if held.ended is None:
                needs += held.needs
            assert execution_id in live or held.dropped, f"runs, yet the journal has it ended: {story}"
            if held.phase is Phase.RUNNING:
                assert held.steps[-1].start == self._starts(execution_id), f"another start runs: {story}"
        assert needs == self._reserved, f"{self._reserved} are reserved, {needs} are held"
        assert needs.gpu == sum(map(len, self._gpus.held.values())), (
            "GPUs are reserved and not held, or held for nobody"
        )
        self._gpus.check()
        countable = needs.model_copy(update={"gpu": 0})  # a device that went while it was held is still held
        assert countable.fits(self.info.capacity), f"{needs} are reserved of {self.info.capacity}"
        assert live <= self._held.keys(), f"nobody looks after {live - self._held.keys()}"
        assert len(self._rows) + len(self._out) == 0, "a turn was left half handed out"

    # ------------------------------------------------------------ events

    def handle(self, event: Event, moment: Moment) -> Turn:
        """Return what `event` comes to. Raises IllegalEvent, with the execution's story, for one that cannot be."""
        self._moment = moment
        match event:
            case Commanded(batch):
                self._do(self.node.on_commands(batch, moment.wall))
            case Confirmed(confirm):
                self._do(self.node.on_confirm(confirm, moment.wall))
            case Staged() | StageFailed() | Exited() | NotAdopted() | Uploaded() | UploadFailed() | TimerFired():
                self._execution_event(event)
            case Noted(execution_id, text):
                self._note(execution_id, text)
            case Replied(reply):
                self._do(self.node.on_reply(reply, moment.wall))
                if reply.refusal is None and self.node.greeted and reply.publisher_url != self._door:
                    self._door = reply.publisher_url
                    self._out.append(Door(self._door))
            case HelloDue():
                self._say_hello()
            case Fingerprinted(info):
                if info != self.info:
                    self.info = info
                    self._gpus.update(info.gpus)
                    self._do(self.node.changed(info))
            case Begun():
                self._begin()
            case TidyDue():
                self._tidy()
            case RepeatDue():
                self._repeat_at = None
        self._publish()
        turn = Turn(tuple(self._rows), tuple(self._out))
        self._rows, self._out = [], []
        return turn

    def _begin(self) -> None:
        """Take up what the journal left unfinished; first what still runs, since that has its room already."""
        steps = told_steps(self.node.memory.outbox)
        gone = [known for known in self.node.unfinished() if not self._adopt(known, steps.get(known.execution_id, ()))]
        # Then those whose GPUs are here: nobody else may be given them.
        for known in sorted(gone, key=lambda known: not self._gpus.has(known.devices)):
            self._take_up(known, steps.get(known.execution_id, ()))

    def _execution_event(self, event: ExecutionEvent) -> None:
        held = self._held.get(event.execution_id)
        if held is None:
            if isinstance(event, TimerFired):
                return  # it has ended and is confirmed
            if isinstance(event, Halted):
                self._conclude(event.execution_id, ExecutionState.STOPPED)
                return
            raise IllegalEvent(f"{type(event).__name__} for {event.execution_id}, which this process does not hold")
        handler = self._TABLE.get((held.phase, type(event)))
        if handler is None:
            raise IllegalEvent(f"{type(event).__name__} while {held.phase.value}", story=held.story)
        held.tell(self._moment.wall, event)
        handler(self, held, event)

    # ------------------------------------------------------------ acts of the protocol

    def _do(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case Write(rows):
                    self._rows.extend(rows)
                case Run(execution_id, order):
                    self._admit(execution_id, order)
                case Halt(execution_id, reason):
                    self._execution_event(Halted(execution_id, reason))
                case Drop(execution_id):
                    self._drop(execution_id)
                case SayHello():
                    self._say_hello()
                case Denied(problem):
                    self._out.append(Refused(problem))

    def _tidy(self) -> None:
        acts = self.node.prune(self._moment.wall)
        self._do(acts)
        if acts:
            self._out.append(TidyMore())

    def _say_hello(self) -> None:
        self._out.append(SendHello(tuple(self.node.hello(self.info))))

    def _publish(self) -> None:
        batches = self.node.batches(self._moment.seconds)
        if batches:
            self._out.append(Publish(tuple(batches)))
        repeat_at = self.node.next_repeat()
        if repeat_at is not None and repeat_at != self._repeat_at:
            self._repeat_at = repeat_at
            self._out.append(RepeatAt(repeat_at))

    # ------------------------------------------------------------ beginnings

    def _admit(self, execution_id: str, order: RunOrder, steps: tuple[Step, ...] = ()) -> None:
        """Take an execution, or say why not: a refusal is a fact, and so is a task that cannot be read."""
        try:
            task, needs = read_task(order.task_json)
        except InvalidTask as error:
            self._conclude(execution_id, ExecutionState.FAILED, Problem(code=error.code, message=error.message))
            return
        if reason := self._refusal(task, needs):
            self._conclude(execution_id, ExecutionState.REFUSED, Problem(code=REFUSED, message=reason))
            return
        engine = self._keeper(task)
        held = Held(execution_id, order, needs, started_early=stages_at_once(task), engine=engine, steps=steps)
        self._held[execution_id] = held
        self._reserved += needs
        gpus = self._give_gpus(execution_id, needs.gpu)
        held.reach(ExecutionState.STAGING, self._moment.wall, self._starts(execution_id))
        if held.started_early:
            self._do(self.node.started(execution_id, self._moment.wall))
        self._out.append(Stage(execution_id, order, task, needs, gpus))
        self._out.append(ArmTimer(execution_id, Timer.REPORT, REPORT_SECONDS))
        if order.total_timeout_seconds is not None:
            self._out.append(ArmTimer(execution_id, Timer.TOTAL, order.total_timeout_seconds))

    def _give_gpus(self, execution_id: str, count: int) -> tuple[Gpu, ...]:
        """Give an execution its devices, those that it had before where they are free, and note them."""
        known = self.node.known(execution_id)
        gpus = self._gpus.take(execution_id, count, wanted=known.devices if known is not None else ())
        self._do(self.node.assigned(execution_id, tuple(gpu.key for gpu in gpus), self._moment.wall))
        return gpus

    def _refusal(self, task: TaskSpec, needs: Resources) -> str:
        """Return why this node does not take a task now; empty when it does."""
        unconfirmed = len(self.node.memory.outbox)
        if unconfirmed >= JOURNAL_FACTS:
            return f"this node's journal is full: {unconfirmed} facts wait to be confirmed"
        free = self.info.capacity - self._reserved
        return why_not(task, needs, self.info, free.model_copy(update={"gpu": len(self._gpus.free)}))

    def _adopt(self, known: Known, steps: tuple[Step, ...]) -> bool:
        """Go on after a restart of the agent with a program that may have outlived it, or has ended before; whether
        this is such a one.
        """
        order, now = known.order, self._moment.wall
        if known.ended is not None and known.want is not Want.STOP:
            self._upload_again(known, known.ended)
            return True
        if order is None or not known.starts or known.ended is not None:
            return False
        try:
            task, needs = read_task(order.task_json)
        except InvalidTask:
            return False
        engine = self._keeper(task)
        if not engine:
            return False
        if known.want is Want.STOP:
            self._conclude(known.execution_id, ExecutionState.STOPPED, steps=steps)
            self._out.append(Release(known.execution_id, engine))
            return True
        held = Held(known.execution_id, order, needs, started_early=True, engine=engine, phase=Phase.ADOPTING)
        held.steps = steps_so_far(known, steps, now)
        self._held[known.execution_id] = held
        self._reserved += needs
        self._gpus.keep(known.execution_id, known.devices)
        self._out.append(Adopt(known.execution_id, known.starts, order, task, needs))
        self._out.append(ArmTimer(known.execution_id, Timer.REPORT, REPORT_SECONDS))
        for timer, limit in (
            (Timer.TOTAL, order.total_timeout_seconds),
            (Timer.EXECUTION, order.execution_timeout_seconds),
        ):
            if (seconds := remaining(limit, known, now)) is not None:
                self._out.append(ArmTimer(known.execution_id, timer, seconds))
        return True

    def _keeper(self, task: TaskSpec) -> str:
        """Return the task's engine if its programs outlive the agent, else nothing."""
        engine = task.engine.type.casefold()
        return engine if engine in self._adopting else ""

    def _take_up(self, known: Known, steps: tuple[Step, ...]) -> None:
        """Go on after a restart of the agent: whatever ran in a child of the last process has died with it."""
        if known.want is Want.STOP:
            self._conclude(known.execution_id, ExecutionState.STOPPED, steps=steps)
            return
        again = start_again(known, self._moment.wall)
        if isinstance(again, Problem):
            self._conclude(known.execution_id, ExecutionState.FAILED, again, steps)
        else:
            self._admit(known.execution_id, again, steps)

    def _upload_again(self, known: Known, ended: ExecutionObserved) -> None:
        """Go on with an upload: the program has ended, and is not run again."""
        assert known.order is not None, "what is live has its order"
        order = known.order
        held = Held(known.execution_id, order, Resources(), phase=Phase.PUBLISHING, ended=ended, steps=ended.steps)
        self._held[known.execution_id] = held
        if (seconds := remaining(order.total_timeout_seconds, known, self._moment.wall)) is not None:
            self._out.append(ArmTimer(known.execution_id, Timer.TOTAL, seconds))
        self._upload(held, ended)

    # ------------------------------------------------------------ transitions

    def _run(self, held: Held, event: ExecutionEvent) -> None:
        if not held.started_early:
            self._do(self.node.started(held.execution_id, self._moment.wall))
        start = self._starts(held.execution_id)
        held.phase = Phase.RUNNING
        held.reach(ExecutionState.RUNNING, self._moment.wall, start)
        self._out.append(RunEngine(held.execution_id, start))
        if held.order.execution_timeout_seconds is not None:
            self._out.append(ArmTimer(held.execution_id, Timer.EXECUTION, held.order.execution_timeout_seconds))
        if held.worth_telling:
            self._report(held)

    def _note(self, execution_id: str, text: str) -> None:
        """Tell how far a preparation is; nothing hangs on it, so it gives way to all else."""
        held = self._held.get(execution_id)
        if held is None or held.phase is not Phase.STAGING or held.note == text:
            return
        held.note = text
        if len(self.node.memory.outbox) < NOTED_FACTS:
            self._report(held)

    def _not_adopted(self, held: Held, event: ExecutionEvent) -> None:
        """Nothing of it runs any more: start it again if that is allowed."""
        del self._held[held.execution_id]
        self._reserved -= held.needs
        self._gpus.give(held.execution_id)
        self._out.append(DisarmTimers(held.execution_id))
        known = self.node.known(held.execution_id)
        assert known is not None
        self._take_up(known, held.steps)

    def _ring(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, TimerFired)
        if held.phase is Phase.PUBLISHING and event.timer is not Timer.TOTAL:
            if event.timer is Timer.UPLOAD:
                self._out.append(Kill(held.execution_id, "what can never count is not uploaded for longer"))
            return
        if event.timer is Timer.REPORT:
            held.worth_telling = True
            self._report(held)
            return
        held.phase = Phase.EXPIRING
        held.problem = expiry(held.order, event.timer)
        self._out.append(Kill(held.execution_id, held.problem.message))

    def _halt(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, Halted)
        held.phase = Phase.STOPPING
        self._out.append(Kill(held.execution_id, event.reason or "stopped"))

    def _end(self, held: Held, event: ExecutionEvent) -> None:
        """What was staging or running is over: tell the whole of it, once."""
        ended = event if isinstance(event, Exited) else Exited(held.execution_id)
        state, problem = verdict(held, event)
        self._reserved -= held.needs
        self._gpus.give(held.execution_id)
        fact = ExecutionObserved(
            execution_id=held.execution_id,
            revision=0,  # NodeSide fills in the journal's
            state=state,
            exit_code=ended.exit_code,
            problem=problem,
            output=ended.output,
            result=ended.result,
            image_digest=ended.image_digest or None,
        )
        if fact.result is None or fact.result.inline is not None:
            self._finish(held, fact)
            return
        held.ended = fact
        if held.dropped or self._door == "" or not held.order.token:
            self._finish(held, without_upload(held, _too_large(fact.result.size)))
        else:
            self._publish_result(held, fact)

    def _publish_result(self, held: Held, fact: ExecutionObserved) -> None:
        """Have what it left uploaded before its end is told; the journal holds the end meanwhile."""
        held.phase = Phase.PUBLISHING
        held.reach(ExecutionState.PUBLISHING, self._moment.wall, self._starts(held.execution_id))
        held.ended = fact.model_copy(update={"steps": held.steps})
        self._do(self.node.withhold(held.ended, self._moment.wall))
        self._release(held)
        self._upload(held, held.ended)

    def _upload(self, held: Held, ended: ExecutionObserved) -> None:
        result = ended.result
        assert result is not None, "there is something to upload"
        parcel = Parcel(execution_id=held.execution_id, digest=result.digest, size=result.size)
        self._out.append(Upload(parcel, held.order.token))
        if ended.state is not ExecutionState.COMPLETED:
            self._out.append(ArmTimer(held.execution_id, Timer.UPLOAD, KEEP_SECONDS))

    def _uploaded(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, Uploaded)
        self._finish(held, after_upload(held, event.receipt))

    def _not_uploaded(self, held: Held, event: ExecutionEvent) -> None:
        assert isinstance(event, UploadFailed)
        self._finish(held, without_upload(held, event.problem))

    def _finish(self, held: Held, fact: ExecutionObserved) -> None:
        """Tell the end of an execution, of which nothing is done here any more."""
        held.phase = Phase.ENDED
        held.reach(fact.state, self._moment.wall, self._starts(held.execution_id))
        self._do(self.node.observe(fact.model_copy(update={"steps": held.steps}), self._moment.wall))
        self._out.append(DisarmTimers(held.execution_id))
        self._release(held)
        if held.dropped:
            self._forget(held.execution_id)

    def _release(self, held: Held) -> None:
        """The end of its program is durable with this turn: what its engine kept of it may go."""
        if held.engine and held.steps[-1].start:
            self._out.append(Release(held.execution_id, held.engine))
            held.engine = ""

    def _nothing(self, held: Held, event: ExecutionEvent) -> None:
        """What came changes nothing: it is on its way to its end, or there."""

    # ------------------------------------------------------------ ends

    def _report(self, held: Held) -> None:
        fact = ExecutionObserved(
            execution_id=held.execution_id,
            revision=0,
            state=held.steps[-1].state,
            steps=held.steps,
            note=held.note or None if held.phase is Phase.STAGING else None,
        )
        self._do(self.node.observe(fact, self._moment.wall))

    def _conclude(
        self,
        execution_id: str,
        state: ExecutionState,
        problem: Problem | None = None,
        steps: tuple[Step, ...] = (),
    ) -> None:
        """End an execution of which nothing runs here."""
        step = Step(state=state, at=self._moment.wall, start=self._starts(execution_id))
        fact = ExecutionObserved(
            execution_id=execution_id, revision=0, state=state, steps=(*steps, step), problem=problem
        )
        self._do(self.node.observe(fact, self._moment.wall))

    def _drop(self, execution_id: str) -> None:
        """Remove what an execution left, when nothing of it runs any more."""
        held = self._held.get(execution_id)
        if held is not None and held.phase is not Phase.ENDED:
            held.dropped = True
        else:
            self._forget(execution_id)

    def _forget(self, execution_id: str) -> None:
        self._held.pop(execution_id, None)
        self._out.append(DropFiles(execution_id))

    def _starts(self, execution_id: str) -> int:
        known = self.node.known(execution_id)
        return known.starts if known is not None else 0

    # ------------------------------------------------------------ the table

    _TABLE: ClassVar[dict[tuple[Phase, type[ExecutionEvent]], _Handler]] = {
        (Phase.STAGING, Staged): _run,
        (Phase.STAGING, StageFailed): _end,
        (Phase.STAGING, TimerFired): _ring,
        (Phase.STAGING, Halted): _halt,
        (Phase.RUNNING, Exited): _end,
        (Phase.RUNNING, TimerFired): _ring,
        (Phase.RUNNING, Halted): _halt,
        (Phase.ADOPTING, Exited): _end,
        (Phase.ADOPTING, NotAdopted): _not_adopted,
        (Phase.ADOPTING, TimerFired): _ring,
        (Phase.ADOPTING, Halted): _halt,
        (Phase.STOPPING, Staged): _end,
        (Phase.STOPPING, StageFailed): _end,
        (Phase.STOPPING, Exited): _end,
        (Phase.STOPPING, NotAdopted): _end,
        (Phase.STOPPING, TimerFired): _nothing,
        (Phase.STOPPING, Halted): _nothing,
        (Phase.EXPIRING, Staged): _end,
        (Phase.EXPIRING, StageFailed): _end,
        (Phase.EXPIRING, Exited): _end,
        (Phase.EXPIRING, NotAdopted): _end,
        (Phase.EXPIRING, TimerFired): _nothing,
        (Phase.EXPIRING, Halted): _halt,
        (Phase.PUBLISHING, Uploaded): _uploaded,
        (Phase.PUBLISHING, UploadFailed): _not_uploaded,
        (Phase.PUBLISHING, TimerFired): _ring,
        (Phase.PUBLISHING, Halted): _halt,
        (Phase.STOPPING, Uploaded): _uploaded,
        (Phase.STOPPING, UploadFailed): _not_uploaded,
        (Phase.EXPIRING, Uploaded): _uploaded,
        (Phase.EXPIRING, UploadFailed): _not_uploaded,
        (Phase.ENDED, TimerFired): _nothing,
    }


def _too_large(size: int) -> Problem:
    return Problem(
        code=TOO_LARGE,
        message=(
            f"the result is too large: packed (stdout, stderr, result paths) it has {size} bytes; {INLINE_BYTES} may "
            "travel with the report, and this control plane has no publisher that takes uploads. Write less, or read "
            "the output with `skrei job logs --follow` while it runs"
        ),
    )
