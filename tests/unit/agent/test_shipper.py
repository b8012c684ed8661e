"""The shipper against the publisher's real door, on a clock of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from skrei_compute_agent.events import Adopt, DropFiles, Exited, NotAdopted, RunEngine, Stage, Staged
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.runner import Runner
from skrei_compute_agent.shipper import ENDING_SECONDS, Shipper, Shipping
from skrei_compute_agent.shipping import EVERY_SECONDS, PIECE_BYTES
from skrei_domain.messages import Problem, ResultRef, RunOrder
from skrei_domain.resources import Resources
from skrei_domain.spec import LogsConfig, TaskSpec
from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import TokenSigner, TokenVerifier
from skrei_plugin_api.engine import Tell
from skrei_publisher.app import build
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.log_door import LogDoor
from skrei_publisher.logbook import LogBook
from skrei_publisher.store import ResultStore

PRIVATE, PUBLIC = new_key()
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Bench:
    """A node's folders, its shipper, and what the publisher has."""

    folders: Folders
    book: LogBook
    shipper: Shipper
    url: str
    seconds: list[float]

    def begin(self, execution_id: str = "e-1", start: int = 1, *, signed_for: str = "") -> Path:
        """A start whose output is watched; returns its folder."""
        places = self.folders.make(execution_id)
        places.stdout.write_bytes(b"")
        places.stderr.write_bytes(b"")
        token = TokenSigner(PRIVATE).run(signed_for or execution_id, "n-1", (), seconds=60)
        self.shipper.watch(execution_id, start, token)
        return places.work

    async def passes(self, *pauses: float) -> None:
        """Time goes on, and the shipper looks after each pause."""
        for seconds in pauses:
            self.seconds[0] += seconds
            await self.shipper.run_once()

    def has(self, stream: str = "stdout") -> bytes:
        found = self.book.find("e-1", stream)
        return b"" if found is None else found.path.read_bytes()

    def complete(self, stream: str = "stdout") -> bool:
        found = self.book.find("e-1", stream)
        return found is not None and found.complete


def say(work: Path, text: bytes, stream: str = "stdout") -> None:
    with (work / stream).open("ab") as file:
        file.write(text)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    book = LogBook(tmp_path / "logs", stream_bytes=4 * PIECE_BYTES, quota_bytes=10**9)
    book.open()
    folders = Folders(tmp_path / "executions")
    folders.open(())
    keeper = SignedDoor(TokenVerifier(PUBLIC))
    store = ResultStore(tmp_path / "results")
    app = build(store, None, keeper, logs=LogDoor(book, keeper))  # type: ignore[arg-type]
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        seconds = [1000.0]
        bench = Bench(
            folders, book, Shipper(folders, bytes_per_second=PIECE_BYTES, clock=lambda: seconds[0]), url, seconds
        )
        bench.shipper.door(url)
        yield bench
        await bench.shipper.close()
    folders.close()


async def test_what_is_said_is_there_after_a_while_and_goes_on_where_it_was(bench: Bench) -> None:
    work = bench.begin()
    say(work, b"hello ")
    await bench.passes(0)
    assert bench.has() == b""
    say(work, b"world")
    say(work, b"oh", "stderr")
    await bench.passes(EVERY_SECONDS)
    assert bench.has() == b"hello world"
    await bench.passes(EVERY_SECONDS)
    assert bench.has("stderr") == b"oh"
    say(work, b"!")
    await bench.passes(0, EVERY_SECONDS)
    assert bench.has() == b"hello world!"


async def test_a_whole_piece_does_not_wait(bench: Bench) -> None:
    say(bench.begin(), b"x" * (PIECE_BYTES + 5))
    await bench.passes(0)
    assert len(bench.has()) == PIECE_BYTES


async def test_the_node_s_budget_bounds_a_flood_and_the_quiet_still_get_through(bench: Bench) -> None:
    say(bench.begin(), b"quiet")
    for number in range(2, 22):
        say(bench.begin(f"e-{number}"), b"x" * (3 * PIECE_BYTES))
    await bench.passes(0)
    before = bench.book.used_bytes
    assert before == 8 * PIECE_BYTES, "the burst"
    await bench.passes(*[1] * 20)
    assert bench.has() == b"quiet"
    assert 10 * PIECE_BYTES <= bench.book.used_bytes - before <= 28 * PIECE_BYTES


async def test_a_result_that_carries_the_output_ends_the_shipping(bench: Bench) -> None:
    say(bench.begin(), b"x")
    bench.shipper.ended("e-1", last_words=False)
    await bench.passes(0, EVERY_SECONDS)
    assert bench.has() == b""


async def test_last_words_are_sent_to_their_end_though_the_execution_is_dropped(bench: Bench) -> None:
    work = bench.begin()
    say(work, b"x" * (2 * PIECE_BYTES + 3))
    bench.shipper.ended("e-1", last_words=True)
    bench.folders.drop("e-1")
    assert work.exists(), "kept while it is read"
    await bench.passes(0)
    assert len(bench.has()) == 2 * PIECE_BYTES + 3
    assert bench.complete()
    assert bench.complete("stderr")
    bench.folders.close()
    assert not work.exists()


async def test_last_words_that_nobody_takes_are_given_up(bench: Bench) -> None:
    work = bench.begin()
    say(work, b"x")
    bench.shipper.door(NOWHERE)
    bench.shipper.ended("e-1", last_words=True)
    bench.folders.drop("e-1")
    await bench.passes(0)
    assert work.exists()
    await bench.passes(ENDING_SECONDS + 1)
    bench.folders.close()
    assert not work.exists()


async def test_a_publisher_that_was_away_gets_what_it_does_not_have(bench: Bench) -> None:
    work = bench.begin()
    say(work, b"one ")
    bench.shipper.door(NOWHERE)
    await bench.passes(0, EVERY_SECONDS)
    say(work, b"two")
    bench.shipper.door(bench.url)
    await bench.passes(0.5)
    assert bench.has() == b"", "not before its time"
    await bench.passes(1)
    assert bench.has() == b"one two"
    bench.book.drop(["e-1"])
    say(work, b" three")
    await bench.passes(0, EVERY_SECONDS, EVERY_SECONDS)
    assert bench.has() == b"one two three", "what it lost comes again"


async def test_a_new_process_goes_on_where_the_publisher_is(bench: Bench) -> None:
    bench.book.append("e-1", 1, "stdout", 0, b"one ")
    say(bench.begin(), b"one two")
    await bench.passes(0, EVERY_SECONDS)
    assert bench.has() == b"one two"


async def test_what_is_refused_for_good_is_not_tried_again(bench: Bench) -> None:
    say(bench.begin(signed_for="e-2"), b"x")
    await bench.passes(0, EVERY_SECONDS)
    assert not list(bench.shipper._streams())


async def test_a_later_start_speaks_for_its_execution(bench: Bench) -> None:
    say(bench.begin(), b"first")
    await bench.passes(0, EVERY_SECONDS)
    say(bench.begin(start=2), b"second")
    await bench.passes(0, EVERY_SECONDS)
    assert bench.has() == b"second"


async def test_a_link_in_the_place_of_a_stream_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    work = bench.begin()
    (tmp_path / "secret").write_bytes(b"secret")
    (work / "stdout").unlink()
    (work / "stdout").symlink_to(tmp_path / "secret")
    await bench.passes(0, EVERY_SECONDS)
    assert bench.has() == b""


# ---------------------------------------------------------------- as the runner tells


TOKEN = TokenSigner(PRIVATE).run("e-1", "n-1", (), seconds=3_600)


def an_order() -> RunOrder:
    return RunOrder(job_id="j", job_version=1, task="main", partition=0, partition_count=1, task_json="", token=TOKEN)


def a_task(ship: str) -> TaskSpec:
    return TaskSpec(name="main", logs=LogsConfig(ship=ship))  # type: ignore[arg-type]


class Work:
    """Says something, and ends as it is told."""

    def __init__(self, bench: Bench, end: Exited | NotAdopted | BaseException) -> None:
        self.bench = bench
        self.end = end

    async def stage(self, wanted: Stage, tell: Tell) -> Staged:
        return Staged(wanted.execution_id)

    async def run(self, execution_id: str, start: int) -> Any:
        places = self.bench.folders.make(execution_id)
        places.stdout.write_bytes(b"said")
        places.stderr.write_bytes(b"")
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end

    async def adopt(self, wanted: Adopt) -> Any:
        return await self.run(wanted.execution_id, wanted.start)

    def close_ports(self, execution_id: str) -> None:
        pass

    def drop(self, execution_id: str) -> None:
        pass


INLINE = ResultRef(digest="sha256:0", size=1, inline="eA==")
LARGE = ResultRef(digest="sha256:0", size=1)
FAILED = Exited("e-1", problem=Problem(code="x", message="x"))


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize(
    ("ship", "end", "sent"),
    [
        ("live", Exited("e-1", exit_code=0, result=INLINE), b""),
        ("live", Exited("e-1", exit_code=0, result=LARGE), b"said"),
        ("live", FAILED, b"said"),
        ("live", asyncio.CancelledError(), b"said"),
        ("live", NotAdopted("e-1"), b""),
        ("end", FAILED, b""),
    ],
    ids=["inline", "to be uploaded", "failed", "cancelled", "not there", "at the end"],
)
async def test_what_no_fact_carries_is_sent_unless_the_task_says_otherwise(
    bench: Bench, adopted: bool, ship: str, end: Exited | NotAdopted | BaseException, sent: bytes
) -> None:
    answers: asyncio.Queue[Any] = asyncio.Queue()
    runner = Runner(Work(bench, end), answers.put_nowait, answers.put_nowait, Shipping(bench.shipper))  # type: ignore[arg-type]
    if adopted:
        runner.carry_out(Adopt("e-1", 1, an_order(), a_task(ship), Resources()))
    else:
        runner.carry_out(Stage("e-1", an_order(), a_task(ship), Resources()))
        await answers.get()
        runner.carry_out(RunEngine("e-1", 1))
    answer = await answers.get()
    assert isinstance(end, BaseException) or answer is end
    runner.carry_out(DropFiles("e-1"))
    await bench.passes(0)
    assert bench.has() == sent
