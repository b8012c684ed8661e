"""The journal: what was submitted is there after a restart, in order, and nobody else may write it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skrei_compute_agent import journal as journal_module
from skrei_compute_agent.journal import GROUP_ROWS, Journal, JournalBroken, JournalInUse
from skrei_compute_agent.journal_rows import Tables, load_memory
from skrei_compute_agent.journal_schema import TABLES, JournalTooNew, open_database
from skrei_domain.lifecycle import ExecutionState, Want
from skrei_domain.messages import ExecutionObserved, PortObserved, Problem, ResultRef
from skrei_domain.sync import (
    DropFacts,
    DropKnown,
    JournalRow,
    Known,
    Meta,
    NodeMemory,
    PutFact,
    PutKnown,
    PutMeta,
    replay,
)
from tests.support.agent_machine import an_order

AT = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)


def new_id() -> str:
    return "n-made"


def a_fact(sequence: int) -> PutFact:
    result = ResultRef(digest="sha256:00", size=3, inline="AAAA")
    state = ExecutionState.COMPLETED
    fact = ExecutionObserved(execution_id=f"e-{sequence}", revision=1, state=state, result=result)
    return PutFact(sequence, fact, f"b-{sequence % 2}")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path)
    made.load("", new_id)
    yield made
    made.close()


def read(folder: Path, node_id: str = "") -> NodeMemory:
    journal = Journal(folder)
    try:
        return journal.load(node_id, new_id)
    finally:
        journal.close()


def start(journal: Journal) -> "asyncio.Future[JournalBroken]":
    broken: asyncio.Future[JournalBroken] = asyncio.get_running_loop().create_future()
    journal.start(broken.set_result)
    return broken


async def write(journal: Journal, *rows: JournalRow) -> None:
    done = asyncio.Event()
    journal.submit(rows, done.set)
    await done.wait()


@pytest.mark.row("2.10/node-ids")
async def test_a_new_journal_makes_a_node_id_and_keeps_it(tmp_path: Path) -> None:
    for make in (new_id, lambda: "n-another"):
        journal = Journal(tmp_path)
        assert journal.load("", make).meta.node_id == "n-made"
        journal.close()


async def test_what_was_submitted_is_there_after_a_restart(journal: Journal, tmp_path: Path) -> None:
    start(journal)
    known = Known(
        *("e-1", 3, Want.STOP, ExecutionState.RUNNING, 2, 1, an_order()),
        changed_at=AT,
        devices=("GPU-1", "GPU-2"),
        ports=(PortObserved(name="web", host="127.0.0.1", port=20_000, target=80),),
        falls=5,
        fell_at=AT,
    )
    rows = (PutMeta(Meta("n-made", 1, 2, 3, 4, "b-1")), PutKnown(known), a_fact(5))
    await write(journal, *rows)
    journal.close()
    assert read(tmp_path) == replay(Meta("n-made"), rows)


async def test_tombstones_are_dropped_oldest_first_after_a_restart_too(journal: Journal, tmp_path: Path) -> None:
    start(journal)
    first = [Known(f"e-{number}", 1, Want.RUN, changed_at=AT) for number in range(3)]
    later = [replace(first[at], forgotten=True, changed_at=AT + timedelta(seconds=2 - at)) for at in (2, 0, 1)]
    await write(journal, *map(PutKnown, first + later))
    journal.close()
    known = read(tmp_path).known
    assert known == {each.execution_id: each for each in later}
    assert known.drop_stones(AT + timedelta(seconds=2), keep=9, most=9) == ["e-2", "e-1"]


async def test_a_second_process_is_kept_out(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(JournalInUse, match="another process uses the journal"):
        read(tmp_path)
    journal.close()
    assert read(tmp_path).meta.node_id == "n-made"


async def test_a_journal_of_another_node_is_refused(journal: Journal, tmp_path: Path) -> None:
    journal.close()
    with pytest.raises(JournalBroken, match="belongs to n-made, not to n-other"):
        read(tmp_path, "n-other")


async def test_a_journal_of_a_later_version_is_refused(journal: Journal, tmp_path: Path) -> None:
    journal.close()
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(JournalTooNew, match="later version of Skrei"):
        read(tmp_path)


async def test_a_journal_of_an_earlier_version_is_lifted_and_keeps_what_it_holds(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    younger = "".join(
        f"ALTER TABLE executions DROP COLUMN {name};" for name in ("devices", "ended", "ports", "falls", "fell_at")
    )
    database.executescript(f"{TABLES} {younger} PRAGMA user_version=1;")
    database.execute("INSERT INTO meta VALUES (1, 'n-old', 1, 1, 1, 0, '')")
    database.execute("INSERT INTO executions VALUES ('e-1', 1, 'run', 'running', 1, 1, NULL, 0, NULL)")
    database.commit()
    database.close()
    memory = read(tmp_path)
    assert memory.meta.node_id == "n-old"
    assert memory.known["e-1"] == Known("e-1", 1, Want.RUN, ExecutionState.RUNNING, 1, 1)


async def test_groups_are_called_back_in_order_and_gather_into_few_commits(journal: Journal) -> None:
    order: list[int] = []
    last = asyncio.Event()
    for number in range(1, 201):
        journal.submit((a_fact(number),), lambda number=number: order.append(number))  # type: ignore[misc]
    journal.submit((), last.set)
    start(journal)
    await last.wait()
    assert order == list(range(1, 201))
    assert journal.commits == -(-200 // GROUP_ROWS)


async def test_a_group_is_never_torn(journal: Journal, tmp_path: Path) -> None:
    start(journal)
    await write(journal, *(a_fact(number) for number in range(1, GROUP_ROWS * 2)))
    assert journal.commits == 1


async def test_a_journal_that_cannot_be_written_says_so_and_calls_nothing_back(
    journal: Journal, tmp_path: Path
) -> None:
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    database.execute("DROP TABLE facts")
    database.close()
    broken = start(journal)
    called = asyncio.Event()
    journal.submit((a_fact(1),), called.set)
    with pytest.raises(JournalBroken, match="no such table: facts"):
        raise await broken
    assert not called.is_set()


async def test_whatever_ends_the_writer_is_told(journal: Journal) -> None:
    broken = start(journal)
    called = asyncio.Event()
    unsayable = Problem(code="broken", message="\udc80")
    fact = ExecutionObserved(execution_id="e-1", revision=1, state=ExecutionState.FAILED, problem=unsayable)
    journal.submit((PutFact(1, fact, "boot-1"),), called.set)
    async with asyncio.timeout(5):
        with pytest.raises(JournalBroken, match="surrogates not allowed"):
            raise await broken
    assert not called.is_set()


async def test_closing_writes_what_was_submitted(journal: Journal, tmp_path: Path) -> None:
    start(journal)
    journal.submit((a_fact(1),), lambda: None)
    journal.close()
    journal.close()
    assert list(read(tmp_path).outbox) == [1]


async def test_it_is_synced_at_every_commit(tmp_path: Path) -> None:
    database = open_database(tmp_path / "journal.sqlite")
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA temp_store").fetchone() == (2,), "no folder but its own is needed"
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


IDS = st.sampled_from(["e-1", "e-2", "e-3"])
KNOWN = st.builds(
    Known,
    execution_id=IDS,
    revision=st.integers(0, 9),
    want=st.sampled_from(Want),
    state=st.sampled_from(ExecutionState),
    starts=st.integers(0, 3),
    told=st.integers(0, 3),
    order=st.none() | st.just(an_order()),
    forgotten=st.booleans(),
    changed_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    ended=st.none() | st.just(a_fact(1).fact),
)
ROWS = st.one_of(
    st.builds(PutKnown, KNOWN),
    st.builds(DropKnown, IDS),
    st.builds(a_fact, st.integers(1, 5)),
    st.builds(DropFacts, st.none() | st.integers(0, 5)),
    st.builds(
        PutMeta, st.builds(Meta, st.just("n-1"), st.integers(0, 3), st.integers(0, 3), confirmed_by=st.just("b"))
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(st.lists(st.lists(ROWS, max_size=6), max_size=5))
def test_a_loaded_journal_equals_the_replay_of_its_rows(groups: list[list[JournalRow]]) -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.executescript(TABLES)
        load_memory(database, "n-1", new_id)
        tables = Tables(database)
        for number, group in enumerate(groups):
            tables.apply(group)
            if number % 2:  # as after a restart
                tables = Tables(database)
        rows = [row for group in groups for row in group]
        assert load_memory(database, "n-1", new_id) == replay(Meta("n-1"), rows)
    finally:
        database.close()


# ---------------------------------------------------------------- what nobody waits for


async def test_what_nobody_waits_for_goes_with_what_somebody_does_in_one_commit_and_in_order(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PATIENCE_SECONDS", 3_600.0)
    start(journal)
    order: list[str] = []
    await write(journal, a_fact(1))
    commits = journal.commits
    journal.submit((DropFacts(1),), lambda: order.append("patient"), patient=True)
    await write(journal, a_fact(2))
    assert order == ["patient"], "in the order of submission"
    assert journal.commits == commits + 1


async def test_what_nobody_waits_for_waits_only_for_a_moment(journal: Journal) -> None:
    start(journal)
    done = asyncio.Event()
    journal.submit((a_fact(1),), done.set, patient=True)
    async with asyncio.timeout(20):
        await done.wait()


async def test_no_more_than_one_commits_worth_is_kept_back(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PATIENCE_SECONDS", 3_600.0)
    start(journal)
    done = asyncio.Event()
    for number in range(1, GROUP_ROWS):
        journal.submit((a_fact(number),), done.set, patient=True)
    await asyncio.sleep(0)
    assert not done.is_set()
    journal.submit((a_fact(GROUP_ROWS),), done.set, patient=True)
    async with asyncio.timeout(20):
        await done.wait()


async def test_what_is_kept_back_is_written_when_the_journal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PATIENCE_SECONDS", 3_600.0)
    journal = Journal(tmp_path)
    journal.load("", new_id)
    start(journal)
    journal.submit((a_fact(1),), lambda: None, patient=True)
    journal.close()
    assert list(read(tmp_path).outbox) == [1]
