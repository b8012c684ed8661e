"""The life of a node's executions, pure: events in, rows and instructions out. No I/O, no clock, no plugin.

`NodeSide` decides what the journal remembers and what the leader is told; this decides what the node does.
A turn's rows are durable before its instructions are carried out, so a crash between any two events loses nothing
that was promised.
"""

from collections.abc import Iterable

from skrei_compute_agent.beginnings import Beginnings
from skrei_compute_agent.events import (
    Begun,
    Checked,
    Commanded,
    Confirmed,
    Door,
    Event,
    Exited,
    Fingerprinted,
    Halted,
    HelloDue,
    LinkLost,
    Moment,
    NotAdopted,
    Noted,
    Publish,
    Refused,
    RepeatAt,
    RepeatDue,
    Replied,
    SendHello,
    Staged,
    StageFailed,
    TidyDue,
    TidyMore,
    TimerFired,
    Turn,
    Uploaded,
    UploadFailed,
)
from skrei_compute_agent.held import Held, Phase
from skrei_compute_agent.restarts import Restarts
from skrei_compute_agent.room import Room
from skrei_compute_agent.transitions import Transitions
from skrei_compute_agent.turns import TurnDraft
from skrei_domain.messages import Heartbeat, HelloReply
from skrei_domain.node import NodeInfo
from skrei_domain.resources import Resources
from skrei_domain.sync import Act, Denied, Drop, Halt, NodeSide, Run, SayHello, Write


class AgentMachine:
    """One node. `handle` takes an event and the time, and returns the turn it comes to.

    `adopting` names the engines (in lower case) whose programs outlive the agent.
    """

    def __init__(self, node: NodeSide, info: NodeInfo, *, adopting: frozenset[str] = frozenset()) -> None:
        self.node = node
        self._room = Room(info)
        self._draft = TurnDraft(node)
        self._restarts = Restarts(self._draft, self._room)
        self._beginnings = Beginnings(self._draft, self._room, self._restarts, adopting=adopting)
        self._transitions = Transitions(self._draft, self._room, self._beginnings, self._restarts)
        self._repeat_at: float | None = None

    # ------------------------------------------------------------ reading

    @property
    def info(self) -> NodeInfo:
        """What the node is, as of its last fingerprint."""
        return self._room.info

    @property
    def greeted(self) -> bool:
        """Whether commands are obeyed and facts sent: the last hello has been answered."""
        return self.node.greeted

    @property
    def reserved(self) -> Resources:
        """What live executions hold of the capacity."""
        return self._room.reserved

    def held(self, execution_id: str) -> Held | None:
        """Return an execution that this process looks after, ended ones until they are confirmed."""
        return self._room.held.get(execution_id)

    def all_held(self) -> Iterable[Held]:
        """Return every execution that this process looks after."""
        return self._room.held.values()

    def heartbeat(self, *, leaving: bool = False) -> Heartbeat:
        """Return a heartbeat as of the last fact."""
        return self.node.heartbeat(leaving=leaving)

    def validate(self) -> None:
        """Raise AssertionError where what is held, reserved and journaled do not agree."""
        self.node.memory.known.check()
        live = {known.execution_id for known in self.node.unfinished()}
        needs = Resources()
        for execution_id, held in self._room.held.items():
            story = "\n  ".join((execution_id, *held.story))
            if held.phase is Phase.ENDED:
                assert execution_id not in live, f"ended, yet the journal does not say so: {story}"
                continue
            if held.ended is None:
                needs += held.needs
            assert execution_id in live or held.dropped, f"runs, yet the journal has it ended: {story}"
            if held.phase is Phase.RUNNING:
                assert held.steps[-1].start == self._draft.starts(execution_id), f"another start runs: {story}"
        self._room.check(needs)
        assert live <= self._room.held.keys(), f"nobody looks after {live - self._room.held.keys()}"
        assert self._draft.empty, "a turn was left half handed out"

    # ------------------------------------------------------------ events

    def handle(self, event: Event, moment: Moment) -> Turn:
        """Return what `event` comes to. Raises IllegalEvent, with the execution's story, for one that cannot be."""
        self._draft.begin(moment)
        match event:
            case Commanded(batch):
                self._do(self.node.on_commands(batch, moment.wall))
            case Confirmed(confirm):
                self._do(self.node.on_confirm(confirm, moment.wall))
            case Staged() | StageFailed() | Exited() | NotAdopted() | Uploaded() | UploadFailed() | TimerFired():
                self._transitions.on(event)
            case Noted() | Checked():
                self._transitions.told(event)
            case LinkLost():
                self._restarts.link_lost = True
            case Replied(reply):
                self._replied(reply, moment)
            case HelloDue():
                self._say_hello()
            case Fingerprinted(info):
                if info != self.info:
                    self._room.refit(info)
                    self._do(self.node.changed(info))
            case Begun():
                self._beginnings.after_a_restart()
            case TidyDue():
                self._tidy()
            case RepeatDue():
                self._repeat_at = None
        self._draft.catch_up()
        self._publish(moment)
        return self._draft.finish()

    # ------------------------------------------------------------ acts of the protocol

    def _replied(self, reply: HelloReply, moment: Moment) -> None:
        self._do(self.node.on_reply(reply, moment.wall))
        self._restarts.link_lost = self._restarts.link_lost and not self.node.greeted
        if reply.refusal is None and self.node.greeted and reply.publisher_url != self._transitions.door:
            self._transitions.door = reply.publisher_url
            self._draft.instruct(Door(reply.publisher_url))

    def _do(self, acts: Iterable[Act]) -> None:
        for act in acts:
            match act:
                case Write():
                    self._draft.write((act,))
                case Run(execution_id, order):
                    self._beginnings.admit(execution_id, order)
                case Halt(execution_id, reason):
                    self._transitions.on(Halted(execution_id, reason))
                case Drop(execution_id):
                    self._transitions.drop(execution_id)
                case SayHello():
                    self._say_hello()
                case Denied(problem):
                    self._draft.instruct(Refused(problem))

    def _tidy(self) -> None:
        acts = self.node.prune(self._draft.now)
        self._do(acts)
        if acts:
            self._draft.instruct(TidyMore())

    def _say_hello(self) -> None:
        self._draft.instruct(SendHello(tuple(self.node.hello(self.info))))

    def _publish(self, moment: Moment) -> None:
        batches = self.node.batches(moment.seconds)
        if batches:
            self._draft.instruct(Publish(tuple(batches)))
        repeat_at = self.node.next_repeat()
        if repeat_at is not None and repeat_at != self._repeat_at:
            self._repeat_at = repeat_at
            self._draft.instruct(RepeatAt(repeat_at))
