"""Submissions: all of a job or nothing of it, and one that is refused fails alone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from skrei_domain.errors import Conflict, Exhausted, Invalid, Unavailable
from skrei_domain.job import Blob
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_store.admission import Admission
from skrei_store.db import connect
from skrei_store.idempotency import purge_tokens
from skrei_store.submission import Submission, Submitted
from skrei_store.submit import submit_many
from tests.support.record import blocked
from tests.support.record import connection as connected


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


def a_submission(
    number: int,
    *,
    name: str = "",
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    token: str = "",
    digest: str = "",
    blobs: tuple[Blob, ...] = (),
    count: int = 1,
) -> Submission:
    spec = JobSpec(
        name=name or f"job-{number}",
        namespace=namespace,
        labels=labels or {},
        count=count,
        tasks=(TaskSpec(name="main", engine=SpecConfig(type="wasm")),),
    )
    return Submission(
        job_id=f"j-{number:04d}",
        evaluation_id=f"v-{number:04d}",
        spec=spec,
        spec_json="" if "\ud800" in spec.name else encode(spec),
        blobs=blobs,
        token=token,
        digest=digest,
        traceparent="00-1-2-01",
        actor="anonymous",
    )


def made(answers: list[Submitted | Exception]) -> list[str]:
    return [answer.job_id if isinstance(answer, Submitted) else type(answer).__name__ for answer in answers]


async def counts(db: asyncpg.Connection) -> dict[str, int]:
    tables = ("jobs", "job_versions", "evaluations", "history", "audit", "idempotency", "blobs")
    return {table: await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_a_batch_stores_each_job_with_its_spec_evaluation_history_and_audit(db: asyncpg.Connection) -> None:
    batch = [a_submission(number, count=3, labels={"team": "a"}) for number in range(5)]
    answers = await submit_many(db, batch)

    assert made(answers) == [submission.job_id for submission in batch]
    assert await counts(db) == {
        "jobs": 5,
        "job_versions": 5,
        "evaluations": 5,
        "history": 5,
        "audit": 5,
        "idempotency": 0,
        "blobs": 0,
    }
    row = await db.fetchrow("SELECT * FROM jobs WHERE id = 'j-0003'")
    assert (row["state"], row["generation"], row["version"], row["history_seq"]) == ("Pending", 1, 1, 1)
    assert (row["units_total"], row["units_won"], row["traceparent"]) == (3, 0, "00-1-2-01")
    assert await db.fetchval("SELECT labels ->> 'team' FROM jobs WHERE id = 'j-0003'") == "a"
    assert await db.fetchval("SELECT bool_and(run_after <= now()) FROM evaluations")


async def test_the_hint_carries_what_the_record_committed(db: asyncpg.Connection) -> None:
    (answer,) = await submit_many(db, [a_submission(1)])

    assert isinstance(answer, Submitted)
    assert answer.hinted is not None
    assert answer.hinted.created_at == await db.fetchval("SELECT created_at FROM jobs")
    assert answer.hinted.evaluation_id == await db.fetchval("SELECT id FROM evaluations")
    assert answer.hinted.spec_json == await db.fetchval("SELECT spec FROM job_versions")


async def test_jobs_of_one_batch_keep_their_order_of_arrival(db: asyncpg.Connection) -> None:
    batch = [a_submission(number) for number in (7, 3, 9, 1)]
    await submit_many(db, batch)

    rows = await db.fetch("SELECT id FROM jobs ORDER BY created_at")
    assert [row["id"] for row in rows] == [submission.job_id for submission in batch]


async def test_a_name_in_use_is_refused_alone_and_names_the_other_job(db: asyncpg.Connection) -> None:
    await submit_many(db, [a_submission(1, name="taken")])
    batch = [a_submission(2), a_submission(3, name="taken"), a_submission(4, name="taken", namespace="other")]
    answers = await submit_many(db, batch)

    assert made(answers) == ["j-0002", "Conflict", "j-0004"]
    assert isinstance(answers[1], Conflict)
    assert answers[1].details["job_id"] == "j-0001"
    assert "j-0001" in answers[1].message
    assert (await counts(db))["evaluations"] == 3


async def test_of_two_with_one_name_in_a_batch_the_first_is_stored(db: asyncpg.Connection) -> None:
    answers = await submit_many(db, [a_submission(1, name="twice"), a_submission(2, name="twice")])

    assert made(answers) == ["j-0001", "Conflict"]
    assert answers[1].details["job_id"] == "j-0001"  # type: ignore[union-attr]


@pytest.mark.parametrize("bad", ["with\0nul", "half\ud800pair"])
async def test_a_text_that_the_record_cannot_hold_fails_alone(db: asyncpg.Connection, bad: str) -> None:
    batch = [a_submission(number) for number in range(8)]
    batch[5] = a_submission(5, name=bad)
    answers = await submit_many(db, batch)

    assert isinstance(answers[5], Invalid)
    assert made(answers)[:5] == [f"j-{number:04d}" for number in range(5)]
    assert (await counts(db))["jobs"] == 7


async def test_a_nul_in_a_label_or_a_token_fails_alone(db: asyncpg.Connection) -> None:
    batch = [
        a_submission(1),
        a_submission(2, labels={"a": "b\0"}),
        a_submission(3, token="t\0", digest="d"),
        a_submission(4),
    ]

    assert made(await submit_many(db, batch)) == ["j-0001", "Invalid", "Invalid", "j-0004"]


async def test_the_same_token_and_body_get_the_same_answer(db: asyncpg.Connection) -> None:
    first = await submit_many(db, [a_submission(1, token="t", digest="d")])
    again = await submit_many(db, [a_submission(2, token="t", digest="d"), a_submission(3, token="t", digest="d")])

    assert made(again) == ["j-0001", "j-0001"]
    assert all(isinstance(answer, Submitted) and answer.hinted is None for answer in again)
    assert again[0].evaluation_id == first[0].evaluation_id  # type: ignore[union-attr]
    assert (await counts(db))["jobs"] == 1


async def test_the_same_token_with_another_body_is_a_conflict(db: asyncpg.Connection) -> None:
    answers = await submit_many(db, [a_submission(1, token="t", digest="d"), a_submission(2, token="t", digest="e")])

    assert made(answers) == ["j-0001", "Conflict"]
    assert answers[1].details["job_id"] == "j-0001"  # type: ignore[union-attr]


async def test_a_token_belongs_to_its_namespace_and_caller(db: asyncpg.Connection) -> None:
    other = replace(a_submission(3, token="t", digest="d"), actor="somebody")
    batch = [a_submission(1, token="t", digest="d"), a_submission(2, token="t", digest="d", namespace="n"), other]

    assert made(await submit_many(db, batch)) == ["j-0001", "j-0002", "j-0003"]


async def test_a_refused_submission_does_not_use_its_token_up(db: asyncpg.Connection) -> None:
    await submit_many(db, [a_submission(1, name="taken")])
    assert made(await submit_many(db, [a_submission(2, name="taken", token="t", digest="d")])) == ["Conflict"]

    assert made(await submit_many(db, [a_submission(3, token="t", digest="e")])) == ["j-0003"]


async def test_a_token_is_free_again_after_a_day(db: asyncpg.Connection) -> None:
    await submit_many(db, [a_submission(1, token="t", digest="d"), a_submission(2, token="u", digest="d")])
    await db.execute("UPDATE idempotency SET expires_at = now() - interval '1 second'")

    assert made(await submit_many(db, [a_submission(3, token="t", digest="e")])) == ["j-0003"]
    assert await purge_tokens(db) == 1
    assert [row["token"] for row in await db.fetch("SELECT token FROM idempotency")] == ["t"]


async def test_a_token_raced_by_two_servers_makes_one_job(postgres_url: str) -> None:
    async with connected(postgres_url) as db, connected(postgres_url) as rival, connected(postgres_url) as third:
        transaction = rival.transaction()
        await transaction.start()
        (won,) = await submit_many(rival, [a_submission(1, token="t", digest="d")])
        racing = asyncio.create_task(
            submit_many(db, [a_submission(2), a_submission(3, token="t", digest="d"), a_submission(4)])
        )
        await blocked(third)
        await transaction.commit()

        assert made([won]) == ["j-0001"]
        assert made(await racing) == ["j-0002", "j-0001", "j-0004"]


async def test_a_name_raced_by_two_servers_goes_to_one(postgres_url: str) -> None:
    async with connected(postgres_url) as db, connected(postgres_url) as rival, connected(postgres_url) as third:
        transaction = rival.transaction()
        await transaction.start()
        await submit_many(rival, [a_submission(1, name="wanted")])
        racing = asyncio.create_task(submit_many(db, [a_submission(2, name="wanted"), a_submission(3)]))
        await blocked(third)
        await transaction.commit()

        assert made(await racing) == ["Conflict", "j-0003"]


async def test_blobs_are_kept_once_and_only_for_jobs_that_were_stored(db: asyncpg.Connection) -> None:
    first, second = Blob("sha256:1", b"one"), Blob("sha256:2", b"two")
    await submit_many(db, [a_submission(1, name="taken", blobs=(first,))])
    batch = [a_submission(2, name="taken", blobs=(second,)), a_submission(3, blobs=(first,)), a_submission(4)]

    assert made(await submit_many(db, batch)) == ["Conflict", "j-0003", "j-0004"]
    rows = await db.fetch("SELECT digest, size, data FROM blobs")
    assert [tuple(row) for row in rows] == [("sha256:1", 3, b"one")]


@pytest.mark.row("12/quotas")
async def test_a_namespace_that_is_full_is_refused_until_its_jobs_start(db: asyncpg.Connection) -> None:
    admission = Admission(limit=10, namespace_limit=2, clock=(clock := Clock()))
    batch = [a_submission(number, namespace="full" if number < 3 else "other") for number in range(4)]

    assert made(await submit_many(db, batch, admission)) == ["j-0000", "j-0001", "Exhausted", "j-0003"]
    assert isinstance((await submit_many(db, batch[2:3], admission))[0], Exhausted)
    await db.execute("UPDATE jobs SET state = 'Running' WHERE id = 'j-0000'")
    clock.now += 1.0
    assert made(await submit_many(db, batch[2:3], admission)) == ["j-0002"]


@pytest.mark.row("12/quotas")
async def test_a_cluster_that_is_full_refuses_everybody(db: asyncpg.Connection) -> None:
    admission = Admission(limit=2, namespace_limit=2, clock=Clock())
    answers = await submit_many(db, [a_submission(n, namespace=f"n{n}") for n in range(3)], admission)

    assert made(answers) == ["j-0000", "j-0001", "Unavailable"]


async def test_a_count_is_believed_while_it_is_fresh_and_far_from_the_limit(db: asyncpg.Connection) -> None:
    admission = Admission(limit=1_000, namespace_limit=1_000, clock=Clock())
    await submit_many(db, [a_submission(0)], admission)
    watched = Watched(db)
    for number in range(1, 20):
        await submit_many(watched, [a_submission(number)], admission)  # type: ignore[arg-type]

    assert not [query for query in watched.queries if "count(*)" in query]


async def test_what_a_lost_connection_leaves_open_is_not_called_invalid(postgres_url: str) -> None:
    db = await connect(postgres_url)
    async with connected(postgres_url) as other:
        await other.execute(f"SELECT pg_terminate_backend({db.get_server_pid()})")
    answers = await submit_many(db, [a_submission(1), a_submission(2, token="t", digest="d")])

    assert not [answer for answer in answers if isinstance(answer, (Submitted, Invalid, Unavailable))]
    assert len(answers) == 2


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A connection that remembers what it was asked."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db
        self.queries: list[str] = []

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        self.queries.append(query)
        return list(await self._db.fetch(query, *values))

    async def fetchval(self, query: str, *values: object) -> object:
        self.queries.append(query)
        return await self._db.fetchval(query, *values)


async def test_who_wants_to_hears_of_what_is_being_stored(db: asyncpg.Connection) -> None:
    heard: list[list[str]] = []
    batch = [a_submission(1), a_submission(2)]
    await submit_many(db, batch, meanwhile=lambda under_way: heard.append([each.job_id for each in under_way]))
    assert heard == [["j-0001", "j-0002"]]
