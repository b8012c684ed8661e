"""A submission under a name in use is the next version of its job: whole or not at all, and no race loses one."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from skrei_domain.errors import Conflict, Invalid, Unavailable
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import ManifestRef
from skrei_domain.spec import InputSource, JobSpec, SpecConfig, TaskSpec, encode
from skrei_store import work
from skrei_store.rerun import rerun_job
from skrei_store.stop import stop_job
from skrei_store.submission import Submission, Submitted
from skrei_store.submit import submit_many
from skrei_store.update import RACES, update_many
from skrei_store.versions import NewVersion, write_versions
from tests.support.record import blocked
from tests.support.record import connection as connected


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


def named(number: int, name: str = "mine", *, module: str = "m", type: str = "batch", **more: object) -> Submission:
    """A submission that differs from another by its module alone."""
    task = TaskSpec(name="main", engine=SpecConfig(type="wasm", params={"EntryModule": module}))
    spec = JobSpec(name=name, type=type, tasks=(task,), **more)  # type: ignore[arg-type]
    return Submission(f"j-{number:04d}", f"v-{number:04d}", spec, encode(spec), traceparent=f"t-{number}", actor="me")


def told(answers: list[Submitted | Exception]) -> list[tuple[str, int] | str]:
    return [
        (answer.job_id, answer.version) if isinstance(answer, Submitted) else type(answer).__name__
        for answer in answers
    ]


@pytest.mark.row("3.5/submission", "1.4/update", "2.9/update", "3.3/triggers", "12/labels-of-updates")
async def test_a_new_version_is_spec_state_generation_history_audit_and_evaluation(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1)])
    await db.execute("UPDATE jobs SET state = 'Running', message = 'busy', units_won = 1, stop_reason = 'x'")
    changed = named(2, module="n", priority=7, count=3, labels={"team": "b"})
    (answer,) = await submit_many(db, [changed])

    assert told([answer]) == [("j-0001", 2)]
    job = await db.fetchrow("SELECT * FROM jobs")
    assert (job["id"], job["version"], job["generation"], job["history_seq"]) == ("j-0001", 2, 2, 2)
    assert (job["state"], job["message"], job["stop_reason"]) == ("Pending", "Job update requested by user", "")
    assert (job["units_total"], job["units_won"], job["priority"], job["count"]) == (3, 0, 7, 3)
    assert json.loads(job["labels"]) == {"team": "b"}
    assert job["created_at"] < job["asked_at"] == job["modified_at"]
    versions = await db.fetch("SELECT * FROM job_versions ORDER BY version")
    assert [row["spec"] for row in versions] == [named(1).spec_json, changed.spec_json]
    assert [(row["state"], row["message"]) for row in versions] == [("Stopped", "Replaced by version 2"), (None, None)]
    assert versions[0]["ended_at"] == versions[1]["created_at"] == job["asked_at"]
    history = await db.fetch("SELECT * FROM history ORDER BY seq")
    assert [(row["seq"], row["job_version"], row["topic"], row["message"]) for row in history] == [
        (1, 1, "Submission", "Job submitted"),
        (2, 2, "Submission", "Job updated"),
    ]
    assert json.loads(history[1]["details"]) == {"Reason": "Job update requested by user"}
    asked = await db.fetchrow("SELECT * FROM evaluations WHERE id = 'v-0002'")
    assert (asked["job_id"], asked["trigger"], asked["run_after"]) == ("j-0001", "job-update", job["asked_at"])
    assert await db.fetchval("SELECT actor FROM audit WHERE action = 'job.update' AND object = 'j-0001'") == "me"
    assert isinstance(answer, Submitted)
    hinted = answer.hinted
    assert hinted is not None
    assert (hinted.evaluation_id, hinted.job_id, hinted.generation, hinted.version) == ("v-0002", "j-0001", 2, 2)
    assert (hinted.spec_json, hinted.asked_at, hinted.state) == (changed.spec_json, job["asked_at"], "Pending")


@pytest.mark.row("3.1/rerun-of-an-ended-job", "1.4/update")
@pytest.mark.parametrize("state", ["Completed", "Failed", "Stopped"])
async def test_what_has_ended_begins_again_and_how_it_ended_is_kept(db: asyncpg.Connection, state: str) -> None:
    await submit_many(db, [named(1)])
    await db.execute("UPDATE jobs SET state = $1, message = 'so it went', units_won = 1", state)

    assert told(await submit_many(db, [named(2, module="n")])) == [("j-0001", 2)]
    assert await db.fetchval("SELECT state FROM jobs") == "Pending"
    old = await db.fetchrow("SELECT * FROM job_versions WHERE version = 1")
    assert (old["state"], old["message"]) == (state, "so it went")


@pytest.mark.row("1.4/unchanged-spec")
async def test_nothing_changed_is_a_conflict_unless_it_is_forced(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1)])
    (refused,) = await submit_many(db, [named(2)])

    assert isinstance(refused, Conflict)
    assert refused.message == "no changes detected for new job spec. Job Name: 'mine'; its job j-0001 is at version 1"
    assert refused.hint == "Use the --force flag to override this warning"
    assert await db.fetchval("SELECT count(*) FROM evaluations") == 1
    assert told(await submit_many(db, [replace(named(3), force=True)])) == [("j-0001", 2)]


async def test_the_order_of_keys_and_what_servers_write_change_nothing(db: asyncpg.Connection) -> None:
    first = named(1, labels={"a": "1", "b": "2"}, meta={"bacalhau.org/requester.id": "n-1", "mine": "x"})
    again = named(2, labels={"b": "2", "a": "1"}, meta={"mine": "x"})
    assert told(await submit_many(db, [first])) == [("j-0001", 1)]
    assert told(await submit_many(db, [again])) == ["Conflict"]


@pytest.mark.row("1.4/update-of-another-type", "2.9/update")
async def test_another_type_is_refused_by_name(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1)])
    (refused,) = await submit_many(db, [named(2, type="ops")])

    assert isinstance(refused, Invalid)
    assert refused.message == "Type: 'ops'; allowed: 'batch', which job j-0001 is, whose name 'mine' is"


async def test_of_many_in_one_group_each_job_gets_its_versions_in_order(db: asyncpg.Connection) -> None:
    batch = [named(n, name, module=f"m-{n}") for n, name in enumerate(["a", "b", "a", "a", "c", "b"])]

    assert told(await submit_many(db, batch)) == [
        ("j-0000", 1),
        ("j-0001", 1),
        ("j-0000", 2),
        ("j-0000", 3),
        ("j-0004", 1),
        ("j-0001", 2),
    ]
    rows = await db.fetch("SELECT version, spec FROM job_versions WHERE job_id = 'j-0000' ORDER BY version")
    assert [row["spec"] for row in rows] == [batch[n].spec_json for n in (0, 2, 3)]
    gaps = await db.fetch("SELECT job_id, count(*), max(seq) FROM history GROUP BY 1 HAVING count(*) <> max(seq)")
    assert gaps == []


async def test_a_refused_version_fails_alone(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1, "a"), named(2, "b"), named(3, "c")])
    bad = replace(named(5, "b", module="n"), digest="half\ud800", token="t")
    answers = await submit_many(db, [named(4, "a", module="n"), bad, named(6, "c", module="n")])

    assert told(answers) == [("j-0001", 2), "Invalid", ("j-0003", 2)]
    assert await db.fetchval("SELECT version FROM jobs WHERE name = 'b'") == 1


async def test_a_token_answers_an_update_again_and_makes_no_other(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1)])
    change = replace(named(2, module="n"), token="t", digest="d")
    first = await submit_many(db, [change])
    again = await submit_many(db, [replace(change, job_id="j-0003", evaluation_id="v-0003")])

    assert [a.evaluation_id for a in (*first, *again) if isinstance(a, Submitted)] == ["v-0002", "v-0002"]
    assert told([*first, *again]) == [("j-0001", 2)] * 2
    assert await db.fetchval("SELECT version FROM jobs") == 2


async def test_whoever_loses_a_race_decides_on_what_the_winner_has_made(postgres_url: str) -> None:
    async with connected(postgres_url) as db, connected(postgres_url) as rival, connected(postgres_url) as third:
        await submit_many(db, [named(1), named(2, "other")])
        transaction = rival.transaction()
        await transaction.start()
        assert told(await submit_many(rival, [named(3, module="theirs")])) == [("j-0001", 2)]
        racing = asyncio.create_task(
            submit_many(db, [named(4, "other", module="n"), named(5, module="mine"), named(6, module="theirs")])
        )
        await blocked(third)
        await transaction.commit()

        assert told(await racing) == [("j-0002", 2), ("j-0001", 3), ("j-0001", 4)]
        history = await db.fetch("SELECT seq, job_version FROM history WHERE job_id = 'j-0001' ORDER BY seq")
        assert [tuple(row) for row in history] == [(1, 1), (2, 2), (3, 3), (4, 4)]


async def test_the_same_change_raced_by_two_is_one_version(postgres_url: str) -> None:
    async with connected(postgres_url) as db, connected(postgres_url) as rival, connected(postgres_url) as third:
        await submit_many(db, [named(1)])
        transaction = rival.transaction()
        await transaction.start()
        await submit_many(rival, [named(2, module="n")])
        racing = asyncio.create_task(submit_many(db, [named(3, module="n")]))
        await blocked(third)
        await transaction.commit()

        assert told(await racing) == ["Conflict"]


async def test_many_servers_on_the_same_names_lose_no_version(postgres_url: str) -> None:
    async with connected(postgres_url) as db:
        await submit_many(db, [named(n, name) for n, name in enumerate("abc")])
    servers, rounds = 4, 8

    async def server(number: int) -> int:
        done = 0
        async with connected(postgres_url) as own:
            for turn in range(rounds):
                names = "abc" if number % 2 else "cba"
                batch = [
                    named(100 + number * 100 + turn * 3 + i, x, module=f"{number}-{turn}") for i, x in enumerate(names)
                ]
                done += sum(isinstance(each, Submitted) for each in await submit_many(own, batch))
        return done

    done = sum(await asyncio.gather(*(server(number) for number in range(servers))))
    async with connected(postgres_url) as db:
        rows = await db.fetch("SELECT version, generation, history_seq FROM jobs")
        assert all(row["version"] == row["generation"] == row["history_seq"] for row in rows)
        assert sum(row["version"] - 1 for row in rows) == done
        assert await db.fetchval("SELECT count(*) FROM job_versions WHERE state IS NULL") == 3
        assert await db.fetchval("SELECT count(*) FROM evaluations") == done + 3


async def test_one_that_loses_every_race_is_told_to_come_again(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1)])
    watched = Overtaken(db)
    (answer,) = await update_many(watched, [named(2, module="n")])  # type: ignore[arg-type]

    assert isinstance(answer, Unavailable)
    assert (answer.message, watched.times) == ("others are changing the job named 'mine'", RACES)


async def test_a_stop_and_an_update_stand_in_the_order_of_their_commits(db: asyncpg.Connection) -> None:
    await submit_many(db, [named(1)])
    await stop_job(db, "j-0001", reason="enough", actor="me")
    await submit_many(db, [named(2, module="n")])

    job = await db.fetchrow("SELECT * FROM jobs")
    assert (job["state"], job["generation"], job["history_seq"]) == (JobState.PENDING.value, 3, 4)
    assert await db.fetchval("SELECT message FROM job_versions WHERE version = 1") == "enough"


class Overtaken:
    """A connection whose jobs move on right before each write."""

    def __init__(self, real: asyncpg.Connection) -> None:
        self._real = real
        self.times = 0

    async def fetch(self, query: str, *values: object) -> object:
        if "held AS" in query:
            self.times += 1
            row = await self._real.fetchrow("SELECT j.version FROM jobs AS j")
            spec = named(9, module=f"theirs-{self.times}")
            theirs = NewVersion("j-0001", row["version"], f"v-9{self.times}", spec.spec, spec.spec_json, "them")
            await write_versions(self._real, [theirs])
        return await self._real.fetch(query, *values)


async def test_a_hint_says_of_a_service_what_its_row_does(db: asyncpg.Connection) -> None:
    """A leader that had let the job go learns from the hint alone what to go back to, and what is not to be kept."""
    service = named(1, type="service")
    await submit_many(db, [service])
    await db.execute("UPDATE jobs SET state = 'Running', good_version = 1, progress = 1, paused = true")
    await stop_job(db, "j-0001", reason="", actor="me")
    for number, force, anew in ((2, True, 2), (3, False, 2)):
        again = replace(named(number, type="service", count=number), force=force)
        again = replace(again, spec=service.spec, spec_json=service.spec_json) if force else again
        (answer,) = await submit_many(db, [again])
        assert isinstance(answer, Submitted)
        assert answer.hinted is not None
        assert (answer.hinted.version, answer.hinted.good_version, answer.hinted.anew) == (number, 1, anew)
        row = await db.fetchrow("SELECT good_version, anew, progress, progress_at, paused FROM jobs")
        assert tuple(row) == (1, anew, 0, None, False), "a new version has all of its time"


@pytest.mark.parametrize(("type", "kept"), [("batch", {0, 1}), ("ops", {0})])
async def test_a_version_that_is_to_read_the_same_inputs_is_pinned_to_the_lists_of_the_one_that_it_copies(
    db: asyncpg.Connection, type: str, kept: set[int]
) -> None:
    """One that goes by nodes may have other nodes now: what is dealt out among them is listed anew."""
    sources = tuple(
        InputSource(source=SpecConfig(type="s3", params={"Bucket": name}), target=f"/{name}") for name in ("a", "b")
    )
    task = TaskSpec(name="main", engine=SpecConfig(type="wasm", params={"EntryModule": "m"}), input_sources=sources)
    spec = JobSpec(name="mine", type=type, tasks=(task,))
    await submit_many(db, [Submission("j-1", "v-1", spec, encode(spec), actor="me")])
    await db.execute("UPDATE jobs SET state = 'Failed'")
    for number, parts in enumerate((1, 4)):
        await db.execute(
            "INSERT INTO manifests (job_id, job_version, task, input, digest, parts, files, size_bytes)"
            " VALUES ('j-1', 1, 'main', $1, $2, $3, 7, 70)",
            number,
            f"sha256:{number:064}",
            parts,
        )
    await db.execute("DELETE FROM evaluations")
    assert (await rerun_job(db, "j-1", actor="me", same_inputs=True)).version == 2
    (evaluation,) = await work.due(db, 10)
    assert evaluation.job is not None
    assert {number for _, number in evaluation.job.manifests} == kept
    assert evaluation.job.manifests["main", 0] == ManifestRef(digest=f"sha256:{0:064}", parts=1, files=7, size_bytes=70)
    await db.execute("UPDATE jobs SET state = 'Failed'")
    await rerun_job(db, "j-1", actor="me")
    assert all(each.job is not None and not each.job.manifests for each in await work.due(db, 10))
