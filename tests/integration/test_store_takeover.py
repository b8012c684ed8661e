"""What a new leader reads: all that a view needs, and nothing that has ended."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import ManifestRef, ResultRef
from skrei_scheduling import memory
from skrei_scheduling.changes import Changes, EvaluationNew, ExecutionChange, JobChange, Place, Position, ResultNew
from skrei_scheduling.rows import wanted_ports
from skrei_scheduling.view import ClusterView
from skrei_store import work
from tests.support.builders import NOW, a_node, an_execution
from tests.support.record import a_spec, leading, put_jobs
from tests.support.record import connection as connected


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


def won(execution_id: str, job_id: str, partition: int, *, version: int = 1, committed: bool = True) -> ResultNew:
    ref = ResultRef(digest="d", size=0)
    return ResultNew(execution_id, job_id, version, "main", partition, committed, ref)


async def test_a_fresh_record_is_an_empty_view(postgres_url: str) -> None:
    async with leading(postgres_url) as record:
        loaded = await record.load()
    assert (loaded.timeline, loaded.position) == (1, None)
    assert (loaded.nodes, loaded.jobs, loaded.executions) == ([], [], [])


@pytest.mark.row("4.10/restart")
async def test_a_takeover_reads_back_what_was_committed(postgres_url: str) -> None:
    await put_jobs(postgres_url, "j-1", count=4)
    rows = (
        an_execution("e-1", job_id="j-1", partition=0, state=ExecutionState.RUNNING, seen_revision=1),
        an_execution("e-2", job_id="j-1", partition=1, state=ExecutionState.UNKNOWN, incarnation=3),
        an_execution("e-3", job_id="j-1", partition=2, state=ExecutionState.LOST, revoked=True, attempt=2),
    )
    rows = (replace(rows[0], ports=wanted_ports((8080, 9090))), *rows[1:])
    node = memory.renewed(a_node("n-1", labels={"region": "eu"}, gpu=1), a_node("n-1", engines=["Ünicode"]).info, NOW)
    assert len(node.gone) == 4, "two engines, a label and a device"
    async with leading(postgres_url) as record:
        await record.commit(
            [], [], lambda _: Changes(executions_new=rows, nodes=(node,), position=Position("made", 9), timeline=3)
        )
        loaded = await record.load()

    assert (loaded.timeline, loaded.position) == (3, Position("made", 9))
    assert loaded.nodes == [node]
    assert sorted(loaded.executions, key=lambda row: row.id) == list(rows)
    view = ClusterView.load(loaded.nodes, loaded.jobs, loaded.executions)
    assert view.matrix.ports.holders(0, (8080, 9090, 7070)) == [(8080, "j-1"), (9090, "j-1")]


async def test_what_is_staged_comes_with_the_digest_that_alone_makes_it_final(postgres_url: str) -> None:
    await put_jobs(postgres_url, "j-1")
    row = an_execution("e-1", job_id="j-1", state=ExecutionState.RUNNING)
    staged = row.evolve(state=ExecutionState.PUBLISHING, staged=True, digest="d")
    result = replace(won("e-1", "j-1", 0), staged=Place("store", "there"))
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(executions_new=(row,)))
        await record.commit([], [], lambda _: Changes(executions=(ExecutionChange(staged),), results=(result,)))
        loaded = await record.load()
        assert loaded.executions == [staged]
        assert await record.executions(["e-1"]) == {"e-1": staged}


async def test_open_jobs_come_with_what_their_units_have_been_through(
    postgres_url: str, db: asyncpg.Connection
) -> None:
    await put_jobs(postgres_url, "j-1", count=3)
    over = {"state": ExecutionState.COMPLETED, "holds": False}
    rows = (
        an_execution("e-1", job_id="j-1", partition=0, **over),  # type: ignore[arg-type]
        an_execution("e-2", job_id="j-1", partition=1, node_id="n-1", state=ExecutionState.REFUSED, holds=False),
        an_execution(
            "e-3", job_id="j-1", partition=1, node_id="n-2", attempt=2, state=ExecutionState.FAILED, holds=False
        ),
        an_execution(
            "e-4", job_id="j-1", partition=2, job_version=7, attempt=9, state=ExecutionState.LOST, holds=False
        ),
    )
    results = (won("e-1", "j-1", 0), won("e-5", "j-1", 1, committed=False), won("e-6", "j-1", 2, version=7))
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(executions_new=rows, results=results))
        (job,) = (await record.load()).jobs

    assert job.won == {("main", 0)}
    assert job.attempts == {("main", 0): 1, ("main", 1): 2}
    assert job.refused_by == {("main", 1): {"n-1", "n-2"}}
    assert (job.id, job.units, job.tasks[0].requirement.engine) == ("j-1", 3, "wasm")
    assert job.created_at == await db.fetchval("SELECT created_at FROM jobs")


async def test_a_job_that_has_ended_is_read_while_its_executions_hold_room(postgres_url: str) -> None:
    for state in JobState:
        await put_jobs(postgres_url, f"j-{state}", count=0, state=state)
    await put_jobs(postgres_url, "j-held", state=JobState.STOPPED)
    held = an_execution("e-1", job_id="j-held", state=ExecutionState.LOST, holds=True, revoked=True)
    ended = an_execution("e-2", job_id="j-Failed", state=ExecutionState.FAILED, holds=False)
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(executions_new=(held, ended)))
        loaded = await record.load()

    assert [row.id for row in loaded.executions] == ["e-1"]
    assert {job.id for job in loaded.jobs} == {"j-Pending", "j-Queued", "j-Running", "j-held"}


@pytest.mark.row("4.1/restart", "4.10/restart", "12/queue-in-memory")
async def test_evaluations_come_when_they_are_due_oldest_first(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1", "j-2")
    async with leading(postgres_url) as record:
        new = (
            EvaluationNew("v-3", "j-1", "default", "later", 3600.0),
            EvaluationNew("v-2", "j-2", "default", "second", 0.0, "why"),
            EvaluationNew("v-1", "j-1", "default", "first", -5.0),
        )
        await record.commit([], [], lambda _: Changes(evaluations_new=new))
        found = await record.due(10)
        assert [(each.id, each.trigger, each.comment) for each in found] == [
            ("v-1", "first", ""),
            ("v-2", "second", "why"),
        ]
        assert [each.job.id for each in found if each.job] == ["j-1", "j-2"]
        assert [each.id for each in await record.due(1)] == ["v-1"]
        assert [each.id for each in await record.due(1, ["v-1", "v-3", "gone"])] == ["v-2"], "but what is at hand"
        assert await record.due(10, ["v-2", "v-1"]) == []
        await db.execute("UPDATE evaluations SET run_after = now() WHERE id = 'v-3'")
        await record.commit([], ["v-1"], lambda locked: Changes(evaluations_done=tuple(locked.evaluations)))
        assert [each.id for each in await record.due(10)] == ["v-2", "v-3"]


async def test_due_jobs_are_as_they_are_now(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    await db.execute("UPDATE jobs SET generation = 5, version = 2, state = 'Queued', traceparent = 't'")
    await db.execute("INSERT INTO job_versions (job_id, version, spec) VALUES ('j-1', 2, $1)", a_spec("new", count=8))
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(evaluations_new=(EvaluationNew("v", "j-1", "default", "t"),)))
        (evaluation,) = await record.due(10)

    job = evaluation.job
    assert job is not None
    assert (job.generation, job.version, job.state, job.traceparent) == (5, 2, JobState.QUEUED, "t")
    assert job.units == 8


async def test_specs_and_late_executions_are_read_by_key(postgres_url: str) -> None:
    await put_jobs(postgres_url, *(f"j-{n}" for n in range(1_200)))
    row = an_execution("e-1", job_id="j-1", state=ExecutionState.COMPLETED, holds=False)
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(executions_new=(row,)))
        texts = await record.specs({(f"j-{n}", 1) for n in range(1_200)} | {("j-1", 2), ("j-none", 1)})
        assert len(texts) == 1_200
        assert texts["j-7", 1] == a_spec("j-7")
        assert await record.executions(["e-1", "e-none"]) == {"e-1": row}


async def test_reading_leaves_the_event_loop_room() -> None:
    pages = [page async for page in work.in_pages(list(range(work.PAGE * 2 + 1)))]
    assert [len(page) for page in pages] == [work.PAGE, work.PAGE, 1]
    assert [page async for page in work.in_pages([])] == []


async def test_a_job_that_runs_once_a_node_comes_back_with_its_nodes_and_where_they_gave_up(
    postgres_url: str, db: asyncpg.Connection
) -> None:
    await put_jobs(postgres_url, "j-1")
    ref = ManifestRef(digest="sha256:" + "ab" * 32, parts=2, files=10, size_bytes=2**40)
    first = JobChange("j-1", 2, targets=(("n-1", 0), ("n-2", 1)), version=1, units=2, manifests=((("main", 1), ref),))
    second = JobChange("j-1", 3, failed=((("main", 1), "it was a trap\0"),), version=1)
    other = JobChange("j-1", 4, targets=(("n-9", 0),), version=7, manifests=((("main", 1), ref), (("main", 2), ref)))
    async with leading(postgres_url) as record:
        for change in (first, second, other):
            await record.commit(["j-1"], [], lambda _, change=change: Changes(jobs=(change,)))  # type: ignore[misc]
        (job,) = (await record.load()).jobs
    assert job.targets == {"n-1": 0, "n-2": 1}
    assert job.manifests == {("main", 1): ref}
    assert job.failed == {("main", 1): "it was a trap\ufffd"}
    assert await db.fetchval("SELECT units_total FROM jobs") == 2
