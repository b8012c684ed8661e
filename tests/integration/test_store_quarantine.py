"""What the real record cannot hold ends a leader; kept aside, it is a row of the audit beside what could be settled."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

import asyncpg
import pytest

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import ExecutionObserved, Problem, ResultRef, Step
from skrei_scheduler.quarantine import settle_apart
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Decide, Locked
from skrei_scheduling.settle import settle
from skrei_scheduling.view import ClusterView
from skrei_store.leader import CommitRefused, LeaderRecord
from tests.support.builders import a_fact, a_job, a_node, an_execution, counting_ids
from tests.support.record import connection, leading, placing, put_jobs

EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
POISON = {
    "number": a_fact("e-1", revision=2**63),
    "exit-code": a_fact("e-1", exit_code=-(2**70)),
    "result": a_fact("e-1").model_copy(update={"result": ResultRef(digest="d", size=1, inline="a")}),
    "size": a_fact("e-1").model_copy(update={"result": ResultRef(digest="d", size=2**64)}),
    "time": a_fact("e-1").model_copy(update={"steps": (Step(state=ExecutionState.RUNNING, at=EARLY),)}),
}


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connection(postgres_url) as opened:
        yield opened


@pytest.fixture
async def record(postgres_url: str) -> AsyncIterator[LeaderRecord]:
    await put_jobs(postgres_url, "j-1", count=3)
    async with leading(postgres_url) as record:
        await record.commit([], [], lambda _: Changes(nodes=(a_node("n-1"),)))
        await record.commit(["j-1"], [], placing(*(an_execution(f"e-{n}", partition=n) for n in range(3))))
        yield record


def settling(*facts: ExecutionObserved, apart: bool) -> Decide:
    job = a_job("j-1", count=3, state=JobState.RUNNING)
    view = ClusterView.load([a_node("n-1")], [job], [an_execution(f"e-{n}", partition=n) for n in range(3)])
    observed = [("n-1", fact) for fact in facts]

    def decide(locked: Locked) -> Changes:
        if not apart:
            return settle(view, observed, locked, counting_ids())
        builder = ChangesBuilder(view, locked, counting_ids())
        settle_apart(builder, observed, builder.audit)
        return builder.build()

    return decide


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_the_record_refuses_the_poison_that_is_kept_from_it(
    poison: ExecutionObserved, record: LeaderRecord
) -> None:
    with pytest.raises(CommitRefused):
        await record.commit(["j-1"], [], settling(a_fact("e-0"), poison, apart=False))


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_poison_becomes_a_row_of_the_audit_and_the_rest_is_written(
    poison: ExecutionObserved, record: LeaderRecord, db: asyncpg.Connection
) -> None:
    await record.commit(["j-1"], [], settling(a_fact("e-0"), poison, a_fact("e-2"), apart=True))
    rows = await db.fetch("SELECT state FROM executions ORDER BY id")
    assert [row["state"] for row in rows] == ["completed", "lost", "completed"]
    kept = await db.fetchrow("SELECT *, at > now() - interval '1 minute' AS now FROM audit")
    assert (kept["actor"], kept["action"], kept["object"], kept["now"]) == ("n-1", "fact-quarantined", "e-1", True)
    assert ExecutionObserved.model_validate_json(json.loads(kept["details"])["fact"]) == poison
    assert await db.fetchval("SELECT job_id FROM evaluations") == "j-1"


async def test_what_programs_print_is_no_poison(record: LeaderRecord, db: asyncpg.Connection) -> None:
    said = Problem(code="exit\0", message="\0 \ud800 broken")
    fact = a_fact("e-1", ExecutionState.FAILED).model_copy(update={"problem": said})
    await record.commit(["j-1"], [], settling(fact, apart=True))
    assert await db.fetchval("SELECT state FROM executions WHERE id = 'e-1'") == "failed"
    assert await db.fetchval("SELECT count(*) FROM audit") == 0
