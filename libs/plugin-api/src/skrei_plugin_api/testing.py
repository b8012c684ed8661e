# ruff: noqa: D102 - a test's name says what it claims
"""The contract suites: what every engine, storage and publisher must do, as classes for pytest to collect.

A plugin's tests subclass one, give the fixture `engine`, `storage` or `publisher`, and say how to make a program or an
input of it; with pytest-asyncio in auto mode the rest follows. Change the suite, not one plugin's tests.
"""

import asyncio
import base64
import gzip
import hashlib
import io
import tarfile
import tempfile
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from skrei_domain.errors import SkreiError
from skrei_domain.uploads import Parcel, UploadPlan, UploadRequest
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
from skrei_plugin_api.pieces import DATA, Bring, Listed, Piece, PieceStorage
from skrei_plugin_api.plugin import PLUGIN_API, Params
from skrei_plugin_api.publisher import (
    DigestDiffers,
    Published,
    Publisher,
    PublishError,
    StagedGone,
    UploadIncomplete,
    UploadUnknown,
)
from skrei_plugin_api.scripted import ScriptedEngine
from skrei_plugin_api.storage import (
    BlobReader,
    SourceSpec,
    StageFailed,
    StageLimits,
    StageProblem,
    Storage,
    TaskResult,
)
from skrei_plugin_api.streams import cut_line

__all__ = [
    "Behaviour",
    "EngineContract",
    "NoBlobs",
    "Program",
    "PublisherContract",
    "Running",
    "ScriptedEngine",
    "StorageContract",
]

LONGEST_SECONDS = 20.0
"""No step of a suite takes this long on any machine that works."""


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


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until `holds()`, looking again and again. Raises TimeoutError."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while not holds():  # noqa: ASYNC110 - files tell nobody that they have changed
            await asyncio.sleep(0.002)


def contents(outcome: RunOutcome) -> dict[str, bytes | None]:
    """Return what a result holds by name, in its order; None for a folder."""
    assert outcome.result is not None
    packed = outcome.result.data if outcome.result.path is None else outcome.result.path.read_bytes()
    assert packed is not None
    return unpacked(packed)


def unpacked(packed: bytes) -> dict[str, bytes | None]:
    """Return what a packed result holds by name, in its order; None for a folder."""
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        for member in tar:
            file = tar.extractfile(member)
            found[member.name] = None if file is None else file.read()
    return found


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


class NoBlobs:
    """Has no blobs, keeps what is small in a folder, and lays fetched files out in one, each time anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, digest: str) -> Path:
        """Refuse."""
        raise StageFailed(StageProblem.MISSING, f"there is no {digest}")

    def keep(self, data: bytes) -> Path:
        """Write it, once."""
        path = self._folder / f"kept-{hashlib.sha256(data).hexdigest()}"
        path.write_bytes(data)
        return path

    async def results(self, task: str) -> AsyncIterator[TaskResult]:
        """Refuse."""
        nothing: tuple[TaskResult, ...] = ()
        for each in nothing:
            yield each
        raise StageFailed(StageProblem.MISSING, f"there is no task {task}")

    async def listed(self, storage: Storage, source: SourceSpec, limits: StageLimits) -> Listed | None:
        """Share nothing."""
        del storage, source, limits
        return None

    async def gather(self, pieces: Sequence[Piece] | Listed, bring: Bring) -> Path:
        """Bring each, one after another."""
        pieces = await pieces.load() if isinstance(pieces, Listed) else pieces
        root = self._folder / "gathered"
        for number, piece in enumerate(pieces):
            brought = self._folder / f"bring-{number}"
            brought.mkdir(exist_ok=True)
            await bring(piece, brought)
            if not piece.path:
                return brought / DATA
            (root / piece.path).parent.mkdir(parents=True, exist_ok=True)
            (brought / DATA).replace(root / piece.path)
        return root


class StorageContract:
    """What every storage does. Subclasses give a fixture `storage`."""

    invalid: ClassVar[Mapping[str, Params]] = {}
    """Params that are wrong, by the path of the field that is."""
    files: ClassVar[Mapping[str, bytes]] = {"a.txt": b"A", "deep/er/b": b"B" * 100_000, "deep/empty": b""}
    """What one input can be; a storage of single files says one."""

    @abstractmethod
    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        """Return an input that is a directory of these files; `folder` is what the storage may read from."""

    def blobs(self, folder: Path) -> BlobReader:
        """Return what brings what belongs to the job of `source`."""
        return NoBlobs(folder)

    @abstractmethod
    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        """Return an input that cannot be had, and why."""

    async def test_it_says_who_it_is(self, storage: Storage) -> None:
        assert storage.plugin_api == PLUGIN_API
        assert (await apart(storage.describe)).available

    async def test_what_was_named_is_staged(self, storage: Storage, tmp_path: Path) -> None:
        mount = await self.stage(storage, self.source(self.files, tmp_path), tmp_path)
        found = {str(path.relative_to(mount.source)): path for path in mount.source.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == self.files
        assert mount.target == "/in"
        assert not mount.read_write

    async def test_a_known_size_is_not_too_small(self, storage: Storage, tmp_path: Path) -> None:
        size = await storage.size(self.source({"a": b"A" * 1000}, tmp_path))
        assert size is None or size >= 0

    async def test_what_cannot_be_had_says_why(self, storage: Storage, tmp_path: Path) -> None:
        source, problem = self.unavailable(tmp_path)
        try:
            await self.stage(storage, source, tmp_path)
        except StageFailed as error:
            assert error.code is problem  # noqa: PT017 - suites do without pytest
            assert error.message  # noqa: PT017
        else:
            raise AssertionError("it was staged")

    async def test_what_is_listed_for_all_partitions_is_what_each_of_them_gets(
        self, storage: Storage, tmp_path: Path
    ) -> None:
        one = self.source(self.files, tmp_path)
        for partitions in (1, 3):
            parts = [replace(one, partition=number, partitions=partitions) for number in range(partitions)]
            entries = storage.resolve(parts[0], StageLimits())
            if entries is None or not isinstance(storage, PieceStorage):
                return
            found = [entry async for entry in entries]
            assert len({entry.partition is None for entry in found}) == 1, "all are dealt out, or none"
            for part in parts:
                mine = [entry.piece for entry in found if entry.partition in (None, part.partition)]
                assert mine == list(await storage.pieces(part, StageLimits()))

    async def test_wrong_params_are_named(self, storage: Storage) -> None:
        assert self.invalid, "name at least one"
        for path, params in self.invalid.items():
            assert [problem.path for problem in storage.validate(params)] == [path], params

    async def test_right_params_have_no_problems_in_any_case(self, storage: Storage, tmp_path: Path) -> None:
        params = self.source({"a": b"A"}, tmp_path).params
        for change in (str, str.lower, str.upper):
            assert storage.validate({change(key): value for key, value in params.items()}) == []

    async def test_closing_twice_is_closing_once(self, storage: Storage) -> None:
        await storage.close()
        await storage.close()

    async def stage(
        self, storage: Storage, source: SourceSpec, folder: Path, limits: StageLimits | None = None
    ) -> Mount:
        """Stage into a folder of its own."""
        return await storage.stage(source, folder / "staged", limits or StageLimits(), self.blobs(folder))


class PublisherContract:
    """What every publisher does that takes uploads itself. Subclasses give a fixture `publisher`, made empty and closed
    afterwards."""

    content: ClassVar[bytes] = bytes(range(256)) * 70_000
    """A result of 17 MiB: several parts of most publishers, the last one shorter."""
    params: ClassVar[Params] = {}
    """A destination that there is."""
    invalid: ClassVar[Mapping[str, Params]] = {}
    """Params that are wrong, by the path of the field that is."""

    async def send(self, publisher: Publisher, request: UploadRequest, data: bytes) -> None:
        """Carry one request of a plan out; as it is, for publishers whose parts come to their own door.

        Raises DigestDiffers where a server says at once that these are not the bytes that were announced.
        """
        number = int(request.url.rsplit("/", 1)[1])
        await publisher.receive(request.url.split("/")[1], number, len(data), pieces(data))

    @abstractmethod
    async def read(self, publisher: Publisher, execution_id: str, published: Published | None) -> bytes | None:
        """Return the finalised result of an execution as a reader gets it; None when there is none."""

    async def test_it_says_who_it_is(self, publisher: Publisher) -> None:
        assert publisher.plugin_api == PLUGIN_API
        assert (await apart(publisher.describe)).available

    async def test_right_params_have_no_problems_and_wrong_ones_are_named(self, publisher: Publisher) -> None:
        for change in (str, str.lower, str.upper):
            assert publisher.validate({change(key): value for key, value in self.params.items()}) == []
        for path, params in self.invalid.items():
            assert [problem.path for problem in publisher.validate(params)] == [path], params

    async def test_a_destination_that_is_there_is_reached(self, publisher: Publisher) -> None:
        await publisher.reach(self.params)

    async def test_a_plan_covers_every_byte_once(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content, {"X-Test": "yes"})
        position = 0
        for request in sorted(plan.requests, key=lambda request: request.first):
            assert request.first == position
            position += request.size
        assert position == len(self.content)

    async def test_what_is_finalised_can_be_read_and_nothing_before(self, publisher: Publisher) -> None:
        place = await self.upload(publisher, self.content)
        assert await publisher.open("e-1") is None
        published = await publisher.finalise(parcel(self.content), place)
        assert await self.read(publisher, "e-1", published) == self.content

    async def test_every_step_may_be_repeated(self, publisher: Publisher) -> None:
        wanted = parcel(self.content)
        for _ in range(2):
            place = await self.upload(publisher, self.content)
        assert await publisher.stage(wanted) == place
        assert (await self.plan(publisher, self.content)).requests == ()
        published = [await publisher.finalise(wanted, place) for _ in range(2)]
        assert published[0] == published[1]
        assert await self.read(publisher, "e-1", published[1]) == self.content

    async def test_a_plan_asked_again_names_what_is_missing(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content)
        await self.carry(publisher, plan, self.content, some=1)
        rest = await self.plan(publisher, self.content)
        assert {each.first for each in rest.requests} == {each.first for each in plan.requests[1:]}

    async def test_a_parcel_with_parts_missing_is_not_staged(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content)
        await self.carry(publisher, plan, self.content, some=1)
        await raises(UploadIncomplete, publisher.stage(parcel(self.content)))

    async def test_another_content_than_announced_is_dropped(self, publisher: Publisher) -> None:
        plan = await self.plan(publisher, self.content)
        try:
            await self.carry(publisher, plan, self.content[:-1] + b"!")
        except DigestDiffers:
            await raises(UploadIncomplete, publisher.stage(parcel(self.content)))  # the server took none of it
            return
        await raises(DigestDiffers, publisher.stage(parcel(self.content)))
        assert len((await self.plan(publisher, self.content)).requests) == len(plan.requests)

    async def test_another_parcel_of_the_execution_replaces_the_first(self, publisher: Publisher) -> None:
        await self.upload(publisher, self.content)
        other = self.content[::-1]
        place = await self.upload(publisher, other)
        published = await publisher.finalise(parcel(other), place)
        assert await self.read(publisher, "e-1", published) == other

    async def test_what_was_aborted_is_gone(self, publisher: Publisher) -> None:
        place = await self.upload(publisher, self.content)
        for _ in range(2):
            await publisher.abort("e-1")
        await raises(StagedGone, publisher.finalise(parcel(self.content), place))
        await raises(UploadUnknown, publisher.stage(parcel(self.content)))

    async def test_aborting_never_touches_what_is_final(self, publisher: Publisher) -> None:
        published = await publisher.finalise(parcel(self.content), await self.upload(publisher, self.content))
        await publisher.abort("e-1")
        assert await self.read(publisher, "e-1", published) == self.content

    async def test_a_portion_is_taken_unseen_and_seen_once_it_is_final(self, publisher: Publisher) -> None:
        if not publisher.takes_portions:
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.content)
            file.flush()
            for _ in range(2):
                place = await publisher.take(parcel(self.content), Path(file.name), self.params)
        published = await publisher.finalise(parcel(self.content), place)
        assert await self.read(publisher, "e-1", published) == self.content

    async def test_a_portion_that_was_aborted_is_gone(self, publisher: Publisher) -> None:
        if not publisher.takes_portions:
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.content)
            file.flush()
            place = await publisher.take(parcel(self.content), Path(file.name), self.params)
            await publisher.abort("e-1")
        await raises(StagedGone, publisher.finalise(parcel(self.content), place))

    async def test_what_is_final_can_be_read_from_any_byte(self, publisher: Publisher) -> None:
        published = await publisher.finalise(parcel(self.content), await self.upload(publisher, self.content))
        if published is None:
            return  # it is in the process's own store
        async with publisher.read("e-1", published.params, first=1_000_000) as found:
            assert b"".join([piece async for piece in found]) == self.content[1_000_000:]

    async def plan(self, publisher: Publisher, content: bytes, headers: Mapping[str, str] | None = None) -> UploadPlan:
        """Ask for a plan as a node does: once more with the digests of pieces where they are asked for."""
        wanted = parcel(content)
        plan = await publisher.plan(wanted, headers or {}, params=self.params)
        if plan.piece_bytes:
            wanted = in_pieces(wanted, content, plan.piece_bytes)
            plan = await publisher.plan(wanted, headers or {}, params=self.params)
        return plan

    async def upload(self, publisher: Publisher, content: bytes) -> str:
        """Plan, send and stage; returns the place."""
        await self.carry(publisher, await self.plan(publisher, content), content)
        return await publisher.stage(parcel(content))

    async def carry(self, publisher: Publisher, plan: UploadPlan, content: bytes, some: int | None = None) -> None:
        """Carry a plan out, or its first `some` requests."""
        for request in plan.requests[:some]:
            await self.send(publisher, request, content[request.first : request.first + request.size])


def in_pieces(parcel: Parcel, content: bytes, size: int) -> Parcel:
    """Return a parcel with the digests of its pieces."""
    found = (content[first : first + size] for first in range(0, len(content), size))
    digests = tuple(base64.b64encode(hashlib.sha256(each).digest()).decode() for each in found)
    return parcel.model_copy(update={"piece_bytes": size, "pieces": digests})


def parcel(content: bytes, execution_id: str = "e-1") -> Parcel:
    """Return what announces `content`."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Parcel(execution_id=execution_id, digest=digest, size=len(content))


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Yield data as a connection brings it."""
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def raises(kind: type[PublishError], step: Awaitable[object]) -> None:
    """Fail unless a step ends with this error."""
    try:
        await step
    except kind as error:
        assert error.message  # noqa: PT017 - suites do without pytest
    else:
        raise AssertionError(f"no {kind.__name__}")
