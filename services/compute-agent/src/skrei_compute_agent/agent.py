"""The shell around the machine: events in, one at a time; rows to the journal; then instructions to whoever acts."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from skrei_compute_agent.events import (
    Confirmed,
    DropFiles,
    Event,
    Instruction,
    Moment,
    Publish,
    Refused,
    RepeatAt,
    RepeatDue,
    SendHello,
    TidyDue,
    TidyMore,
    Turn,
)
from skrei_compute_agent.machine import AgentMachine
from skrei_compute_agent.runner import Runner
from skrei_domain.messages import FactBatch, Hello, Problem
from skrei_domain.sync import JournalRow


class Rows(Protocol):
    """Where rows become durable."""

    def submit(self, rows: tuple[JournalRow, ...], done: Callable[[], None], *, patient: bool) -> None:
        """Make `rows` durable together, then call `done`, in the order of calls; `patient`: nobody waits for that."""


class Voice(Protocol):
    """What says things to the leader."""

    def publish(self, batches: tuple[FactBatch, ...]) -> None:
        """Send facts without waiting."""

    def say_hello(self, pages: tuple[Hello, ...]) -> None:
        """Begin a hello; one that is under way ends."""

    def refused(self, problem: Problem) -> None:
        """The leader refused the hello."""


def system_moment() -> Moment:
    """Read both clocks."""
    return Moment(datetime.now(UTC), time.monotonic())


class Agent:
    """One node at work. `post` may be called from anywhere on the loop; it never waits."""

    def __init__(self, machine: AgentMachine, rows: Rows, *, moment: Callable[[], Moment] = system_moment) -> None:
        self.machine = machine
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._rows = rows
        self._moment = moment
        self._undurable = 0
        self._closed = False
        self._repeat: asyncio.TimerHandle | None = None
        self._runner: Runner
        self._voice: Voice

    def connect(self, runner: Runner, voice: Voice) -> None:
        """Name those who act; once, before the first event."""
        self._runner = runner
        self._voice = voice

    def post(self, event: Event) -> None:
        """Hand an event to the machine, and carry its turn out as soon as its rows are durable."""
        if self._closed or self.failed.done():
            return
        try:
            turn = self.machine.handle(event, self._moment())
        except Exception as error:  # noqa: BLE001 - whatever it is, the machine is left half way
            self.fail(error)
            return
        if not turn.rows and not self._undurable:
            self._carry_out(turn)
        elif turn.rows or turn.instructions:
            self._undurable += 1
            self._rows.submit(turn.rows, partial(self._durable, turn), patient=_only_tidies(event, turn))

    def fail(self, error: BaseException) -> None:
        """End the agent: what happens after an error that nobody handles would not be what the journal says."""
        if not self.failed.done():
            self.failed.set_result(error)

    def close(self) -> None:
        """Take no event and act on nothing any more: the journal says how to go on."""
        self._closed = True
        if self._repeat is not None:
            self._repeat.cancel()

    def _durable(self, turn: Turn) -> None:
        self._undurable -= 1
        self._carry_out(turn)

    def _carry_out(self, turn: Turn) -> None:
        if self._closed or self.failed.done():
            return
        try:
            for instruction in turn.instructions:
                self._act(instruction)
        except Exception as error:  # noqa: BLE001 - whatever it is, and whoever called: what follows would be missing
            self.fail(error)

    def _act(self, instruction: Instruction) -> None:
        match instruction:
            case Publish(batches):
                self._voice.publish(batches)
            case RepeatAt(seconds):
                self._repeat_at(seconds)
            case TidyMore():
                self.post(TidyDue())
            case SendHello(pages):
                self._voice.say_hello(pages)
            case Refused(problem):
                self._voice.refused(problem)
            case _:
                self._runner.carry_out(instruction)

    def _repeat_at(self, seconds: float) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
        delay = max(seconds - self._moment().seconds, 0.0)
        self._repeat = asyncio.get_running_loop().call_later(delay, self.post, RepeatDue())


def _only_tidies(event: Event, turn: Turn) -> bool:
    """Whether nothing rests on a turn but that what is confirmed takes no room any more."""
    return isinstance(event, Confirmed) and all(isinstance(each, DropFiles) for each in turn.instructions)
