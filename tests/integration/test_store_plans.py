"""Bulk statements are lookups by primary key whatever the statistics say: small bursts never show it otherwise."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import ResultRef
from skrei_scheduling.changes import Changes, ExecutionChange, ResultNew
from skrei_store import admission, believed, parts, work
from skrei_store.bulk import Part, statement
from skrei_store.db import LEADER_READER, READER, WRITER, connect
from skrei_store.leader import LOCK
from skrei_store.staged import Turns
from tests.support.builders import an_execution
from tests.support.record import connection as connected
from tests.support.record import leading, moved, put_jobs

JOBS, COUNT = 100, 100
TABLES = ("jobs", "job_versions", "executions", "results", "evaluations", "history", "idempotency")

UPDATES: list[tuple[Part, ...]] = [
    (parts.EXECUTIONS,),
    (parts.JOBS,),
    (parts.RESULTS_STORED,),
    (parts.RESULTS_DROPPED,),
    (parts.EVALUATIONS_DONE,),
    (parts.EXECUTIONS, parts.RESULTS, parts.JOBS, parts.HISTORY, parts.EVALUATIONS_NEW, parts.NODES, parts.CLUSTER),
    (parts.JOBS, parts.HISTORY, parts.EVALUATIONS_DONE, parts.EXECUTIONS_NEW),
]


@asynccontextmanager
async def session(url: str, settings: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(url, settings=settings)
    try:
        yield opened
    finally:
        await opened.close()


async def planned(db: asyncpg.Connection, sql: str, *, width: int) -> list[dict[str, Any]]:
    """Return every node of the plan that a prepared statement runs with once it is planned for any values."""
    await db.execute("SET plan_cache_mode = force_generic_plan")
    await db.execute(f"PREPARE probe AS {sql}")
    try:
        nulls = ", ".join(["NULL"] * width)
        explained = await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE probe ({nulls})")
    finally:
        await db.execute("DEALLOCATE probe")
    return list(walk(json.loads(explained)[0]["Plan"]))


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from walk(child)


def check_lookups(nodes: list[dict[str, Any]], *, columns: tuple[str, ...]) -> None:
    """Every read of a table is a lookup by one of these columns."""
    scans = [node for node in nodes if node.get("Relation Name") in TABLES and "Scan" in node["Node Type"]]
    for node in scans:
        if node["Node Type"] == "Bitmap Heap Scan":
            continue
        condition = node.get("Index Cond", "")
        assert any(f"({column} = " in condition for column in columns), node
    indexes = [node for node in nodes if node["Node Type"] == "Bitmap Index Scan"]
    assert all(any(f"({column} = " in node.get("Index Cond", "") for column in columns) for node in indexes), indexes


def check_no_square(nodes: list[dict[str, Any]]) -> None:
    """Tables are looked up by key, and nothing loops over the arrays for each row."""
    check_lookups(nodes, columns=("id", "execution_id"))
    loops = [node for node in nodes if node["Node Type"] == "Nested Loop"]
    inner = set(itertools.chain.from_iterable({n.get("Relation Name") for n in walk(loop)} for loop in loops))
    assert inner <= {None, "cluster"}, "a loop over the arrays for each row is a square"


async def believe(db: asyncpg.Connection, pages: int, rows: int) -> None:
    """Let the planner believe that every table has so many rows, whatever is in it."""
    await db.execute(
        "UPDATE pg_class SET relpages = $1, reltuples = $2 WHERE relname = ANY ($3::text[])", pages, rows, list(TABLES)
    )
    for table in TABLES:
        await db.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")


@pytest.mark.parametrize(
    ("pages", "rows"), [(0, -1), (0, 0), (1, 1), (1, 60), (1_000_000, 5), (1_000_000, 100_000_000)]
)
async def test_bulk_writes_look_rows_up_by_key_whatever_the_statistics(
    postgres_url: str, pages: int, rows: int
) -> None:
    async with session(postgres_url, WRITER) as db:
        await believe(db, pages, rows)
        for combination in UPDATES:
            width = 1 + sum(len(part.columns) for part in combination)
            check_no_square(await planned(db, statement(combination), width=width))
            check_no_square(await planned(db, believed.statement(combination), width=8 + width))
            lone = believed.lone_statement(tuple((part, 1 + (part is parts.HISTORY)) for part in combination))
            more = len(parts.HISTORY.columns) if parts.HISTORY in combination else 0
            check_lookups(await planned(db, lone, width=8 + width + more), columns=("id", "execution_id"))  # few rows
        nodes = await planned(db, LOCK, width=4)
        check_lookups(nodes, columns=("id", "name"))


async def test_a_square_would_be_seen(postgres_url: str) -> None:
    """The planner does choose the loop of this file's fears when nothing keeps it from it."""
    free = {key: value for key, value in READER.items() if not key.startswith("enable_")}
    async with session(postgres_url, free) as db:
        await believe(db, 0, 0)
        width = 1 + len(parts.JOBS.columns)
        nodes = await planned(db, statement((parts.JOBS,)), width=width)
    with pytest.raises(AssertionError):
        check_lookups(nodes, columns=("id",))


@pytest.mark.parametrize(("pages", "rows"), [(0, -1), (0, 0), (1, 1), (1_000_000, 5), (1_000_000, 100_000_000)])
async def test_reads_of_the_leader_go_from_the_few_to_the_many(postgres_url: str, pages: int, rows: int) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    class Watch:
        async def fetch(self, sql: str, *values: object) -> list[object]:
            asked.append((sql, values))
            if "WITH RECURSIVE at (destination)" in sql:
                return [{"destination": "s3://results"}]
            return [{"id": "v"}] if sql.startswith("SELECT id FROM evaluations") else []

    watch: Any = Watch()
    await work.due(watch, 10)
    await work.executions(watch, ["e"])
    await work.specs(watch, [("j", 1)])
    await work.publisher_work(watch, Turns(), older_than_seconds=1.0, ttl_hours=1.0)
    async with session(postgres_url, LEADER_READER) as db:
        await believe(db, pages, rows)
        for sql, values in asked:
            nodes = await planned(db, sql, width=len(values))
            assert "Seq Scan" not in {node["Node Type"] for node in nodes}, sql
            for node in nodes:
                if node.get("Relation Name") in ("jobs", "job_versions"):
                    assert "id = " in node.get("Index Cond", "") or node["Node Type"] == "Bitmap Heap Scan", node


async def test_counting_who_waits_reads_only_the_index_of_open_jobs(postgres_url: str) -> None:
    async with session(postgres_url, READER) as db:
        for sql, width in ((admission.COUNT, 1), (admission.COUNT_NAMESPACE, 2)):
            nodes = await planned(db, sql, width=width)
            assert {node.get("Index Name") for node in nodes} - {None} == {"ix_jobs_open"}


async def test_a_hundred_jobs_of_a_hundred_partitions_commit_with_stale_statistics(postgres_url: str) -> None:
    """Planned while the tables were empty, never analysed: ten thousand facts in commits of a thousand."""
    ids = [f"j-{number:03d}" for number in range(JOBS)]
    await put_jobs(postgres_url, *ids, count=COUNT)
    async with connected(postgres_url) as db:
        await believe(db, 0, 0)
    rows = [an_execution(f"e-{job}-{n}", job_id=job, partition=n) for job in ids for n in range(COUNT)]
    async with leading(postgres_url) as record:
        for begin in range(0, len(rows), 1_000):
            some = rows[begin : begin + 1_000]
            await record.commit([], [], lambda _, some=some: Changes(executions_new=tuple(some)))
        for begin in range(0, len(rows), 1_000):
            some = rows[begin : begin + 1_000]
            jobs = sorted({row.job_id for row in some})

            def decide(locked: Any, some: list[Any] = some, jobs: list[str] = jobs) -> Changes:
                return Changes(
                    executions=tuple(
                        ExecutionChange(row.evolve(state=ExecutionState.COMPLETED, holds=False)) for row in some
                    ),
                    results=tuple(
                        ResultNew(row.id, row.job_id, 1, "main", row.partition, True, ResultRef(digest="d", size=0))
                        for row in some
                    ),
                    jobs=tuple(
                        moved(locked, job, None, won=[row.unit for row in some if row.job_id == job]) for job in jobs
                    ),
                )

            await record.commit(jobs, [], decide)
    async with connected(postgres_url) as db:
        assert await db.fetchval("SELECT count(*) FROM jobs WHERE units_won = units_total") == JOBS
