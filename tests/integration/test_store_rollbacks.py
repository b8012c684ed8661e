"""A service that goes back gets its next version in the commit that decides so, and it is what the good one was."""

import json

from skrei_domain.lifecycle import JobState
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_scheduling.changes import Changes, EvaluationNew, HistoryNew, JobChange, Rollback
from skrei_store.submission import Submission
from skrei_store.submit import submit_many
from tests.support.record import connection as connected
from tests.support.record import leading


def version(number: int, *, count: int, priority: int) -> Submission:
    task = TaskSpec(name="main", engine=SpecConfig(type="wasm", params={"EntryModule": str(number)}))
    other = task.model_copy(update={"name": "other", "count": 3})
    spec = JobSpec(
        name="web", type="service", count=count, priority=priority, labels={"v": str(number)}, tasks=(task, other)
    )
    return Submission(f"j-{number}", f"v-{number}", spec, encode(spec), traceparent="", actor="owner")


async def test_a_rollback_is_a_new_version_with_the_spec_counts_and_submitter_of_the_good_one(
    postgres_url: str,
) -> None:
    async with connected(postgres_url) as db:
        await submit_many(db, [version(1, count=2, priority=5)])
        await submit_many(db, [version(2, count=7, priority=0)])
        async with leading(postgres_url) as record:
            rollback = Rollback("j-1", 1, 3, "because")
            changes = Changes(
                jobs=(JobChange("j-1", 3, good_version=None),),
                history=(HistoryNew("j-1", 3, 3, "Submission", "because"),),
                rollbacks=(rollback,),
                evaluations_new=(EvaluationNew("v-9", "j-1", "default", "job-rollback"),),
            )
            await record.commit(["j-1"], [], lambda _: changes)
            (due,) = [each for each in await record.due(10) if each.id == "v-9"]
        job = await db.fetchrow("SELECT * FROM jobs")
        versions = await db.fetch("SELECT * FROM job_versions ORDER BY version")
        (audit,) = await db.fetch("SELECT * FROM audit WHERE action = 'job.rollback'")

    assert (job["version"], job["generation"], job["state"], job["message"]) == (3, 3, "Pending", "because")
    assert (job["count"], job["units_total"], job["priority"], job["good_version"]) == (2, 5, 5, 3)
    assert json.loads(job["labels"]) == {"v": "1"}
    assert [row["spec"] for row in versions] == [versions[0]["spec"], versions[1]["spec"], versions[0]["spec"]]
    assert versions[2]["submitter"] == "owner"
    assert (versions[1]["state"], versions[1]["message"]) == ("Failed", "because")
    assert (audit["actor"], audit["object"]) == ("scheduler", "j-1")
    assert due.job is not None
    assert (due.job.version, due.job.good_version, due.job.state) == (3, 3, JobState.PENDING)
