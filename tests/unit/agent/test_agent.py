"""The shell around the machine: what goes wrong ends the agent, whoever called: nothing is carried out by half."""

from collections.abc import Callable

import pytest

from skrei_compute_agent.agent import Agent
from skrei_compute_agent.events import HelloDue, Moment, Turn
from skrei_compute_agent.machine import AgentMachine
from skrei_compute_agent.runner import Doing
from skrei_domain.messages import FactBatch, Hello, Problem
from skrei_domain.sync import JournalRow, Meta, NodeMemory, NodeSide
from tests.support.agent_machine import NODE, an_info


class Rows:
    """A journal whose disk is slow: `done` are those that wait for it."""

    def __init__(self) -> None:
        self.done: list[Callable[[], None]] = []

    def submit(self, rows: tuple[JournalRow, ...], done: Callable[[], None], *, patient: bool) -> None:
        self.done.append(done)


class Voice:
    """Says hello, unless it is `broken`."""

    def __init__(self) -> None:
        self.broken: Exception | None = None
        self.hellos = 0

    def publish(self, batches: tuple[FactBatch, ...]) -> None:
        raise AssertionError("there are none")

    def say_hello(self, pages: tuple[Hello, ...]) -> None:
        if self.broken is not None:
            raise self.broken
        self.hellos += 1

    def refused(self, problem: Problem) -> None:
        raise AssertionError("nobody refuses")

    def carry_out(self, instruction: Doing) -> None:
        raise AssertionError("nothing runs")


@pytest.fixture
async def agent() -> Agent:
    machine = AgentMachine(NodeSide(NodeMemory(Meta(NODE)), "boot"), an_info())
    return Agent(machine, Rows())


async def test_what_cannot_be_carried_out_ends_the_agent(agent: Agent) -> None:
    voice = Voice()
    agent.connect(voice, voice)  # type: ignore[arg-type]  # of a runner it has what is asked
    agent.post(HelloDue())
    assert voice.hellos == 1
    voice.broken = OSError("the disk is in trouble")
    agent.post(HelloDue())
    assert agent.failed.result() is voice.broken
    voice.broken = None
    agent.post(HelloDue())
    assert voice.hellos == 1, "nothing follows what was left out"


async def test_an_event_that_the_machine_breaks_on_ends_the_agent(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever brings it may log an error and go on: the NATS client does, and the machine would be left half way."""
    broken = AssertionError("a fault of this program")

    def breaks(event: object, moment: Moment) -> Turn:
        raise broken

    monkeypatch.setattr(agent.machine, "handle", breaks)
    agent.post(HelloDue())
    assert agent.failed.result() is broken
