"""Builders for the agent's machine: a node that has been greeted, commands, and a clock that only tests move."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from skrei_compute_agent.events import Begun, Commanded, Confirmed, Event, HelloDue, Moment, Replied, Stage, Turn
from skrei_compute_agent.held import Phase
from skrei_compute_agent.machine import AgentMachine
from skrei_compute_agent.task import read_task
from skrei_domain.lifecycle import Want
from skrei_domain.messages import CommandBatch, Confirm, ExecutionObserved, ExecutionWanted, HelloReply, RunOrder
from skrei_domain.node import Gpu, NodeInfo, Plugin
from skrei_domain.resources import Resources
from skrei_domain.sync import JournalRow, Meta, NodeMemory, NodeSide, PutFact, replay

START = datetime(2026, 1, 1, tzinfo=UTC)
NODE = "n-test"


def a_task(**changes: Any) -> dict[str, Any]:
    """A valid task in the API's words."""
    return {
        "Name": "main",
        "Engine": {"Type": "scripted", "Params": {}},
        "Resources": {"CPU": "1", "Memory": "100Mb"},
        "InputSources": [],
    } | changes


def an_order(task: dict[str, Any] | None = None, **changes: Any) -> RunOrder:
    """A valid run order."""
    fields: dict[str, Any] = {
        "job_id": "j-1",
        "job_version": 1,
        "task": "main",
        "partition": 0,
        "partition_count": 1,
        "task_json": json.dumps(task or a_task()),
    }
    return RunOrder(**(fields | changes))


def a_stage(execution_id: str = "e-1", task: dict[str, Any] | None = None, **changes: Any) -> Stage:
    """The instruction to stage a task."""
    order = an_order(task, **changes)
    spec, needs = read_task(order.task_json)
    return Stage(execution_id, order, spec, needs)


def a_run(execution_id: str = "e-1", revision: int = 1, incarnation: int = 1, **changes: Any) -> ExecutionWanted:
    """A command to run."""
    return ExecutionWanted(
        execution_id=execution_id,
        revision=revision,
        want=Want.RUN,
        incarnation=incarnation,
        run=an_order(**changes),
    )


def a_stop(execution_id: str = "e-1", revision: int = 2) -> ExecutionWanted:
    """A command to stop."""
    return ExecutionWanted(execution_id=execution_id, revision=revision, want=Want.STOP, incarnation=1)


def a_forget(execution_id: str = "e-1", revision: int = 2) -> ExecutionWanted:
    """A command to forget."""
    return ExecutionWanted(execution_id=execution_id, revision=revision, want=Want.FORGET, incarnation=1)


def an_info(cpu: int = 4, *, gpus: tuple[Gpu, ...] = ()) -> NodeInfo:
    """A node with a scripted engine and some room."""
    return NodeInfo(
        node_id=NODE,
        engines=(Plugin(name="scripted"),),
        storages=(Plugin(name="inline"), Plugin(name="local")),
        capacity=Resources(cpu_milli=cpu * 1000, memory_bytes=4_000_000_000, disk_bytes=10**12, gpu=len(gpus)),
        gpus=gpus,
    )


class AgentDriver:
    """A machine with a manual clock; `turn` returns what an event comes to."""

    def __init__(
        self,
        memory: NodeMemory | None = None,
        *,
        cpu: int = 4,
        boot_id: str = "b-1",
        gpus: tuple[Gpu, ...] = (),
        adopting: frozenset[str] = frozenset(),
    ) -> None:
        self.seconds = 0.0
        side = NodeSide(memory or NodeMemory(Meta(NODE)), boot_id)
        self.machine = AgentMachine(side, an_info(cpu, gpus=gpus), adopting=adopting)
        self.publisher_url = "http://publisher"

    def moment(self) -> Moment:
        return Moment(START + timedelta(seconds=self.seconds), self.seconds)

    def turn(self, event: Event) -> Turn:
        return self.machine.handle(event, self.moment())

    def greet(self) -> list[Turn]:
        """Say hello and be answered, opening the first incarnation if there is none."""
        turns = [self.turn(Begun()), self.turn(HelloDue())]
        if self.machine.node.memory.meta.incarnation == 0:
            turns.append(self.turn(Replied(HelloReply(timeline=1, epoch=1, incarnation=1))))
        meta = self.machine.node.memory.meta
        reply = HelloReply(
            timeline=1,
            epoch=1,
            incarnation=meta.incarnation,
            confirmed=meta.confirmed,
            publisher_url=self.publisher_url,
        )
        turns.append(self.turn(Replied(reply)))
        return turns

    def command(self, *commands: ExecutionWanted) -> Turn:
        return self.turn(Commanded(CommandBatch(timeline=1, epoch=1, commands=commands)))

    def confirm(self, confirmed: int) -> Turn:
        meta = self.machine.node.memory.meta
        return self.turn(Confirmed(Confirm(timeline=1, epoch=1, incarnation=meta.incarnation, confirmed=confirmed)))


def facts(told: Turn | Iterable[JournalRow]) -> list[ExecutionObserved]:
    """What is told of executions by a turn, or by rows of the journal."""
    rows = told.rows if isinstance(told, Turn) else told
    return [row.fact for row in rows if isinstance(row, PutFact) and isinstance(row.fact, ExecutionObserved)]


class KeptNode:
    """A node whose rows are kept, so that its agent can begin anew; what it has to do is done by the test."""

    def __init__(self, *, adopting: bool = False) -> None:
        self.rows: list[JournalRow] = []
        self.adopting = frozenset({"scripted"}) if adopting else frozenset()
        self.agent = AgentDriver(adopting=self.adopting)
        for turn in self.agent.greet():
            self.keep(turn)

    def keep(self, turn: Turn) -> Turn:
        self.rows += turn.rows
        self.agent.machine.validate()
        return turn

    def do(self, event: Event) -> Turn:
        return self.keep(self.agent.turn(event))

    def passes(self, seconds: float) -> None:
        self.agent.seconds += seconds

    def heard(self) -> None:
        """A hello is answered."""
        self.do(HelloDue())
        self.do(Replied(HelloReply(timeline=1, epoch=1, incarnation=1)))

    def reboot(self) -> Turn:
        """Begin anew over what was kept."""
        agent = AgentDriver(replay(Meta(NODE), self.rows), boot_id="b-2", adopting=self.adopting)
        agent.seconds, self.agent = self.agent.seconds, agent
        return self.do(Begun())

    @property
    def phase(self) -> Phase:
        """Where `e-1` is."""
        held = self.agent.machine.held("e-1")
        assert held is not None
        return held.phase
