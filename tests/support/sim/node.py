"""A node: a journal, the real machine of the agent over it, and a shell that carries its instructions out."""

import hashlib
import random
from collections import deque
from collections.abc import Callable
from typing import Protocol

from skrei_compute_agent.events import (
    Answer,
    ArmTimer,
    Begun,
    Checked,
    ClosePorts,
    Commanded,
    Confirmed,
    DisarmTimers,
    Door,
    DropFiles,
    Event,
    Exited,
    Fingerprinted,
    HelloDue,
    Instruction,
    Kill,
    Moment,
    Publish,
    Refused,
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
    TimerFired,
    Turn,
    Upload,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.greeter import AGAIN_MAX_SECONDS, AGAIN_SECONDS, ANSWER_SECONDS, FINAL
from skrei_compute_agent.machine import AgentMachine
from skrei_compute_agent.networks import NetworkPolicy, Networks
from skrei_domain.messages import CommandBatch, Confirm, Heartbeat, Hello, HelloReply, Problem, ResultRef
from skrei_domain.node import NodeInfo
from skrei_domain.spec import TaskSpec
from skrei_domain.sync import JournalRow, Meta, NodeSide, replay
from skrei_domain.uploads import Parcel
from tests.support.builders import a_digest
from tests.support.sim.agenda import Agenda
from tests.support.sim.network import Network
from tests.support.sim.publisher import SimPublisher

HEARTBEAT_SECONDS = 5.0


class ControlPlane(Protocol):
    """Whoever believes to lead."""

    def hello(self, hello: Hello, answer: Callable[[HelloReply], None]) -> None: ...

    def heartbeat(self, beat: Heartbeat) -> None: ...

    def facts_came(self) -> None: ...


class SimNode:
    """A machine that lasts: its journal outlives the processes of the agent."""

    def __init__(
        self, info: NodeInfo, agenda: Agenda, network: Network, rng: random.Random, tell: Callable[[str], None]
    ) -> None:
        self.id = info.node_id
        self.info = info
        self.agenda = agenda
        self.network = network
        self.rng = rng
        self.tell = tell
        self.rows: list[JournalRow] = []
        self.begun: set[tuple[str, int]] = set()  # (execution, start) that this journal has begun
        self.ended: set[str] = set()  # executions whose program has ended, as this journal knows
        self.flaky = 0.0  # how often it refuses what it was given
        self.boots = 0
        self.gone = False  # for good
        self.process: SimProcess | None = None
        self.plane: ControlPlane
        self.publisher: SimPublisher

    def start(self) -> None:
        if self.process is None and not self.gone:
            self.boots += 1
            self.tell(f"{self.id} starts as boot {self.boots}")
            self.process = SimProcess(self, f"{self.id}-boot-{self.boots}")
            self.process.begin()

    def crash(self, *, wipe: bool = False) -> None:
        """End the process at once: of what it was writing, only a beginning is durable."""
        if self.process is not None:
            self.tell(f"{self.id} crashes{', its journal is wiped' if wipe else ''}")
            self.process.die()
            self.process = None
        if wipe:
            self.rows.clear()
            self.begun.clear()
            self.ended.clear()

    def become(self, info: NodeInfo) -> None:
        """Be able to do something else from now on; the process notices with its next fingerprint."""
        self.tell(f"{self.id} has engines {[each.name for each in info.engines]} and labels {info.labels}")
        self.info = info
        if self.process is not None:
            self.process.look()

    def leave(self) -> None:
        """Say goodbye, then end."""
        if self.process is not None:
            self.tell(f"{self.id} leaves")
            self.process.beat(leaving=True)
            self.crash()


class SimProcess:
    """One process of the agent: what `agent.Agent`, `link.Link` and `runner.Runner` are to the real machine."""

    def __init__(self, node: SimNode, boot_id: str) -> None:
        self.node = node
        self.agenda = node.agenda
        self.rng = node.rng
        self.dead = False
        self.machine = AgentMachine(NodeSide(replay(Meta(node.id), node.rows), boot_id), node.info)
        self.working: dict[str, tuple[str, object]] = {}  # execution -> what is done for it, and the token of that
        self._undurable: deque[Turn] = deque()
        self._timers: dict[tuple[str, str], object] = {}
        self._tasks: dict[str, TaskSpec] = {}
        self.networks = Networks(NetworkPolicy(), free=lambda *_: True)
        self._repeat: object = None
        self._hello: object = None
        self._pause = AGAIN_SECONDS
        self._stored: deque[CommandBatch] = deque()

    def begin(self) -> None:
        self.post(Begun())
        self.later(self.rng.uniform(0.01, 0.5), lambda: self.post(HelloDue()))
        self.later(self.rng.uniform(0.1, HEARTBEAT_SECONDS), self._beats)
        self.later(60.0, self._tidy)

    def die(self) -> None:
        self.dead = True
        for _ in range(self.rng.randint(0, len(self._undurable))):
            self.node.rows += self._undurable.popleft().rows

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.agenda.after(seconds, lambda: None if self.dead else act())

    # ------------------------------------------------------------ turns

    def post(self, event: Event) -> None:
        """Hand an event to the machine; its turn is carried out once it is durable, and after those before it."""
        if self.dead:
            return
        turn = self.machine.handle(event, Moment(self.agenda.wall, self.agenda.now))
        self.machine.validate()
        if not turn.rows and not self._undurable:
            self._carry_out(turn)
        elif turn.rows or turn.instructions:
            self._undurable.append(turn)
            self.later(self.rng.uniform(0.0001, 0.01), self._durable)

    def _durable(self) -> None:
        turn = self._undurable.popleft()
        self.node.rows += turn.rows
        self._carry_out(turn)

    def _carry_out(self, turn: Turn) -> None:
        for instruction in turn.instructions:
            self._act(instruction)

    def _act(self, instruction: Instruction) -> None:
        match instruction:
            case Stage():
                self._stage(instruction)
            case RunEngine(execution_id, start):
                self._run(execution_id, start)
            case Upload(parcel):
                self._upload(parcel)
            case Door():
                pass
            case Kill(execution_id):
                self._kill(execution_id)
            case ArmTimer(execution_id, timer, seconds):
                self._timers[execution_id, timer] = token = object()
                self.later(seconds, lambda: self._ring(execution_id, TimerFired(execution_id, timer), token))
            case DisarmTimers(execution_id):
                for key in [key for key in self._timers if key[0] == execution_id]:
                    del self._timers[key]
            case ClosePorts(execution_id):
                self.networks.close(execution_id)
            case DropFiles(execution_id):
                assert execution_id not in self.working, f"{execution_id} lost its files while it ran"
                self._tasks.pop(execution_id, None)
            case Publish(batches):
                for batch in batches:
                    self.node.network.send(self.node.id, lambda batch=batch: self._published(batch))  # type: ignore[misc]
            case RepeatAt(seconds):
                self._repeat = token = object()
                self.later(
                    max(seconds - self.agenda.now, 0.0) + 0.001,  # a timer is late, never early
                    lambda: self.post(RepeatDue()) if self._repeat is token else None,
                )
            case TidyMore():
                self.post(TidyDue())
            case SendHello(pages):
                self._hello = token = object()
                self._say(pages, 0, token)
            case Refused(problem):
                assert problem.code not in FINAL, f"{self.node.id} was refused for good: {problem.message}"
                self._hello_later()

    def _published(self, batch: object) -> None:
        self.node.network.facts.append(batch)  # type: ignore[arg-type]
        self.node.plane.facts_came()

    # ------------------------------------------------------------ work

    def _stage(self, stage: Stage) -> None:
        execution_id = stage.execution_id
        assert execution_id not in self.working, f"{execution_id} is staged twice"
        assert execution_id not in self.node.ended, f"{execution_id} has ended, and is run again"
        self._tasks[execution_id] = stage.task
        # A port that is another's here raises: whoever plans has to know whose it is.
        ports = self.networks.open(execution_id, stage.task.network)
        answer: Answer = Staged(execution_id, self.networks.observed(ports))
        if self.rng.random() < self.node.flaky:
            problem = Problem(code="stage-failed", message="the input was not there")
            answer = StageFailed(execution_id, problem, passing=self.rng.random() < 0.8)
        self._begin(execution_id, "stage", self.rng.choice([0.001, 0.02, 0.5]), answer)

    def _run(self, execution_id: str, start: int) -> None:
        assert (execution_id, start) not in self.node.begun, f"{execution_id}: start {start} began twice"
        assert execution_id not in self.working, f"{execution_id} runs already"
        self.node.begun.add((execution_id, start))
        params = self._tasks[execution_id].engine.params
        seconds = float(params["seconds"]) * self.rng.uniform(0.1, 1.5)
        self._begin(execution_id, "run", seconds, _end(execution_id, str(params["end"])))
        if self._tasks[execution_id].check is not None and params.get("ready"):
            self.later(self.rng.uniform(0.1, 8.0), lambda: self.post(Checked(execution_id, start, ready=True)))

    def _begin(self, execution_id: str, what: str, seconds: float, answer: Answer) -> None:
        self.working[execution_id] = (what, token := object())
        self.later(seconds, lambda: self._answer(execution_id, token, answer))

    def _answer(self, execution_id: str, token: object, answer: Answer) -> None:
        if self.working.get(execution_id, ("", None))[1] is token:
            del self.working[execution_id]
            if isinstance(answer, StageFailed | Exited):  # ports are a run's own: the next start opens them anew
                self.networks.close(execution_id)
            self.post(answer)

    def _kill(self, execution_id: str) -> None:
        what, token = self.working.get(execution_id, ("", None))
        if token is None:
            return
        problem = Problem(code="killed", message="it was told to end")
        answer: Answer = Exited(execution_id, problem=problem)
        if what == "stage":
            answer = StageFailed(execution_id, problem)
        elif what == "upload":
            answer = UploadFailed(execution_id, problem)
        self.later(self.rng.choice([0.001, 0.1, 2.0]), lambda: self._answer(execution_id, token, answer))

    def _upload(self, parcel: Parcel) -> None:
        execution_id = parcel.execution_id
        assert execution_id not in self.working, f"{execution_id} is uploaded twice, or while it runs"
        self.node.ended.add(execution_id)
        self.working[execution_id] = ("upload", token := object())

        def attempt() -> None:
            if self.working.get(execution_id, ("", None))[1] is not token:
                return
            cut = self.node.network.is_cut(self.node.id)
            receipt = None if cut else self.node.publisher.stage(execution_id, parcel.digest, parcel.size)
            if receipt is None:
                self.later(self.rng.uniform(0.2, 5.0), attempt)
            else:
                self._answer(execution_id, token, Uploaded(execution_id, receipt))

        self.later(self.rng.choice([0.01, 0.5, 5.0, 20.0]), attempt)

    def _ring(self, execution_id: str, event: TimerFired, token: object) -> None:
        late = self.rng.random() < 0.1  # a timer that was no longer needed may still come
        if late or self._timers.get((execution_id, event.timer)) is token:
            self.post(event)

    # ------------------------------------------------------------ the line to the leader

    def _say(self, pages: tuple[Hello, ...], number: int, token: object) -> None:
        if self._hello is not token:
            return
        replied = False

        def take(reply: HelloReply) -> None:
            nonlocal replied
            if self.dead or replied or self._hello is not token:
                return
            replied = True
            if reply.refusal is None and reply.more:
                if number + 1 < len(pages):
                    self._say(pages, number + 1, token)
                else:
                    self._hello_later()
                return
            if reply.refusal is None:
                self._pause = AGAIN_SECONDS
            self._hello = None
            self._answered(reply)

        def answer(reply: HelloReply) -> None:
            self.node.network.send(self.node.id, lambda: take(reply))

        self.node.network.send(self.node.id, lambda: self.node.plane.hello(pages[number], answer))
        self.later(ANSWER_SECONDS, lambda: None if replied or self._hello is not token else self._hello_later())

    def _answered(self, reply: HelloReply) -> None:
        self.post(Replied(reply))
        if self.machine.greeted:
            self.beat()
            while self._stored and self.machine.greeted:
                self.post(Commanded(self._stored.popleft()))

    def _hello_later(self) -> None:
        self._hello = token = object()
        self.later(self._pause, lambda: self.post(HelloDue()) if self._hello is token else None)
        self._pause = min(self._pause * 2, AGAIN_MAX_SECONDS)

    def commanded(self, batch: CommandBatch) -> None:
        """Commands wait in their stream until a hello has been answered, unless they are handed over just then."""
        if self.machine.greeted or self.rng.random() < 0.1:
            self.post(Commanded(batch))
        else:
            self._stored.append(batch)

    def confirmed(self, confirm: Confirm) -> None:
        self.post(Confirmed(confirm))

    def reconnected(self) -> None:
        self.post(HelloDue())

    def beat(self, *, leaving: bool = False) -> None:
        if self.machine.greeted:
            beat = self.machine.heartbeat(leaving=leaving)
            self.node.network.send(self.node.id, lambda: self.node.plane.heartbeat(beat))

    def _beats(self) -> None:
        self.beat()
        self.later(HEARTBEAT_SECONDS, self._beats)

    def look(self) -> None:
        """Look at what the node can do, a little later."""
        self.later(self.rng.uniform(0.0, 10.0), lambda: self.post(Fingerprinted(self.node.info)))

    def _tidy(self) -> None:
        self.post(TidyDue())
        self.post(Fingerprinted(self.node.info))
        self.later(60.0, self._tidy)


def _end(execution_id: str, end: str) -> Exited:
    match end:
        case "exit":
            return Exited(
                execution_id, exit_code=3, result=ResultRef(digest=a_digest(execution_id), size=9, inline="AA==")
            )
        case "large":
            digest = f"sha256:{hashlib.sha256(execution_id.encode()).hexdigest()}"
            return Exited(execution_id, exit_code=0, result=ResultRef(digest=digest, size=1_000_000))
        case "large-trap":
            problem = Problem(code="trap", message="it ended with a trap")
            digest = f"sha256:{hashlib.sha256(execution_id.encode()).hexdigest()}"
            return Exited(execution_id, problem=problem, result=ResultRef(digest=digest, size=1_000_000))
        case "trap" | "result-too-large":
            return Exited(execution_id, problem=Problem(code=end, message=f"it ended with {end}"))
        case _:
            return Exited(
                execution_id, exit_code=0, result=ResultRef(digest=a_digest(execution_id), size=9, inline="AA==")
            )
