"""A record with jobs in it, and leaders to commit to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import asyncpg

from skrei_domain.lifecycle import JobState
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_scheduling.changes import Changes, HistoryNew, JobChange, Locked
from skrei_scheduling.rows import ExecutionRow, Unit
from skrei_store import leases
from skrei_store.db import connect, leader_pool
from skrei_store.leader import LeaderRecord


def a_spec(name: str = "job", *, count: int = 1) -> str:
    """The stored text of a small job."""
    return encode(JobSpec(name=name, count=count, tasks=(TaskSpec(name="main", engine=SpecConfig(type="wasm")),)))


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(url, application_name="test")
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def leading(url: str, holder: str = "first", *, seconds: float = 60.0) -> AsyncIterator[LeaderRecord]:
    """The record in the hands of a leader that has just taken the lease."""
    async with connection(url) as keeper, leader_pool(url) as pool:
        epoch = await leases.acquire(keeper, holder, seconds)
        assert epoch is not None, "somebody else leads"
        yield LeaderRecord(pool, epoch)


async def put_jobs(url: str, *ids: str, count: int = 1, state: JobState = JobState.PENDING) -> None:
    """Write jobs as a submission does, without its statement: what the leader's tests start from."""
    async with connection(url) as db:
        await db.executemany(
            "INSERT INTO jobs (id, namespace, name, type, priority, count, state, history_seq, units_total, labels,"
            " created_at, modified_at) VALUES ($1, 'default', $1, 'batch', 0, $2, $3, 1, $2, '{}', now(), now())",
            [(id_, count, state.value) for id_ in ids],
        )
        await db.executemany(
            "INSERT INTO job_versions (job_id, version, spec) VALUES ($1, 1, $2)",
            [(id_, a_spec(id_, count=count)) for id_ in ids],
        )
        await db.executemany(
            "INSERT INTO history (job_id, seq, job_version, execution_id, topic, message, details, at)"
            " VALUES ($1, 1, 1, '', 'Submission', 'Job submitted', '{}', now())",
            [(id_,) for id_ in ids],
        )


def placing(*rows: ExecutionRow) -> Callable[[Locked], Changes]:
    """A plan that places executions and lets their jobs run."""
    jobs = sorted({row.job_id for row in rows})
    return lambda locked: Changes(
        executions_new=rows,
        jobs=tuple(moved(locked, job_id, JobState.RUNNING) for job_id in jobs),
        history=tuple(told(locked, job_id, "Running") for job_id in jobs),
    )


def moved(locked: Locked, job_id: str, state: JobState | None, *, won: Iterable[Unit] = ()) -> JobChange:
    """One history row further, and in another state."""
    return JobChange(job_id, locked.jobs[job_id].history_seq + 1, state=state, won=tuple(won))


def told(locked: Locked, job_id: str, message: str) -> HistoryNew:
    return HistoryNew(job_id, locked.jobs[job_id].history_seq + 1, 1, "State Update", message)


async def blocked(watcher: asyncpg.Connection, sessions: int = 1) -> None:
    """Return once so many sessions of this database wait for a lock; 0: once none does any more."""
    waiting = -1
    async with asyncio.timeout(10):
        while waiting < sessions or (waiting > 0 and not sessions):
            waiting = await watcher.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
