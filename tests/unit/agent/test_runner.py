"""The runner: every instruction to work is answered by exactly one event, whatever happens to the work."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from skrei_compute_agent.events import (
    Adopt,
    ArmTimer,
    DisarmTimers,
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
)
from skrei_compute_agent.runner import KILLED, Runner
from skrei_domain.errors import SkreiError
from skrei_domain.messages import Problem
from skrei_plugin_api.engine import Tell
from tests.support.agent_machine import a_stage


class Broken(SkreiError):
    """Something that the execution did."""

    code = "broken"


class Passing(SkreiError):
    """Something that passes."""

    code = "passing"
    retryable = True


class Bench:
    """Work that does what the test says, and the runner's listeners."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.dropped: list[str] = []
        self.released: list[tuple[str, str]] = []
        self.alive = True
        self.left = False
        self.doors: list[str] = []
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.failures: asyncio.Queue[BaseException] = asyncio.Queue()
        self.cleans_up = False
        self.lines: list[str] = []

    async def stage(self, wanted: Stage, tell: Tell) -> Staged:
        for line in self.lines:
            tell(line)
        await self._work()
        return Staged(wanted.execution_id)

    async def run(self, execution_id: str, start: int) -> Exited:
        try:
            await self._work()
        except asyncio.CancelledError:
            if not self.cleans_up:
                raise
            return Exited(execution_id, problem=Problem(code="killed", message="by the engine"))
        return Exited(execution_id, exit_code=start)

    async def adopt(self, wanted: Adopt) -> Exited | NotAdopted:
        await self._work()
        return Exited(wanted.execution_id, exit_code=0) if self.alive else NotAdopted(wanted.execution_id)

    def leave(self) -> None:
        self.left = True

    def release(self, execution_id: str, engine: str) -> None:
        self.released.append((execution_id, engine))

    async def upload(self, wanted: Upload, tell: Tell) -> Uploaded:
        await self._work()
        return Uploaded(wanted.execution_id, "receipt")

    def door(self, url: str) -> None:
        self.doors.append(url)

    def close_ports(self, execution_id: str) -> None:
        pass

    def drop(self, execution_id: str) -> None:
        self.dropped.append(execution_id)

    async def _work(self) -> None:
        self.begun.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def next(self) -> Event:
        async with asyncio.timeout(5):
            return await self.events.get()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
async def runner(bench: Bench) -> AsyncIterator[Runner]:
    made = Runner(bench, bench.events.put_nowait, bench.failures.put_nowait)
    yield made
    await made.close()
    assert bench.events.empty()


async def test_staging_and_running_are_answered(bench: Bench, runner: Runner) -> None:
    runner.carry_out(a_stage())
    assert await bench.next() == Staged("e-1")
    runner.carry_out(RunEngine("e-1", 7))
    assert await bench.next() == Exited("e-1", exit_code=7)
    assert runner.busy == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Broken("no", hint="try yes"), StageFailed("e-1", Problem(code="broken", message="no (try yes)"))),
        (Passing("later"), StageFailed("e-1", Problem(code="passing", message="later"), passing=True)),
        (
            OSError("disk full"),
            StageFailed("e-1", Problem(code="node-trouble", message="this node: disk full"), passing=True),
        ),
    ],
)
async def test_what_staging_raises_becomes_an_event(
    bench: Bench, runner: Runner, error: Exception, expected: StageFailed
) -> None:
    bench.error = error
    runner.carry_out(a_stage())
    assert await bench.next() == expected


async def test_trouble_of_the_node_during_a_run_counts_as_an_interruption(bench: Bench, runner: Runner) -> None:
    bench.error = OSError("disk full")
    runner.carry_out(RunEngine("e-1", 1))
    assert await bench.next() == Exited("e-1", problem=Problem(code="interrupted", message="this node: disk full"))


async def test_an_error_that_nobody_expected_ends_the_agent(bench: Bench, runner: Runner) -> None:
    bench.error = RuntimeError("a fault of ours")
    runner.carry_out(RunEngine("e-1", 1))
    async with asyncio.timeout(5):
        assert str(await bench.failures.get()) == "a fault of ours"


async def test_an_answer_that_cannot_be_told_ends_the_agent(bench: Bench) -> None:
    def post(_: Event) -> None:
        raise OSError("the journal's disk is full")

    runner = Runner(bench, post, bench.failures.put_nowait)
    runner.carry_out(RunEngine("e-1", 1))
    async with asyncio.timeout(5):
        assert str(await bench.failures.get()) == "the journal's disk is full"
    assert runner.busy == 0
    await runner.close()


@pytest.mark.parametrize("cleans_up", [False, True])
async def test_a_kill_is_answered_too(bench: Bench, runner: Runner, cleans_up: bool) -> None:
    bench.cleans_up = cleans_up
    bench.gate.clear()
    runner.carry_out(RunEngine("e-1", 1))
    await bench.begun.wait()
    runner.carry_out(Kill("e-1", "stopped"))
    event = await bench.next()
    assert isinstance(event, Exited)
    assert event.problem is not None
    assert event.problem.code == "killed"


async def test_a_kill_before_the_work_began_is_answered_too(bench: Bench, runner: Runner) -> None:
    runner.carry_out(a_stage())
    runner.carry_out(Kill("e-1", "stopped"))
    assert await bench.next() == StageFailed("e-1", KILLED)


async def test_a_kill_of_nothing_is_nothing(bench: Bench, runner: Runner) -> None:
    runner.carry_out(Kill("e-1", "stopped"))
    assert bench.events.empty()


async def test_a_timer_fires_unless_it_is_disarmed(bench: Bench, runner: Runner) -> None:
    runner.carry_out(ArmTimer("e-1", Timer.EXECUTION, 0.0))
    runner.carry_out(ArmTimer("e-1", Timer.REPORT, 0.0))
    runner.carry_out(DisarmTimers("e-1"))
    runner.carry_out(ArmTimer("e-2", Timer.TOTAL, 0.0))
    assert await bench.next() == TimerFired("e-2", Timer.TOTAL)


async def test_files_are_dropped_through_the_work(bench: Bench, runner: Runner) -> None:
    runner.carry_out(DropFiles("e-1"))
    assert bench.dropped == ["e-1"]


async def test_closing_ends_work_without_a_word(bench: Bench, runner: Runner) -> None:
    bench.gate.clear()
    runner.carry_out(RunEngine("e-1", 1))
    await bench.begun.wait()
    await runner.close()
    assert bench.events.empty()


def an_adopt() -> Adopt:
    wanted = a_stage()
    return Adopt(wanted.execution_id, 1, wanted.order, wanted.task, wanted.needs)


@pytest.mark.parametrize(("alive", "answer"), [(True, Exited("e-1", exit_code=0)), (False, NotAdopted("e-1"))])
async def test_an_adoption_is_answered_by_the_end_or_by_nothing_there(
    bench: Bench, runner: Runner, alive: bool, answer: Event
) -> None:
    bench.alive = alive
    runner.carry_out(an_adopt())
    assert await bench.next() == answer


async def test_an_adoption_that_the_node_cannot_make_is_an_interruption(bench: Bench, runner: Runner) -> None:
    bench.error = Passing("no daemon")
    runner.carry_out(an_adopt())
    assert await bench.next() == Exited("e-1", problem=Problem(code="interrupted", message="no daemon"))


async def test_what_an_engine_kept_goes_on_the_machines_word_alone(bench: Bench, runner: Runner) -> None:
    runner.carry_out(RunEngine("e-1", 1))
    await bench.next()
    assert bench.released == []
    runner.carry_out(Release("e-1", "docker"))
    assert bench.released == [("e-1", "docker")]


async def test_closing_says_first_that_the_agent_leaves(bench: Bench, runner: Runner) -> None:
    await runner.close()
    assert bench.left


async def test_what_a_preparation_tells_comes_before_its_answer(bench: Bench, runner: Runner) -> None:
    bench.lines = ["pulling: 1 of 2 MB", "pulling: 2 of 2 MB"]
    runner.carry_out(a_stage())
    assert await bench.next() == Noted("e-1", "pulling: 1 of 2 MB")
    assert await bench.next() == Staged("e-1")
