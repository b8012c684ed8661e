"""The leader's commit: fenced by its epoch, decided under lock, all or nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from skrei_domain.errors import LeadershipLost
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import DataRead, PortObserved, Problem, ResultRef, RunOutput, Step
from skrei_scheduling.changes import (
    AuditNew,
    Changes,
    EvaluationNew,
    ExecutionChange,
    HistoryNew,
    JobChange,
    Locked,
    NodeEventNew,
    Observed,
    Place,
    Position,
    ResultNew,
)
from skrei_store import bulk, leases
from skrei_store.db import leader_pool
from skrei_store.leader import CommitRefused, LeaderRecord
from skrei_store.parts_nodes import NODE_EVENTS_KEPT
from skrei_store.stop import stop_job
from tests.support.builders import a_node, an_execution
from tests.support.record import blocked, leading, moved, placing, put_jobs, told
from tests.support.record import connection as connected

RUNNING = ExecutionState.RUNNING
LOST = ExecutionState.LOST
COMPLETED = ExecutionState.COMPLETED


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


def a_result(
    execution_id: str, *, partition: int = 0, committed: bool = True, inline: str | None = "aGVq"
) -> ResultNew:
    ref = ResultRef(digest=f"sha256:{execution_id}", size=3, inline=inline)
    return ResultNew(execution_id, "j-1", 1, "main", partition, committed, ref)


@pytest.mark.row("4.1/redelivery")
async def test_a_commit_writes_every_part_of_its_changes(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1", count=2)
    row = an_execution("e-1", job_id="j-1", state=ExecutionState.OFFERED)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], placing(row))
        await record.commit([], [], lambda _: Changes(evaluations_new=(EvaluationNew("v-1", "j-1", "default", "x"),)))
        ended = row.evolve(state=COMPLETED, observed=COMPLETED, holds=False, seen_revision=1, starts=1)
        seen = Observed(
            (Step(state=RUNNING, at=at, start=1),), 3, Problem(code="c", message="m"), RunOutput(stdout="o"), "i"
        )
        changes = await record.commit(
            ["j-1"],
            ["v-1", "v-none"],
            lambda locked: Changes(
                executions=(ExecutionChange(ended, seen),),
                results=(a_result("e-1"),),
                jobs=(replace(moved(locked, "j-1", None, won=[("main", 0)]), message="half", details={"a": "b"}),),
                history=(HistoryNew("j-1", locked.jobs["j-1"].history_seq + 1, 1, "t", "m", "e-1", {"k": "v"}, at),),
                evaluations_new=(EvaluationNew("v-2", "j-1", "default", "retry", 60.0, "why"),),
                evaluations_done=tuple(locked.evaluations),
                nodes=(a_node("n-1"),),
                position=Position("made", 7),
                timeline=4,
                audit=(AuditNew("n-1", "fact.aside", "e-1", {"k": "v"}),),
            ),
        )

    assert changes.evaluations_done == ("v-1",)
    execution = await db.fetchrow("SELECT * FROM executions")
    assert (execution["state"], execution["holds"], execution["changes"]) == ("completed", False, 2)
    assert (execution["exit_code"], execution["stdout"], execution["problem_code"]) == (3, "o", "c")
    assert execution["image_digest"] == "i"
    assert '"running"' in execution["steps"]
    job = await db.fetchrow("SELECT * FROM jobs")
    assert (job["state"], job["units_won"], job["message"], job["details"]) == ("Running", 1, "half", '{"a":"b"}')
    assert job["history_seq"] == 3
    history = await db.fetchrow("SELECT * FROM history WHERE seq = 3")
    assert (history["execution_id"], history["details"], history["node_time"]) == ("e-1", '{"k":"v"}', at)
    assert history["at"] == job["modified_at"] == execution["modified_at"]
    result = await db.fetchrow("SELECT * FROM results")
    assert (result["committed"], result["inline"], result["digest"]) == (True, b"hej", "sha256:e-1")
    evaluation = await db.fetchrow("SELECT *, run_after - $1 AS delay FROM evaluations", history["at"])
    assert (evaluation["id"], evaluation["comment"], evaluation["delay"]) == ("v-2", "why", timedelta(seconds=60))
    assert await db.fetchval("SELECT count(*) FROM nodes") == 1
    cluster = await db.fetchrow("SELECT * FROM cluster")
    assert (cluster["timeline"], cluster["facts_created"], cluster["facts_sequence"]) == (4, "made", 7)
    audit = await db.fetchrow("SELECT * FROM audit")
    assert (audit["actor"], audit["action"], audit["object"], audit["at"]) == (
        "n-1",
        "fact.aside",
        "e-1",
        history["at"],
    )


async def test_what_a_change_does_not_say_stays(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    row = an_execution("e-1", job_id="j-1")
    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], placing(row))
        ports = (PortObserved(name="web", host="127.0.0.1", port=20_000, target=80),)
        said = Observed((), 1, None, RunOutput(stdout="kept", stdout_truncated=True), "image", ports, DataRead(local=5))
        await record.commit([], [], lambda _: Changes(executions=(ExecutionChange(row.evolve(state=RUNNING), said),)))
        await record.commit([], [], lambda _: Changes(executions=(ExecutionChange(row.evolve(starts=2)),)))
        await record.commit(["j-1"], [], lambda locked: Changes(jobs=(replace(moved(locked, "j-1", None)),)))
        await record.commit([], [], lambda _: Changes(position=Position("p", 1)))
        await record.commit([], [], lambda _: Changes(timeline=2))

    execution = await db.fetchrow("SELECT * FROM executions")
    assert (execution["stdout"], execution["stdout_truncated"], execution["exit_code"]) == ("kept", True, 1)
    assert execution["image_digest"] == "image"
    assert json.loads(execution["ports"]) == [ports[0].model_dump()]
    assert json.loads(execution["data_read"]) == {"local": 5}
    assert await db.fetchval("SELECT state FROM jobs") == "Running"
    assert tuple(await db.fetchrow("SELECT timeline, facts_created FROM cluster")) == (2, "p")


async def test_decide_sees_the_rows_as_they_are_under_lock(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1", "j-2", count=3)
    seen: list[Locked] = []
    async with leading(postgres_url) as record:
        transaction = db.transaction()
        await transaction.start()
        await stop_job(db, "j-1", reason="", actor="")
        committing = asyncio.create_task(
            record.commit(["j-2", "j-1", "j-none"], ["v-1"], lambda locked: seen.append(locked) or Changes())
        )
        async with connected(postgres_url) as watcher:
            await blocked(watcher)
        await transaction.commit()
        await committing
        stopped_at = await db.fetchval("SELECT modified_at FROM jobs WHERE id = 'j-1'")

    (locked,) = seen
    assert sorted(locked.jobs) == ["j-1", "j-2"]
    job = locked.jobs["j-1"]
    assert (job.state, job.generation, job.history_seq, job.units_won) == (JobState.STOPPED, 2, 3, 0)
    assert not locked.evaluations
    assert locked.now >= stopped_at, "what is decided later is later by the record's clock too"


async def test_a_stop_waits_for_the_commit_that_holds_its_job(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    stopping: list[asyncio.Task[object]] = []

    def decide(locked: Locked) -> Changes:
        stopping.append(asyncio.get_running_loop().create_task(stop_job(db, "j-1", reason="", actor="")))
        return Changes(jobs=(moved(locked, "j-1", JobState.FAILED),), history=(told(locked, "j-1", "Failed"),))

    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], decide)
    outcome = (await asyncio.gather(*stopping, return_exceptions=True))[0]

    assert "cannot stop job in state Failed (job j-1)" in str(outcome)


# ---------------------------------------------------------------- fencing


@pytest.mark.row("4.10/two-orchestrators")
async def test_a_frozen_leader_cannot_commit_after_takeover(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url, "old", seconds=0.0) as old, leading(postgres_url, "new") as new:
        with pytest.raises(LeadershipLost, match="another scheduler leads"):
            await old.commit(["j-1"], [], placing(an_execution("e-1", job_id="j-1")))
        with pytest.raises(LeadershipLost):
            await old.commit([], [], lambda _: Changes())
        await new.commit(["j-1"], [], placing(an_execution("e-2", job_id="j-1")))

    assert [row["id"] for row in await db.fetch("SELECT id FROM executions")] == ["e-2"]


async def test_a_takeover_waits_for_the_commit_under_way(postgres_url: str, db: asyncpg.Connection) -> None:
    """An expired lease alone lets nobody in while a commit of the old leader holds it."""
    await put_jobs(postgres_url, "j-1")
    async with (
        connected(postgres_url) as rival,
        connected(postgres_url) as watcher,
        leading(postgres_url, "old", seconds=0.0) as old,
    ):
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SELECT FROM jobs FOR UPDATE")
        committing = asyncio.create_task(old.commit(["j-1"], [], placing(an_execution("e-1", job_id="j-1"))))
        await blocked(watcher)
        taking = asyncio.create_task(leases.acquire(rival, "new", 60.0))
        await blocked(watcher, sessions=2)
        await transaction.rollback()
        await committing
        assert await taking == 2
        with pytest.raises(LeadershipLost):
            await old.commit([], [], lambda _: Changes(timeline=9))


async def test_a_leader_that_freezes_inside_a_commit_is_thrown_out_of_it(postgres_url: str) -> None:
    """The lease row stays locked no longer than a second, so a takeover passes."""
    async with connected(postgres_url) as rival, leader_pool(postgres_url) as pool:
        epoch = await leases.acquire(rival, "old", 0.0)
        assert epoch is not None
        writer = await pool.writer()
        await writer.execute("BEGIN")  # what a leader that is stopped between lock and write looks like from outside
        await writer.fetchrow("SELECT 1 FROM leases WHERE epoch = $1 FOR SHARE", epoch)
        async with asyncio.timeout(5):
            assert await leases.acquire(rival, "new", 60.0) == epoch + 1
        with pytest.raises(LeadershipLost):
            await LeaderRecord(pool, epoch).commit([], [], lambda _: Changes())


async def test_a_broken_connection_ends_the_leadership(postgres_url: str, db: asyncpg.Connection) -> None:
    async with connected(postgres_url) as keeper, leader_pool(postgres_url) as pool:
        epoch = await leases.acquire(keeper, "me", 60.0)
        assert epoch is not None
        record = LeaderRecord(pool, epoch)
        await record.commit([], [], lambda _: Changes(timeline=2))
        await db.execute(f"SELECT pg_terminate_backend({(await pool.writer()).get_server_pid()})")
        with pytest.raises(LeadershipLost):
            await record.commit([], [], lambda _: Changes(timeline=3))
        with pytest.raises(LeadershipLost):
            await record.commit([], [], lambda _: Changes(timeline=4))
    assert await db.fetchval("SELECT timeline FROM cluster") == 2


async def test_a_record_that_is_away_ends_the_leadership() -> None:
    async with leader_pool("postgresql://nobody@127.0.0.1:1/none") as pool:
        record = LeaderRecord(pool, 1)
        with pytest.raises(LeadershipLost):
            await record.load()
        with pytest.raises(LeadershipLost):
            await record.commit([], [], lambda _: Changes())


async def test_what_decide_raises_passes_and_writes_nothing(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")

    def fail(_: Locked) -> Changes:
        raise KeyError("bug")

    async with leading(postgres_url) as record:
        with pytest.raises(KeyError):
            await record.commit(["j-1"], [], fail)
        await record.commit(["j-1"], [], placing(an_execution("e-1", job_id="j-1")))
    assert await db.fetchval("SELECT count(*) FROM executions") == 1


async def test_a_commit_that_is_cancelled_leaves_nothing_behind(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url) as record, connected(postgres_url) as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM jobs FOR UPDATE")
        committing = asyncio.create_task(record.commit(["j-1"], [], placing(an_execution("e-1", job_id="j-1"))))
        await blocked(db)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        await transaction.rollback()
        assert await db.fetchval("SELECT count(*) FROM executions") == 0


# ---------------------------------------------------------------- what the record refuses


async def refused(record: LeaderRecord, changes: Changes, *lock: str) -> str:
    with pytest.raises(CommitRefused) as refusal:
        await record.commit(lock, [], lambda _: changes)
    return refusal.value.message


async def test_a_unit_cannot_have_two_standing_executions(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], placing(an_execution("e-1", job_id="j-1")))
        second = an_execution("e-2", job_id="j-1", attempt=2)
        assert "uq_executions_standing" in await refused(record, Changes(executions_new=(second,)))
    assert await db.fetchval("SELECT count(*) FROM executions") == 1


@pytest.mark.parametrize(
    "change",
    [{"state": ExecutionState.UNKNOWN}, {"revoked": True}, {"state": LOST}, {"state": ExecutionState.REFUSED}],
    ids=["unknown", "revoked", "lost", "refused"],
)
async def test_another_execution_may_step_in_in_the_commit_in_which_one_steps_out(
    postgres_url: str, db: asyncpg.Connection, change: dict[str, object]
) -> None:
    await put_jobs(postgres_url, "j-1")
    first, second = an_execution("e-1", job_id="j-1"), an_execution("e-2", job_id="j-1", attempt=2)
    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], placing(first))
        replaced = Changes(executions=(ExecutionChange(first.evolve(**change)),), executions_new=(second,))
        await record.commit([], [], lambda _: replaced)
    assert await db.fetchval("SELECT count(*) FROM executions") == 2


@pytest.mark.row("4.2/one-winner")
async def test_a_unit_cannot_be_won_twice(postgres_url: str, db: asyncpg.Connection) -> None:
    async with leading(postgres_url) as record:
        won = Changes(results=(a_result("e-1"), a_result("e-2", committed=False)))
        await record.commit([], [], lambda _: won)
        assert "uq_results_committed" in await refused(record, Changes(results=(a_result("e-3"),)))
    assert await db.fetchval("SELECT count(*) FROM results") == 2


async def test_history_cannot_be_numbered_twice(postgres_url: str) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url) as record:
        assert "pk_history" in await refused(record, Changes(history=(HistoryNew("j-1", 1, 1, "t", "m"),)))


async def test_a_job_cannot_complete_before_its_units_are_won(postgres_url: str) -> None:
    await put_jobs(postgres_url, "j-1", count=2)
    async with leading(postgres_url) as record:
        changes = Changes(jobs=(JobChange("j-1", 2, state=JobState.COMPLETED, won=(("main", 0),)),))
        assert "ck_jobs_completed" in await refused(record, changes, "j-1")


async def test_a_job_cannot_be_changed_without_its_lock(postgres_url: str) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url) as record:
        assert "without its lock" in await refused(record, Changes(jobs=(JobChange("j-1", 2),)))


async def test_an_execution_that_does_not_exist_cannot_be_changed(postgres_url: str) -> None:
    async with leading(postgres_url) as record:
        changes = Changes(executions=(ExecutionChange(an_execution("e-none")),))
        assert "1 rows given, 0 changed" in await refused(record, changes)


# ---------------------------------------------------------------- large and odd


async def test_what_a_program_printed_cannot_stop_the_leader(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    row = an_execution("e-1", job_id="j-1")
    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], placing(row))
        said = Observed(output=RunOutput(stdout="a\0b", stderr="æ\0\ud800"), problem=Problem(code="c", message="\0"))
        await record.commit(
            ["j-1"],
            [],
            lambda locked: Changes(
                executions=(ExecutionChange(row.evolve(message="m\0"), said),),
                history=(replace(told(locked, "j-1", "h\0"), details={"k": "\0\ud800"}),),
                jobs=(replace(moved(locked, "j-1", None), message="\ud800", details={"k": "\0"}),),
                nodes=(replace(a_node("n-1", labels={"l": "\0"}), error="\0"),),
            ),
        )
    assert tuple(await db.fetchrow("SELECT stdout, stderr FROM executions")) == ("a\ufffdb", "æ\ufffd?")


async def test_a_commit_larger_than_one_statement_is_still_one_commit(
    postgres_url: str, db: asyncpg.Connection
) -> None:
    rows = tuple(an_execution(f"e-{n}", job_id="j-1", partition=n) for n in range(bulk.BULK_ROWS * 2 + 5))
    inline = "A" * 65_536 * 4
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(executions_new=rows))
        results = tuple(a_result(f"e-{n}", partition=n, inline=inline) for n in range(60))
        duplicate = a_result("e-59", partition=60)
        ended = tuple(ExecutionChange(row.evolve(state=COMPLETED)) for row in rows)
        await record.commit([], [], lambda _: Changes(executions=ended, results=results))
        assert "pk_results" in await refused(
            record,
            Changes(executions=tuple(ExecutionChange(row.evolve(state=LOST)) for row in rows), results=(duplicate,)),
        )

    states = await db.fetch("SELECT state, count(*) FROM executions GROUP BY state")
    assert [tuple(row) for row in states] == [("completed", len(rows))]
    assert await db.fetchval("SELECT sum(length(inline)) FROM results") == 60 * 65_536 * 3


async def test_a_commit_of_nothing_writes_nothing(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url) as record:
        await record.commit(["j-1"], [], lambda _: Changes())
        before = await db.fetchval("SELECT modified_at FROM jobs")
        await record.commit(["j-1"], [], lambda _: Changes())
        assert await db.fetchval("SELECT modified_at FROM jobs") == before


async def test_a_destination_that_keeps_a_thousand_results_waiting_hides_none_of_another(postgres_url: str) -> None:
    def staged(number: int, destination: str) -> ResultNew:
        made = replace(a_result(f"e-{number:04}", partition=number, inline=None), committed=number % 2 == 0)
        return replace(made, staged=Place("s3", "there", destination))

    away, well = [staged(number, "s3://away") for number in range(1_000)], staged(1_000, "s3://well")
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(results=tuple(away)))
        await record.commit([], [], lambda _: Changes(results=(well,)))
        sweeps = [await record.publisher_work(older_than_seconds=0.0, ttl_hours=1.0) for _ in range(5)]
    asked = [[each.execution_id for each in (*work.finalise, *work.keep)] for work in sweeps]
    assert all("e-1000" in names and len(names) <= 500 for names in asked), "it is asked for each time"
    assert {name for names in asked for name in names} == {each.execution_id for each in (*away, well)}
    assert sweeps[0].finalise[-1].destination == "s3://well"


async def test_results_leave_the_record_once_the_publisher_has_them(postgres_url: str, db: asyncpg.Connection) -> None:
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(results=(a_result("e-1"), a_result("e-2", partition=1))))
        work = await record.publisher_work(older_than_seconds=0.0, ttl_hours=1.0)
        assert [held.execution_id for held in work.take] == ["e-1", "e-2"]
        assert not (await record.publisher_work(older_than_seconds=3600.0, ttl_hours=1.0)).take

        stored = (("e-1", "sha256:e-1"), ("e-2", "sha256:other"))
        await record.commit([], [], lambda _: Changes(results_stored=stored))
        work = await record.publisher_work(older_than_seconds=0.0, ttl_hours=1.0)
        assert [held.execution_id for held in work.take] == ["e-2"], "another archive is not this one"

        await record.commit([], [], lambda _: Changes(results_dropped=("e-1",)))
    dropped = await db.fetchrow("SELECT inline, stored_at, committed FROM results WHERE execution_id = 'e-1'")
    assert tuple(dropped) == (None, None, True), "what was won stays won"


async def test_of_a_result_that_went_to_several_places_what_is_ours_goes_alone(
    postgres_url: str, db: asyncpg.Connection
) -> None:
    told = "SELECT published, own_bytes, stored_at IS NOT NULL AS kept FROM results WHERE execution_id = 'e-1'"
    staged = replace(a_result("e-1", inline=None), staged=Place("resultPaths", "portions:[]"))
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(results=(staged,)))
        done = Changes(
            results_finalised=(("e-1", "sha256:e-1"),), results_published=(("e-1", '{"Type":"resultPaths"}', 7),)
        )
        await record.commit([], [], lambda _: done)
        assert tuple(await db.fetchrow(told)) == ('{"Type":"resultPaths"}', 7, True)
        for _ in range(2):
            await record.commit([], [], lambda _: Changes(results_dropped=("e-1",)))
    assert tuple(await db.fetchrow(told)) == ('{"Type":"resultPaths"}', None, True)


async def test_a_nodes_info_is_written_when_it_changes(postgres_url: str, db: asyncpg.Connection) -> None:
    node = a_node("n-1", labels={"a": "1"})
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(nodes=(node,)))
        await record.commit([], [], lambda _: Changes(nodes=(replace(node, confirmed=5),)))
        assert '"a":"1"' in await db.fetchval("SELECT info FROM nodes")
        other = replace(node, confirmed=6, info=a_node("n-1", labels={"a": "2"}).info)
        await record.commit([], [], lambda _: Changes(nodes=(other,)))
    assert tuple(await db.fetchrow('SELECT confirmed, info LIKE \'%"a":"2"%\' FROM nodes')) == (6, True)


async def test_events_of_a_node_are_numbered_within_it_and_only_the_latest_are_kept(
    postgres_url: str, db: asyncpg.Connection
) -> None:
    async with leading(postgres_url) as record:
        for first in range(0, NODE_EVENTS_KEPT + 20, 10):
            events = [NodeEventNew("n-1", "Changed", f"change {first + number}\x00") for number in range(10)]
            events += [NodeEventNew("n-2", "Joined", "once")] if first == 0 else []
            await record.commit([], [], lambda _, events=events: Changes(node_events=tuple(events)))  # type: ignore[misc]
    rows = await db.fetch("SELECT seq, message FROM node_events WHERE node_id = 'n-1' ORDER BY seq")
    assert [row["seq"] for row in rows] == list(range(11, NODE_EVENTS_KEPT + 21))
    assert rows[-1]["message"] == f"change {NODE_EVENTS_KEPT + 19}\N{REPLACEMENT CHARACTER}"
    assert await db.fetchval("SELECT count(*) FROM node_events WHERE node_id = 'n-2'") == 1
