"""What one commit to the record costs. Run: python benchmarks/record.py [--database-url postgresql://…]

Without a database it starts an embedded one, with fsync, in a folder of its own. Beside each commit stands what the
disk asks of any durable transaction here and now: machines differ and drift, so only the ratio says much. Target:
half a millisecond for a commit of one on a quiet machine, of which a third is the disk's.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import uvloop

from skrei_domain.ids import new_evaluation_id, new_execution_id, new_job_id
from skrei_domain.lifecycle import ExecutionState, JobState, Want
from skrei_domain.messages import ResultRef, RunOutput
from skrei_domain.resources import Resources
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_embedded.postgres import Postgres
from skrei_embedded.processes import Spawner
from skrei_scheduling.changes import (
    Changes,
    ExecutionChange,
    HistoryNew,
    JobChange,
    Locked,
    Observed,
    Position,
    ResultNew,
)
from skrei_scheduling.rows import ExecutionRow
from skrei_store import leases, migrate
from skrei_store.admission import Admission
from skrei_store.db import connect, leader_pool, open_pool
from skrei_store.leader import LeaderRecord
from skrei_store.submission import Submission
from skrei_store.submit import submit_many

Work: TypeAlias = tuple[list[Submission], list[ExecutionRow]]
Step: TypeAlias = Callable[[LeaderRecord, list[Submission], list[ExecutionRow]], Awaitable[None]]

REPEATS = 300
BATCH = 64
RESULT = "A" * 600  # base64 of a small tar.gz


async def measure(url: str) -> None:
    async with open_pool(url, size=1) as pool, leader_pool(url) as leader, pool.acquire() as db:
        keeper = await connect(url)
        await keeper.execute("UPDATE leases SET expires_at = '-infinity'")
        epoch = await leases.acquire(keeper, "benchmark", 3600.0)
        assert epoch is not None
        record = LeaderRecord(leader, epoch)
        await db.execute("CREATE TABLE IF NOT EXISTS benchmark (id bigserial PRIMARY KEY, text text)")
        floor = await report(
            "floor: one row, one transaction", lambda: db.execute("INSERT INTO benchmark (text) VALUES ('x')"), 0.0
        )
        admission = Admission(limit=10**9, namespace_limit=10**9)
        await report("one submission", lambda: submit(db, 1, admission), floor)
        await report(f"{BATCH} submissions in one commit", lambda: submit(db, BATCH, admission), floor, REPEATS // 4)
        for size in (1, BATCH):
            jobs = [await submit(db, size, admission) for _ in range(REPEATS // (1 if size == 1 else 4))]
            rows = [[an_execution(job.job_id) for job in batch] for batch in jobs]
            work = list(zip(jobs, rows, strict=True))
            await report(f"a plan that places {size}", each(plan, record, work), floor, len(work))
            await report(f"the facts that end {size}", each(end, record, work), floor, len(work))
        await db.execute("DROP TABLE benchmark")
        await keeper.close()


def each(step: Step, record: LeaderRecord, work: list[Work]) -> Callable[[], Awaitable[None]]:
    """Return a step that takes the next piece of work each time."""
    left = iter(work)
    return lambda: step(record, *next(left))


async def submit(db: asyncpg.Connection, size: int, admission: Admission) -> list[Submission]:
    batch = [a_submission() for _ in range(size)]
    for answer in await submit_many(db, batch, admission):
        if isinstance(answer, Exception):
            raise answer
    return batch


async def plan(record: LeaderRecord, jobs: list[Submission], rows: list[ExecutionRow]) -> None:
    def decide(locked: Locked) -> Changes:
        return Changes(
            executions_new=tuple(rows),
            jobs=tuple(JobChange(row.job_id, 3, JobState.RUNNING, "", {}) for row in rows),
            history=tuple(
                each
                for row in rows
                for each in (
                    HistoryNew(row.job_id, 2, 1, "Scheduling", "Requested execution on n-12345678", row.id, {"a": "b"}),
                    HistoryNew(row.job_id, 3, 1, "State Update", "Running", "", {"NewState": "Running"}),
                )
            ),
            evaluations_done=tuple(locked.evaluations),
        )

    await record.commit([job.job_id for job in jobs], [job.evaluation_id for job in jobs], decide)


async def end(record: LeaderRecord, jobs: list[Submission], rows: list[ExecutionRow]) -> None:
    ended = [
        row.evolve(
            state=ExecutionState.COMPLETED, observed=ExecutionState.COMPLETED, holds=False, seen_revision=1, starts=1
        )
        for row in rows
    ]
    told = Observed(exit_code=0, output=RunOutput(stdout="hello\n"))

    def decide(locked: Locked) -> Changes:
        return Changes(
            executions=tuple(ExecutionChange(row, told) for row in ended),
            results=tuple(
                ResultNew(row.id, row.job_id, 1, row.task, 0, True, ResultRef(digest="d", size=450, inline=RESULT))
                for row in rows
            ),
            jobs=tuple(JobChange(row.job_id, 6, JobState.COMPLETED, "", {}, (row.unit,)) for row in rows),
            history=tuple(
                HistoryNew(row.job_id, seq, 1, "Execution", text, row.id)
                for row in rows
                for seq, text in ((4, "Running"), (5, "Completed successfully"), (6, "Completed"))
            ),
            position=Position("2026-01-01", len(rows)),
        )

    await record.commit([job.job_id for job in jobs], [], decide)


def a_submission() -> Submission:
    job_id = new_job_id()
    task = TaskSpec(name="main", engine=SpecConfig(type="wasm", params={"EntryModule": {"Source": "x" * 300}}))
    spec = JobSpec(name=job_id, labels={"team": "a"}, tasks=(task,))
    return Submission(
        job_id, new_evaluation_id(), spec, encode(spec), traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    )


def an_execution(job_id: str) -> ExecutionRow:
    return ExecutionRow(
        id=new_execution_id(),
        job_id=job_id,
        job_version=1,
        namespace="default",
        task="main",
        partition=0,
        attempt=1,
        node_id="n-benchmark",
        incarnation=1,
        state=ExecutionState.OFFERED,
        want=Want.RUN,
        revision=1,
        seen_revision=0,
        reserved=Resources(cpu_milli=100, memory_bytes=2**26),
    )


async def report(what: str, step: Callable[[], Awaitable[object]], floor: float, repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        await step()
        times.append((time.perf_counter() - begin) * 1e3)
    middle = statistics.median(times)
    ratio = f"{middle / floor:6.1f} x floor" if floor else ""
    print(f"{what:34}{middle:8.2f} ms p50{statistics.quantiles(times, n=20)[-1]:8.2f} ms p95 {ratio}", flush=True)
    return middle


@contextmanager
def database() -> Iterator[str]:
    """An embedded Postgres that keeps its promises, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="skrei-bench-"))
    folder.chmod(0o711)
    children = Spawner()
    postgres = Postgres(folder, children)
    try:
        postgres.start()
        yield postgres.url
        postgres.stop()
    finally:
        children.close()
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database-url")
    url = parser.parse_args().database_url
    if url:
        uvloop.run(measure(url))
        return
    with database() as own:
        migrate.upgrade(own)
        uvloop.run(measure(own))


if __name__ == "__main__":
    main()
