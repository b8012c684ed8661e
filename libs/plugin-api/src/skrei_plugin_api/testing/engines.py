# ruff: noqa: D102 - a test's name says what it claims
"""The contract suite of engines."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from skrei_domain.errors import SkreiError
from skrei_plugin_api.aside import apart
from skrei_plugin_api.engine import (
    CommandOutcome,
    CommandRequest,
    Engine,
    EngineFailure,
    FailureCode,
    Mount,
    Output,
    RunOutcome,
    RunRequest,
)
from skrei_plugin_api.packing import HEAD_BYTES
from skrei_plugin_api.plugin import PLUGIN_API, Params
from skrei_plugin_api.streams import cut_line
from skrei_plugin_api.testing.common import LONGEST_SECONDS, eventually, unpacked


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a program of a suite does, in this order."""

    say: str = ""
    say_error: str = ""
    print_env: bool = False
    """Print the environment as `NAME=value` with a NUL after each."""
    print_file: str = ""
    """Print the file at this target."""
    write: Mapping[str, str] = field(default_factory=dict)
    """Text by `<output>/<file>`; the outputs are called `first` and `second`, at `/first` and `/second`."""
    forever: bool = False
    trap: bool = False
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """What an engine needs to be told to run something."""

    params: Params
    mounts: tuple[Mount, ...] = ()


class Ask(Protocol):
    """Runs a command beside a program."""

    def __call__(self, words: tuple[str, ...], seconds: float = LONGEST_SECONDS) -> Awaitable[CommandOutcome]:
        """Return how it ended."""


class Running:
    """Counts what an engine told."""

    def __init__(self) -> None:
        self.times = 0
        self.ends = 0

    def running(self) -> None:
        """Count."""
        self.times += 1

    def ended(self) -> None:
        """Count."""
        self.ends += 1


def contents(outcome: RunOutcome) -> dict[str, bytes | None]:
    """Return what a result holds by name, in its order; None for a folder."""
    assert outcome.result is not None
    packed = outcome.result.data if outcome.result.path is None else outcome.result.path.read_bytes()
    assert packed is not None
    return unpacked(packed)


class EngineContract:
    """What every engine does. Subclasses give a fixture `engine`, which is closed afterwards."""

    invalid: ClassVar[Mapping[str, Params]] = {}
    """Params that are wrong, by the path of the field that is."""
    trap_code: ClassVar[FailureCode] = FailureCode.TRAP
    """How an engine calls it that a program was ended for what it did; where any end is an exit code, the nearest."""
    exit_code: ClassVar[int] = 7
    """How programs end that did not do what they should, by a number of their choice where they have one."""
    surroundings: ClassVar[frozenset[str]] = frozenset()
    """Variables that what runs the program sets besides those that it was given."""

    @abstractmethod
    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        """Return a program that behaves so; `folder` is for what it is made of."""

    def request(self, behaviour: Behaviour, folder: Path, name: str = "e-1", **given: object) -> RunRequest:
        """Return a run of such a program, with a folder of its own."""
        program = self.program(behaviour, folder)
        workdir = folder / "work" / name
        workdir.mkdir(parents=True)
        mounts = (*program.mounts, *given.pop("mounts", ()))  # type: ignore[misc]
        return RunRequest(name, 1, program.params, workdir, mounts=mounts, **given)  # type: ignore[arg-type]

    async def test_it_says_who_it_is(self, engine: Engine) -> None:
        assert engine.plugin_api == PLUGIN_API
        info = await apart(engine.describe)
        assert (info.available, bool(info.version)) == (True, True)

    async def test_a_return_is_exit_code_0_and_leaves_what_was_said(self, engine: Engine, tmp_path: Path) -> None:
        events = Running()
        outcome = await engine.run(self.request(Behaviour(say="out\n", say_error="err\n"), tmp_path), events)
        assert (outcome.exit_code, outcome.failure, events.times) == (0, None, 1)
        assert (outcome.stdout_head.data, outcome.stderr_head.data) == (b"out\n", b"err\n")
        assert contents(outcome) == {".": None, "stdout": b"out\n", "stderr": b"err\n", "exitCode": b"0"}
        assert outcome.started_at <= outcome.ended_at

    async def test_an_exit_code_is_no_failure(self, engine: Engine, tmp_path: Path) -> None:
        request = self.request(Behaviour(say="x", exit_code=self.exit_code), tmp_path)
        outcome = await engine.run(request, Running())
        assert (outcome.exit_code, outcome.failure) == (self.exit_code, None)
        assert contents(outcome)["exitCode"] == str(self.exit_code).encode()

    async def test_a_trap_is_a_failure_with_its_reason_and_keeps_the_logs(self, engine: Engine, tmp_path: Path) -> None:
        outcome = await engine.run(self.request(Behaviour(say="before\n", trap=True), tmp_path), Running())
        assert outcome.exit_code is None
        assert outcome.failure is not None
        assert outcome.failure.code is self.trap_code
        assert outcome.failure.message
        assert contents(outcome)["stdout"] == b"before\n"

    async def test_the_environment_is_exactly_what_was_given(self, engine: Engine, tmp_path: Path) -> None:
        env = {"BACALHAU_PARTITION_INDEX": "3", "A": "1", "TEXT": "with = and 'ø'"}
        outcome = await engine.run(self.request(Behaviour(print_env=True), tmp_path, env=env), Running())
        found = outcome.stdout_head.data.decode().split("\0")
        said = [entry for entry in found if entry.partition("=")[0] not in self.surroundings]
        assert sorted(said) == sorted(["", *(f"{name}={value}" for name, value in env.items())])

    async def test_an_input_is_at_its_target(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "input").write_text("from the input\n")
        mounts = (Mount(tmp_path / "input", "/data/deep/input.txt"),)
        request = self.request(Behaviour(print_file="/data/deep/input.txt"), tmp_path, mounts=mounts)
        assert (await engine.run(request, Running())).stdout_head.data == b"from the input\n"

    async def test_outputs_come_back_by_name_also_empty_ones(self, engine: Engine, tmp_path: Path) -> None:
        outputs = (Output("first", "/first"), Output("second", "/second"))
        request = self.request(Behaviour(write={"first/made.txt": "made"}), tmp_path, outputs=outputs)
        assert contents(await engine.run(request, Running())) == {
            ".": None,
            "first": None,
            "second": None,
            "stdout": b"",
            "stderr": b"",
            "first/made.txt": b"made",
            "exitCode": b"0",
        }

    async def test_the_same_run_gives_the_same_digest(self, engine: Engine, tmp_path: Path) -> None:
        behaviour = Behaviour(say="same", write={"first/a": "b"})
        outputs = (Output("first", "/first"),)
        digests = set()
        for name in ("e-1", "e-2"):
            outcome = await engine.run(self.request(behaviour, tmp_path, name, outputs=outputs), Running())
            assert outcome.result is not None
            digests.add(outcome.result.digest)
        assert len(digests) == 1

    async def test_output_is_there_to_read_before_the_end_and_a_cancelled_run_is_gone(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        request = self.request(Behaviour(say="live\n", forever=True), tmp_path)
        run = asyncio.ensure_future(engine.run(request, Running()))
        stdout = request.workdir / "stdout"
        await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"live\n")
        assert not run.done()
        run.cancel()
        async with asyncio.timeout(LONGEST_SECONDS):
            await asyncio.wait([run])
        assert run.cancelled()

    async def test_a_program_without_end_meets_its_timeout_while_others_run(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        endless = self.request(Behaviour(say="on\n", forever=True), tmp_path, "endless", timeout_seconds=0.5)
        run = asyncio.ensure_future(engine.run(endless, Running()))
        other = await engine.run(self.request(Behaviour(say="quick"), tmp_path, "quick"), Running())
        assert other.exit_code == 0
        async with asyncio.timeout(LONGEST_SECONDS):
            outcome = await run
        assert outcome.failure is not None
        assert (outcome.exit_code, outcome.failure.code) == (None, FailureCode.TIMEOUT)
        assert "0.5 s" in outcome.failure.message
        assert contents(outcome)["stdout"] == b"on\n"

    async def test_a_run_that_is_cut_off_is_killed_and_ends_as_told(self, engine: Engine, tmp_path: Path) -> None:
        cut: asyncio.Future[EngineFailure] = asyncio.get_running_loop().create_future()
        endless = self.request(Behaviour(say="on\n", forever=True), tmp_path, "endless", cut=cut)
        run = asyncio.ensure_future(engine.run(endless, Running()))
        stdout = endless.workdir / "stdout"
        await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"on\n")
        cut.set_result(EngineFailure(FailureCode.DISK_LIMIT_EXCEEDED, "it wrote too much"))
        async with asyncio.timeout(LONGEST_SECONDS):
            outcome = await run
        assert (outcome.exit_code, outcome.failure) == (None, cut.result())
        assert contents(outcome)["stdout"] == b"on\n"

    async def test_a_program_that_ends_in_time_is_not_interrupted(self, engine: Engine, tmp_path: Path) -> None:
        outcome = await engine.run(self.request(Behaviour(say="x"), tmp_path, timeout_seconds=15.0), Running())
        assert (outcome.exit_code, outcome.failure) == (0, None)

    async def test_only_the_beginning_of_long_output_is_told(self, engine: Engine, tmp_path: Path) -> None:
        outcome = await engine.run(self.request(Behaviour(say="x" * (HEAD_BYTES + 1)), tmp_path), Running())
        assert (outcome.stdout_head.data, outcome.stdout_head.truncated) == (b"x" * HEAD_BYTES, True)

    async def test_a_result_above_the_inline_limit_is_a_file(self, engine: Engine, tmp_path: Path) -> None:
        outcome = await engine.run(self.request(Behaviour(say="hello"), tmp_path, inline_result_limit=10), Running())
        assert outcome.result is not None
        assert outcome.result.data is None
        assert outcome.result.path is not None
        assert outcome.result.path.stat().st_size == outcome.result.size
        assert contents(outcome)["stdout"] == b"hello"

    async def test_what_is_said_beyond_the_limit_is_dropped_with_one_line_that_says_so(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        behaviour = Behaviour(say="x" * 2000, say_error="y" * 1000, exit_code=self.exit_code)
        outcome = await engine.run(self.request(behaviour, tmp_path, max_stream_bytes=1000), Running())
        assert (outcome.exit_code, outcome.failure) == (self.exit_code, None)
        said, errors = contents(outcome)["stdout"], contents(outcome)["stderr"]
        assert said == b"x" * 1000 + cut_line("stdout", 1000)
        assert b"1000 bytes (SKREI_OUTPUT_STREAM_BYTES)" in said
        assert errors == b"y" * 1000, "it is exactly what may be kept"

    async def test_what_goes_on_to_speak_after_the_limit_is_neither_ended_nor_held_up(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        outputs = (Output("first", "/first"),)
        behaviour = Behaviour(say="x" * 50_000, say_error="why\n", write={"first/made.txt": "made"})
        request = self.request(behaviour, tmp_path, outputs=outputs, max_stream_bytes=10)
        found = contents(await engine.run(request, Running()))
        assert found["stdout"] == b"x" * 10 + cut_line("stdout", 10)
        assert (found["stderr"], found["first/made.txt"], found["exitCode"]) == (b"why\n", b"made", b"0")

    async def test_outputs_beyond_their_limit_are_a_failure(self, engine: Engine, tmp_path: Path) -> None:
        outputs = (Output("first", "/first"),)
        behaviour = Behaviour(say="x" * 2000, write={"first/large.txt": "y" * 2000})
        request = self.request(behaviour, tmp_path, outputs=outputs, max_output_bytes=1000)
        outcome = await engine.run(request, Running())
        assert outcome.failure is not None
        assert outcome.failure.code is FailureCode.OUTPUT_TOO_LARGE, outcome.failure
        assert "1000" in outcome.failure.message

    async def test_a_network_that_nobody_knows_gives_none(self, engine: Engine, tmp_path: Path) -> None:
        outcome = await engine.run(self.request(Behaviour(say="x"), tmp_path, network="Pigeon"), Running())
        assert outcome.failure is not None
        assert outcome.failure.code is FailureCode.NETWORK_UNSUPPORTED
        assert "'Pigeon'" in outcome.failure.message
        assert outcome.stdout_head.data == b""

    async def test_wrong_params_are_named(self, engine: Engine) -> None:
        assert self.invalid, "name at least one"
        for path, params in self.invalid.items():
            assert [problem.path for problem in engine.validate(params)] == [path], params

    async def test_right_params_have_no_problems_in_any_case(self, engine: Engine, tmp_path: Path) -> None:
        params = self.program(Behaviour(say="x"), tmp_path).params
        for change in (str, str.lower, str.upper):
            assert engine.validate({change(key): value for key, value in params.items()}) == []

    async def test_a_later_start_takes_away_what_an_earlier_one_left(self, engine: Engine, tmp_path: Path) -> None:
        first = self.request(Behaviour(say="one"), tmp_path, "again")
        await engine.run(first, Running())
        (tmp_path / "later").mkdir()
        later = replace(first, start_number=first.start_number + 1, workdir=tmp_path / "later")
        assert (await engine.run(later, Running())).exit_code == 0
        assert await engine.adopt(first, Running()) is None
        await engine.release(first.execution_id)

    async def test_nothing_is_adopted_that_never_began(self, engine: Engine, tmp_path: Path) -> None:
        assert await engine.adopt(self.request(Behaviour(say="x"), tmp_path, "never"), Running()) is None

    async def test_what_was_released_and_what_never_was_may_be_released(self, engine: Engine, tmp_path: Path) -> None:
        await engine.run(self.request(Behaviour(say="x"), tmp_path), Running())
        for _ in range(2):
            await engine.release("e-1")
        await engine.release("e-never")
        assert await engine.sweep(lambda _: True) == 0

    async def test_a_run_that_is_left_goes_on_where_the_engine_adopts_and_ends_where_it_does_not(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        request = self.request(Behaviour(say="live\n", forever=True), tmp_path)
        run = asyncio.ensure_future(engine.run(request, Running()))
        stdout = request.workdir / "stdout"
        await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"live\n")
        engine.leave()
        run.cancel()
        await asyncio.wait([run])
        assert run.cancelled()
        adoption = asyncio.ensure_future(engine.adopt(request, events := Running()))
        if engine.adopts:
            await eventually(lambda: events.times == 1)
            adoption.cancel()
            await asyncio.wait([adoption])
            await engine.release(request.execution_id)
        else:
            assert await adoption is None

    def words(self, behaviour: Behaviour) -> tuple[str, ...]:
        """Return a command that says so, and ends so or never; for engines that run commands beside programs."""
        return ()

    async def test_a_command_beside_a_program_tells_how_it_ended_and_the_end_of_what_it_said(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        async with self.beside(engine, tmp_path) as ask:
            if not engine.commands:
                assert "runs nothing beside a program" in await refused(ask(("true",)))
                return
            assert await ask(self.words(Behaviour(say="fine"))) == CommandOutcome(0, b"fine")
            bad = self.words(Behaviour(say="x" * 5000 + "why", exit_code=7))
            assert await ask(bad) == CommandOutcome(7, b"x" * 97 + b"why")

    async def test_a_command_without_end_is_gone_at_its_timeout_and_its_program_goes_on(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        if not engine.commands:
            return
        async with self.beside(engine, tmp_path) as ask, asyncio.timeout(LONGEST_SECONDS):
            endless = self.words(Behaviour(say="on", forever=True))
            assert await ask(endless, 0.5) == CommandOutcome(None, b"on")
            assert await ask(self.words(Behaviour(say="still here"))) == CommandOutcome(0, b"still here")

    async def test_beside_what_does_not_run_no_command_runs(self, engine: Engine) -> None:
        words = self.words(Behaviour()) or ("true",)
        assert await refused(engine.command(CommandRequest("e-never", 1, words, 5.0)))

    @asynccontextmanager
    async def beside(self, engine: Engine, folder: Path) -> AsyncIterator["Ask"]:
        """Run a program, and give what runs commands beside it."""
        request = self.request(Behaviour(say="live\n", forever=True), folder)
        run = asyncio.ensure_future(engine.run(request, Running()))
        stdout = request.workdir / "stdout"
        await eventually(lambda: stdout.exists() and stdout.read_bytes() == b"live\n")

        def ask(words: tuple[str, ...], seconds: float = LONGEST_SECONDS) -> Awaitable[CommandOutcome]:
            return engine.command(CommandRequest(request.execution_id, 1, words, seconds, most_output_bytes=100))

        try:
            yield ask
            assert not run.done()
        finally:
            run.cancel()
            await asyncio.wait([run])

    async def test_closing_twice_is_closing_once(self, engine: Engine) -> None:
        await engine.close()
        await engine.close()


async def refused(command: Awaitable[CommandOutcome]) -> str:
    """Return why a command is not run."""
    try:
        outcome = await command
    except SkreiError as error:
        return error.message
    raise AssertionError(f"it ran: {outcome}")
