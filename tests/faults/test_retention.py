"""What jobs left goes when it may, in a real record: results by the publisher's word, then whole jobs; else nothing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from skrei_domain.clock import SystemClock
from skrei_domain.errors import LeadershipLost
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_domain.messages import PublisherCommand
from skrei_domain.retention import parse_policy, result_goes
from skrei_domain.spec import JobSpec, RetentionConfig, SpecConfig, TaskSpec, encode
from skrei_scheduler.collector import Collector, Gone
from skrei_scheduling.changes import Changes
from skrei_store import retention
from skrei_store.leader import LeaderRecord
from tests.support.builders import a_job, an_execution
from tests.support.record import connection, leading, put_jobs

POLICY = parse_policy({"results": "2d", "logs": "1d", "history": "10d"})
S = ExecutionState


class Publisher:
    """Drops what it is told to, and says so."""

    def __init__(self, record: LeaderRecord) -> None:
        self.record = record
        self.dropped: list[str] = []
        self.logs: list[str] = []
        self.deaf = False
        self.asked: set[str] = set()

    async def hear(self, command: PublisherCommand) -> None:
        self.logs += command.drop_logs
        self.asked |= set(command.drop)
        if command.drop and not self.deaf:
            self.dropped += command.drop
            await self.record.commit([], [], lambda _: Changes(results_dropped=command.drop))


async def put(db: asyncpg.Connection, job_id: str, state: JobState, *, days: float, version: int = 1) -> None:
    """Let a job stand as it came to so many days ago."""
    await db.execute(
        "UPDATE jobs SET state = $2, version = $4, units_won = CASE WHEN $2 = 'Completed' THEN units_total ELSE 0 END,"
        " modified_at = now() - $3::interval WHERE id = $1",
        *(job_id, state.value, timedelta(days=days), version),
    )


async def ran(
    db: asyncpg.Connection,
    job_id: str,
    name: str,
    *,
    days: float,
    version: int = 1,
    won: bool = True,
    published: str | None = None,
    own: int | None = None,
    partition: int = 0,
) -> None:
    """Let an execution of a job have left output and a stored result so many days ago."""
    at = timedelta(days=days)
    await db.execute(
        "UPDATE executions SET modified_at = now() - $2::interval, created_at = now() - $2::interval, stdout = 'said',"
        " holds = false WHERE id = $1",
        *(name, at),
    )
    await db.execute(
        "INSERT INTO results (execution_id, job_id, job_version, task, partition, committed, digest, size, created_at,"
        " stored_at, published, own_bytes)"
        " VALUES ($1, $2, $3, 'main', $4, $5, 'sha256:x', 1000, now() - $6::interval, now(), $7, $8)",
        *(name, job_id, version, partition, won, at, published, own),
    )


async def executed(record: LeaderRecord, job_id: str, *names: str, version: int = 1, live: Sequence[str] = ()) -> None:
    job = replace(a_job(job_id, count=len(names)), version=version)
    rows = tuple(
        an_execution(
            name,
            job=job,
            partition=number,
            state=S.RUNNING if name in live else S.COMPLETED,
            want=Want.RUN,
            holds=name in live,
        )
        for number, name in enumerate(names)
    )
    await record.commit([job_id], [], lambda _: Changes(executions_new=rows))


async def left(db: asyncpg.Connection) -> set[str]:
    return {row["id"] for row in await db.fetch("SELECT id FROM jobs")}


async def test_what_may_go_goes_in_its_order_and_what_is_needed_or_anothers_stays(postgres_url: str) -> None:
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        await put_jobs(postgres_url, "j-ended", "j-fresh", "j-batch", "j-s3", count=2)
        for job_id, names in (
            ("j-ended", ("e-1", "e-2")),
            ("j-fresh", ("e-3", "e-4")),
            ("j-batch", ("e-5", "e-6")),
            ("j-s3", ("e-7", "e-8")),
        ):
            await executed(record, job_id, *names)
        await put(db, "j-ended", JobState.COMPLETED, days=11)
        await put(db, "j-fresh", JobState.COMPLETED, days=1.5)
        await put(db, "j-batch", JobState.RUNNING, days=0)
        await put(db, "j-s3", JobState.COMPLETED, days=11)
        for name, job_id, days in (("e-1", "j-ended", 11), ("e-3", "j-fresh", 30), ("e-5", "j-batch", 30)):
            await ran(db, job_id, name, days=days)
        await ran(db, "j-batch", "e-6", days=30, won=False, partition=1)
        await ran(db, "j-s3", "e-7", days=11, published='{"Type": "s3"}')
        await ran(db, "j-ended", "e-2", days=11, partition=1, published='{"Type": "resultPaths"}', own=500)
        audit = await db.fetchval("SELECT count(*) FROM audit")
        publisher = Publisher(record)
        collector = Collector(record, POLICY, SystemClock(), tell=publisher.hear)
        now = await db.fetchval("SELECT now()")
        jobs, _ = await retention.page(db, POLICY, now)
        told = await retention.amounts(db, jobs)
        assert {kind: amount.count for kind, amount in told.items()} == {
            "results": 3,
            "logs": 6,
            "jobs": 2,
            "history": 0,
        }
        assert told["results"].bytes == 2_500, "of what went to several places what is ours"
        assert told["results"].oldest == await db.fetchval("SELECT created_at FROM results WHERE execution_id = 'e-6'")

        publisher.deaf = True
        assert (await collector.run_once()).jobs == 1, "what lies in the store holds its job"
        assert await left(db) == {"j-ended", "j-fresh", "j-batch"}
        assert publisher.asked == {"e-1", "e-2", "e-6", "e-7"}, (
            "of the last there may be a copy, which nobody names any more"
        )
        assert sorted(publisher.logs) == ["e-1", "e-2", "e-3", "e-5", "e-6", "e-7"]
        assert await db.fetchval("SELECT count(*) FROM executions WHERE stdout IS NOT NULL AND stdout <> ''") == 0

        publisher.deaf = False
        assert await collector.run_once() == Gone(results=3, jobs=1)
        assert set(publisher.dropped) == {"e-1", "e-2", "e-6"}
        assert await left(db) == {"j-fresh", "j-batch"}
        for table in ("executions", "results", "history", "job_versions"):
            ids = {row["job_id"] for row in await db.fetch(f"SELECT DISTINCT job_id FROM {table}")}
            assert ids <= {"j-fresh", "j-batch"}, table
        assert await db.fetchval("SELECT stored_at IS NOT NULL FROM results WHERE execution_id = 'e-5'"), "it is needed"
        assert await db.fetchval("SELECT count(*) FROM audit") == audit
        assert await collector.run_once() == Gone()


async def test_the_record_picks_what_the_rule_says(postgres_url: str) -> None:
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        kinds = [(state, type_) for state in (JobState.RUNNING, JobState.COMPLETED) for type_ in ("batch", "service")]
        made: list[tuple[str, int, bool, float, str]] = []
        for number, (state, type_) in enumerate(kinds):
            job_id = f"j-{number}"
            await put_jobs(postgres_url, job_id)
            await db.execute("UPDATE jobs SET type = $2 WHERE id = $1", job_id, type_)
            for version in (1, 2):
                names = [f"e-{number}-{version}-{part}" for part in range(4)]
                await executed(record, job_id, *names, version=version)
                for part, name in enumerate(names):
                    won, days = part % 2 == 0, (0.5, 3)[part // 2]
                    await ran(db, job_id, name, days=days, version=version, won=won, partition=part)
                    made.append((name, version, won, days, job_id))
            await put(db, job_id, state, days=number, version=2)
        now = await db.fetchval("SELECT now()")
        jobs, after = await retention.page(db, POLICY, now)
        assert after == ""
        dues = {each.job_id: each.due for each in jobs}
        expected = [
            name
            for name, version, won, days, job_id in made
            if job_id in dues
            and result_goes(dues[job_id], version=version, won=won, made_at=now - timedelta(days=days))
        ]
        assert await retention.results(db, jobs) == sorted(expected)
        assert 0 < len(expected) < len(made)


async def test_a_large_job_goes_in_pieces_and_one_that_goes_on_stays(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS", 3)
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        await put_jobs(postgres_url, "j-1", "j-2", count=7)
        for number, job_id in enumerate(("j-1", "j-2")):
            await executed(record, job_id, *(f"e-{number}-{part}" for part in range(7)), live=["e-1-0"])
            await put(db, job_id, JobState.STOPPED, days=20)
        jobs, _ = await retention.page(db, POLICY, await db.fetchval("SELECT now()"))
        assert [each.job_id for each in await retention.whole_jobs(db, jobs)] == ["j-1"], "something of the other runs"
        (job,) = await retention.whole_jobs(db, jobs)
        turns = 0
        while not await retention.forget_job(db, 1, job):
            turns += 1
        assert turns == 2
        assert await left(db) == {"j-2"}
        await put(db, "j-2", JobState.STOPPED, days=20, version=2)
        stale = next(each for each in jobs if each.job_id == "j-2")
        assert await retention.forget_job(db, 1, stale), "nothing is left to do: it is another version by now"
        assert await left(db) == {"j-2"}
        with pytest.raises(LeadershipLost):
            await retention.forget_job(db, 7, stale)


async def test_a_job_that_is_run_again_while_it_goes_keeps_its_latest_version(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS", 3)
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        await put_jobs(postgres_url, "j-1")
        await db.execute(
            "INSERT INTO job_versions SELECT (jsonb_populate_record(v, jsonb_build_object('version', n))).*"
            " FROM job_versions v, generate_series(5, 2, -1) n"
        )
        await put(db, "j-1", JobState.COMPLETED, days=20, version=5)
        (job,), _ = await retention.page(db, POLICY, await db.fetchval("SELECT now()"))
        assert not await retention.forget_job(db, 1, job)
        assert {row["version"] for row in await db.fetch("SELECT version FROM job_versions")} == {4, 5}
        assert await record.collect(lambda db, epoch: retention.forget_job(db, epoch, job))
        assert await left(db) == set()


async def test_a_job_says_it_for_itself_and_old_transitions_of_one_that_goes_on_go(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        await put_jobs(postgres_url, "j-asks", "j-long")
        task = TaskSpec(name="main", engine=SpecConfig(type="wasm"))
        spec = encode(JobSpec(name="j-asks", tasks=(task,), retention=RetentionConfig(history=30 * 86_400)))
        await db.execute("UPDATE job_versions SET spec = $1 WHERE job_id = 'j-asks'", spec)
        await put(db, "j-asks", JobState.STOPPED, days=20)
        await put(db, "j-long", JobState.RUNNING, days=0)
        await db.execute("UPDATE jobs SET history_seq = 1500 WHERE id = 'j-long'")
        await db.execute(
            "INSERT INTO history (job_id, seq, job_version, execution_id, topic, message, details, at)"
            " SELECT 'j-long', n, 1, '', 'State', 'm', '{}', now() - interval '20 days' FROM generate_series(2, 1500) n"
        )
        publisher = Publisher(record)
        gone = await Collector(record, POLICY, SystemClock(), tell=publisher.hear).run_once()
        assert gone == Gone(old=499), "the first is of today, and the last thousand stay"
        assert await left(db) == {"j-asks", "j-long"}


async def test_of_a_job_that_goes_on_old_attempts_go_and_their_number_is_still_known(postgres_url: str) -> None:
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        await put_jobs(postgres_url, "j-1")
        job = a_job("j-1")
        rows = [
            an_execution(
                f"e-{version}-{attempt}",
                job=replace(job, version=version),
                attempt=attempt,
                state=S.FAILED,
                holds=False,
            )
            for version, attempt in ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3))
        ]
        await record.commit(["j-1"], [], lambda _: Changes(executions_new=tuple(rows)))
        await db.execute("UPDATE executions SET modified_at = now() - interval '20 days', stdout = ''")
        await ran(db, "j-1", "e-1-2", days=20)
        await put(db, "j-1", JobState.RUNNING, days=0, version=2)
        publisher = Publisher(record)
        publisher.deaf = True
        collector = Collector(record, POLICY, SystemClock(), tell=publisher.hear)
        assert (await collector.run_once()).old == 3
        assert {row["id"] for row in await db.fetch("SELECT id FROM executions")} == {"e-1-2", "e-2-3"}, "it is stored"
        publisher.deaf = False
        assert (await collector.run_once()).old == 1
        await db.execute("UPDATE job_versions SET version = 2 WHERE job_id = 'j-1'")
        assert (await record.load()).jobs[0].attempts == {("main", 0): 3}
        assert await db.fetchval("SELECT count(*) FROM results") == 0


async def test_what_a_lost_execution_had_said_goes_by_its_own_job_s_time(postgres_url: str) -> None:
    async with leading(postgres_url) as record, connection(postgres_url) as db:
        await put_jobs(postgres_url, "j-old", "j-fresh", count=2)
        await executed(record, "j-old", "e-1", "e-2")
        await executed(record, "j-fresh", "e-3", "e-4")
        await put(db, "j-old", JobState.FAILED, days=2)
        await put(db, "j-fresh", JobState.FAILED, days=0.5)
        await db.execute("UPDATE executions SET state = 'lost', holds = false, starts = 1 WHERE id IN ('e-1', 'e-3')")
        publisher = Publisher(record)
        gone = await Collector(record, POLICY, SystemClock(), tell=publisher.hear).run_once()
        assert publisher.logs == ["e-1"], "the others told their end, or have their time"
        assert gone.logs == 0
