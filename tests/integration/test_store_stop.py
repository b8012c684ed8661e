"""Stopping a job is an intent: it commits whole, once, and only from a state that has not ended."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from skrei_domain.errors import Conflict, NotFound
from skrei_domain.lifecycle import JobState
from skrei_store.stop import stop_job
from tests.support.record import connection as connected
from tests.support.record import put_jobs


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.QUEUED, JobState.RUNNING])
@pytest.mark.row("1.4/stop-at-once")
async def test_a_stop_is_state_generation_history_audit_and_evaluation(
    postgres_url: str, db: asyncpg.Connection, state: JobState
) -> None:
    await put_jobs(postgres_url, "j-1", state=state)
    hinted = await stop_job(db, "j-1", reason="enough", actor="me")

    assert hinted is not None
    job = await db.fetchrow("SELECT * FROM jobs")
    assert (job["state"], job["generation"], job["history_seq"]) == ("Stopped", 2, 3)
    assert (job["message"], job["stop_reason"]) == ("enough", "enough")
    history = await db.fetch("SELECT seq, topic, message, details, at FROM history WHERE seq > 1 ORDER BY seq")
    assert [(row["seq"], row["topic"], row["message"]) for row in history] == [
        (2, "Scheduling", "Job requested to stop before completion"),
        (3, "State Update", "Stopped"),
    ]
    assert json.loads(history[0]["details"]) == {"Reason": "enough"}
    assert {row["at"] for row in history} == {job["modified_at"]}
    evaluation = await db.fetchrow("SELECT * FROM evaluations")
    assert (evaluation["id"], evaluation["trigger"]) == (hinted.evaluation_id, "job-cancel")
    audit = await db.fetchrow("SELECT * FROM audit")
    assert (audit["actor"], audit["action"], audit["object"]) == ("me", "job.stop", "j-1")
    assert (hinted.generation, hinted.state) == (2, "Stopped")
    assert hinted.spec_json == await db.fetchval("SELECT spec FROM job_versions")


async def test_a_second_stop_changes_nothing_and_keeps_the_first_reason(
    postgres_url: str, db: asyncpg.Connection
) -> None:
    await put_jobs(postgres_url, "j-1")
    await stop_job(db, "j-1", reason="first", actor="me")
    before = await db.fetchrow("SELECT * FROM jobs")

    assert await stop_job(db, "j-1", reason="second", actor="me") is None
    assert await db.fetchrow("SELECT * FROM jobs") == before
    assert await db.fetchval("SELECT count(*) FROM audit") == 1
    assert await db.fetchval("SELECT count(*) FROM evaluations") == 1


async def test_a_job_that_has_ended_cannot_be_stopped(postgres_url: str, db: asyncpg.Connection) -> None:
    await put_jobs(postgres_url, "j-1", state=JobState.FAILED)

    with pytest.raises(Conflict, match=r"cannot stop job in state Failed \(job j-1\)"):
        await stop_job(db, "j-1", reason="late", actor="me")
    assert await db.fetchval("SELECT count(*) FROM history WHERE seq > 1") == 0


async def test_an_unknown_job_cannot_be_stopped(db: asyncpg.Connection) -> None:
    with pytest.raises(NotFound):
        await stop_job(db, "j-none", reason="", actor="me")
