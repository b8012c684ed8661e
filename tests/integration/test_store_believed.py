"""Commits that are decided on a belief: all of it in one statement where it holds, the long way where it does not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from skrei_domain.errors import LeadershipLost
from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import ResultRef
from skrei_scheduling.changes import AuditNew, Changes, EvaluationNew, ExecutionChange, Locked, ResultNew
from skrei_scheduling.rows import ExecutionRow, JobRow
from skrei_store import leases
from skrei_store.leader import CommitRefused, LeaderRecord
from skrei_store.stop import stop_job
from tests.support.builders import a_job, a_node, an_execution
from tests.support.record import blocked, leading, moved, placing, put_jobs, told
from tests.support.record import connection as connected

NO = Changes()
GUESS = datetime(2020, 1, 1, tzinfo=UTC)  # a time that nobody may ever see
COMPLETED = ExecutionState.COMPLETED


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


@pytest.fixture(params=[(), ("j-2",)], ids=["alone", "in company"])
def company(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Jobs beside the one of a commit: of one job, values are parameters; of several, arrays are."""
    jobs: tuple[str, ...] = request.param
    return jobs


class Asked:
    """Decides, and remembers what it was told."""

    def __init__(self, decide: Callable[[Locked], Changes]) -> None:
        self.told: list[Locked] = []
        self._decide = decide

    def __call__(self, locked: Locked) -> Changes:
        self.told.append(locked)
        return self._decide(locked)


async def commit(
    record: LeaderRecord,
    job: JobRow,
    decide: Asked,
    *evaluations: str,
    beside: Sequence[str] = (),
    meanwhile: Callable[[Changes], None] = lambda _: None,
) -> Changes:
    belief = record.believe([job, *map(a_job, beside)], evaluations, GUESS)
    assert belief is not None
    return await record.commit([job.id, *beside], evaluations, decide, belief, meanwhile=meanwhile)


async def ask(db: asyncpg.Connection) -> None:
    await db.execute(
        "INSERT INTO evaluations (id, job_id, namespace, trigger, run_after)"
        " VALUES ('v-1', 'j-1', 'default', '', now())"
    )


def ending(row: ExecutionRow, job_id: str) -> Callable[[Locked], Changes]:
    ended = row.evolve(state=COMPLETED, observed=COMPLETED, holds=False)
    result = ResultNew(row.id, job_id, 1, "main", 0, True, ResultRef(digest="sha256:a", size=3, inline="aGVq"))
    return lambda locked: Changes(
        executions=(ExecutionChange(ended),),
        results=(result,),
        jobs=(moved(locked, job_id, JobState.COMPLETED, won=[("main", 0)]),),
        history=(told(locked, job_id, "Completed"),),
        nodes=(a_node("n-1"),),
    )


async def test_a_job_is_placed_and_settled_by_two_statements(
    postgres_url: str, db: asyncpg.Connection, company: tuple[str, ...]
) -> None:
    await put_jobs(postgres_url, "j-1", *company)
    await ask(db)
    job, row = a_job("j-1"), an_execution("e-1", job_id="j-1")
    place = Asked(
        lambda locked: replace(
            placing(row)(locked),
            evaluations_done=tuple(locked.evaluations),
            evaluations_new=(EvaluationNew("v-2", "j-1", "default", "retry", 60.0),),
            audit=(AuditNew("n-1", "x", "e-1"),),
        )
    )
    end = Asked(ending(row, "j-1"))
    async with leading(postgres_url) as record:
        ahead: list[Changes] = []
        placed = await commit(record, job, place, "v-1", beside=company, meanwhile=ahead.append)
        assert ahead == [placed], "what is being written is known while it is"
        assert ahead[0] is placed
        placed_at = record.now
        assert placed_at is not None
        await record.commit([], [], lambda _: Changes(timeline=2))
        assert record.now is None, "whoever decided was told: by now that is a while ago"
        await commit(record, replace(job, state=JobState.RUNNING), end, beside=company)

    assert [len(place.told), len(end.told)] == [1, 1], "asked once each: what was believed was so"
    found = await db.fetchrow("SELECT * FROM jobs WHERE id = 'j-1'")
    assert (found["state"], found["history_seq"], found["units_won"]) == ("Completed", 3, 1)
    assert [
        each["message"] for each in await db.fetch("SELECT message FROM history WHERE job_id = 'j-1' ORDER BY seq")
    ] == [
        "Job submitted",
        "Running",
        "Completed",
    ]
    evaluation = await db.fetchrow("SELECT * FROM evaluations")
    assert (evaluation["id"], evaluation["run_after"]) == ("v-2", placed_at + timedelta(seconds=60))
    times = await db.fetch("SELECT at FROM history WHERE seq > 1 UNION ALL SELECT at FROM audit")
    assert placed_at in {each["at"] for each in times}
    assert all(each["at"].year > GUESS.year for each in times), "times are the record's, not what was guessed"
    assert await db.fetchval("SELECT committed FROM results")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs SET generation = 2",
        "UPDATE jobs SET version = 2",
        "UPDATE jobs SET state = 'Queued'",
        "UPDATE jobs SET history_seq = 7",
        "UPDATE jobs SET units_won = 1",
        "DELETE FROM jobs",
        "DELETE FROM evaluations",
    ],
)
async def test_what_is_not_as_believed_goes_the_long_way(
    postgres_url: str, db: asyncpg.Connection, change: str, company: tuple[str, ...]
) -> None:
    await put_jobs(postgres_url, "j-1", *company, count=2)
    await ask(db)
    await db.execute(change)
    decide = Asked(lambda locked: Changes(timeline=len(locked.jobs) + 10 * len(locked.evaluations) + 100))
    async with leading(postgres_url) as record:
        changes = await commit(record, a_job("j-1"), decide, "v-1", beside=company)

    believed, found = decide.told
    assert (believed.now, found.now.year > GUESS.year) == (GUESS, True)
    assert (believed.jobs, believed.evaluations) != (found.jobs, found.evaluations)
    assert await db.fetchval("SELECT timeline FROM cluster") == changes.timeline
    assert changes.timeline == len(found.jobs) + 10 * len(found.evaluations) + 100


async def test_what_moves_on_while_the_lock_is_waited_for_is_seen(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    decide = Asked(lambda locked: placing(an_execution("e-1", job_id="j-1"))(locked) if len(decide.told) == 1 else NO)
    async with leading(postgres_url) as record, connected(postgres_url) as watcher:
        transaction = db.transaction()
        await transaction.start()
        await stop_job(db, "j-1", reason="", actor="")
        committing = asyncio.create_task(commit(record, a_job("j-1"), decide))
        await blocked(watcher)
        await transaction.commit()
        await committing

    assert [each.jobs["j-1"].state for each in decide.told] == [JobState.PENDING, JobState.STOPPED]
    assert await db.fetchval("SELECT count(*) FROM executions") == 0


async def test_who_leads_no_more_writes_nothing(
    postgres_url: str, db: asyncpg.Connection, company: tuple[str, ...]
) -> None:
    await put_jobs(postgres_url, "j-1", *company)
    place = Asked(placing(an_execution("e-1", job_id="j-1")))
    async with leading(postgres_url, "old", seconds=0.0) as old, leading(postgres_url, "new"):
        with pytest.raises(LeadershipLost, match="another scheduler leads"):
            await commit(old, a_job("j-1"), place, beside=company)
        with pytest.raises(LeadershipLost):
            await old.commit([], [], lambda _: NO)
    assert await db.fetchval("SELECT count(*) FROM executions") == 0
    assert await db.fetchval("SELECT max(history_seq) FROM jobs") == 1


async def test_a_takeover_waits_for_the_statement_under_way(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    async with (
        connected(postgres_url) as rival,
        connected(postgres_url) as watcher,
        leading(postgres_url, "old", seconds=0.0) as old,
    ):
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SELECT FROM jobs FOR UPDATE")
        place = Asked(placing(an_execution("e-1", job_id="j-1")))
        committing = asyncio.create_task(commit(old, a_job("j-1"), place))
        await blocked(watcher)
        taking = asyncio.create_task(leases.acquire(rival, "new", 60.0))
        await blocked(watcher, sessions=2)
        await transaction.rollback()
        await committing
        assert (await taking, len(place.told)) == (2, 1)
    assert await db.fetchval("SELECT count(*) FROM executions") == 1


async def test_a_part_that_changes_another_number_of_rows_undoes_all(
    postgres_url: str, db: asyncpg.Connection, company: tuple[str, ...]
) -> None:
    await put_jobs(postgres_url, "j-1", *company)
    ghost = an_execution("e-none", job_id="j-1").evolve(state=ExecutionState.RUNNING)
    decide = Asked(
        lambda locked: Changes(
            executions=(ExecutionChange(ghost),), jobs=(moved(locked, "j-1", JobState.RUNNING),), timeline=9
        )
    )
    async with leading(postgres_url) as record:
        with pytest.raises(CommitRefused, match="executions_changed: 1 rows given, 0 changed"):
            await commit(record, a_job("j-1"), decide, beside=company)
    assert tuple(await db.fetchrow("SELECT max(state), timeline FROM jobs, cluster GROUP BY 2")) == ("Pending", 1)


async def test_a_cancelled_one_is_the_last_of_its_leader(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    async with leading(postgres_url) as record, connected(postgres_url) as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM jobs FOR UPDATE")
        place = Asked(placing(an_execution("e-1", job_id="j-1")))
        committing = asyncio.create_task(commit(record, a_job("j-1"), place))
        await blocked(db)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        await blocked(db, sessions=0)
        await transaction.rollback()
        with pytest.raises(LeadershipLost, match="may have been made"):
            await record.commit([], [], lambda _: NO)
    assert await db.fetchval("SELECT count(*) FROM executions") == 0


async def test_a_time_that_was_guessed_is_never_written(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1")
    decide = Asked(
        lambda locked: Changes(jobs=(replace(moved(locked, "j-1", JobState.RUNNING), progress_at=locked.now),))
    )
    row, job = an_execution("e-1", job_id="j-1"), a_job("j-1")
    runs = row.evolve(state=ExecutionState.RUNNING)
    ready = Asked(lambda locked: Changes(executions=(ExecutionChange(replace(runs, ready_at=locked.now)),)))
    async with leading(postgres_url) as record:
        await commit(record, job, decide)
        await record.commit(["j-1"], [], placing(row))
        running = replace(job, state=JobState.RUNNING)
        await commit(record, running, ready)
        since = await db.fetchval("SELECT ready_at FROM executions")
        stays = Asked(lambda _: Changes(executions=(ExecutionChange(replace(runs, ready_at=since)),)))
        await commit(record, running, stays)
    assert [len(each.told) for each in (decide, ready, stays)] == [2, 2, 1]
    assert (await db.fetchval("SELECT progress_at FROM jobs")).year > GUESS.year
    assert since == ready.told[1].now
    assert await db.fetchval("SELECT ready_at FROM executions") == since


@pytest.mark.parametrize(("units", "lines"), [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)])
async def test_a_job_is_written_whole_however_many_rows_it_has(
    postgres_url: str, db: asyncpg.Connection, units: int, lines: int
) -> None:
    """A few rows are values, more are arrays: the same rows either way, in one statement."""
    await put_jobs(postgres_url, "j-1", count=units)
    rows = [an_execution(f"e-{n}", job_id="j-1", partition=n) for n in range(units)]

    def decide(locked: Locked) -> Changes:
        first = told(locked, "j-1", "0")
        history = tuple(replace(first, seq=first.seq + n, message=str(n), node_time=GUESS) for n in range(lines))
        return replace(placing(*rows)(locked), history=history)

    asked = Asked(decide)
    async with leading(postgres_url) as record:
        await commit(record, a_job("j-1", count=units), asked)
    assert len(asked.told) == 1
    found = await db.fetch("SELECT id, partition, cpu_milli, node_id, state FROM executions ORDER BY partition")
    assert [tuple(each) for each in found] == [
        (row.id, row.partition, row.reserved.cpu_milli, row.node_id, row.state) for row in rows
    ]
    said = await db.fetch("SELECT seq, message, node_time FROM history WHERE seq > 1 ORDER BY seq")
    assert [tuple(each) for each in said] == [(2 + n, str(n), GUESS) for n in range(lines)]


async def test_what_changes_beside_the_belief_while_the_lock_is_waited_for_is_kept(
    postgres_url: str, db: asyncpg.Connection, company: tuple[str, ...]
) -> None:
    """The statement began before that was committed, and writes to the row as it is afterwards."""
    await put_jobs(postgres_url, "j-1", *company)
    await ask(db)
    row = an_execution("e-1", job_id="j-1")
    place = Asked(lambda locked: replace(placing(row)(locked), evaluations_done=("v-1",)))
    async with leading(postgres_url) as record, connected(postgres_url) as watcher:
        async with db.transaction():
            await db.execute("UPDATE jobs SET priority = 7 WHERE id = 'j-1'")
            committing = asyncio.create_task(commit(record, a_job("j-1"), place, "v-1", beside=company))
            await blocked(watcher)
        await committing
    assert len(place.told) == 1
    found = await db.fetchrow("SELECT priority, state, history_seq FROM jobs WHERE id = 'j-1'")
    assert tuple(found) == (7, "Running", 2)
    counted = "SELECT (SELECT count(*) FROM executions), (SELECT count(*) FROM evaluations)"
    assert tuple(await db.fetchrow(counted)) == (1, 0)
