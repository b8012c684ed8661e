"""Versions through the door: what there were, what a submission would change, one of them once more."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from skrei_orchestrator_api.queries import token_out
from tests.support.api import HELLO, JOBS, Api, running_api


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url) as running:
        yield running


async def updated(api: Api, name: str = "mine", **more: Any) -> str:
    """A job whose second version wants three of what the first wanted one of."""
    job_id = await api.submit(Name=name, **more)
    assert await api.submit(Name=name, Count=3, **more) == job_id
    return job_id


async def read(api: Api, path: str) -> dict[str, Any]:
    answer = await api.http.get(f"{JOBS}/{path}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def paged(api: Api, path: str, query: str) -> list[dict[str, Any]]:
    """All that a list has, two or more pages of it."""
    page = await read(api, f"{path}?{query}")
    found = page["Items"]
    assert page["NextToken"]
    while page["NextToken"]:
        page = await read(api, f"{path}?next_token={page['NextToken']}")
        found += page["Items"]
    return list(found)


@pytest.mark.row("1.4/versions", "1.4/get-version", "2.9/snapshots")
async def test_every_version_is_listed_and_read_as_it_was(api: Api) -> None:
    job_id = await updated(api)
    first, second = (await read(api, f"{job_id}/versions"))["Items"]
    assert [(job["ID"], job["Version"], job["Count"]) for job in (first, second)] == [(job_id, 1, 1), (job_id, 2, 3)]
    assert first["State"] == {"StateType": "Stopped", "Message": "Replaced by version 2"}
    assert second["State"] == {"StateType": "Pending", "Message": "Job update requested by user"}
    now = (await read(api, job_id))["Job"]
    assert (now["Version"], now["Count"]) == (2, 3)
    assert first["CreateTime"] == now["CreateTime"] < second["CreateTime"] == now["ModifyTime"]
    assert (await read(api, f"{job_id}?job_version=1"))["Job"] == first
    assert (await read(api, "mine?job_version=0"))["Job"] == (await read(api, f"{job_id}?job_version=2"))["Job"] == now
    missing = await api.http.get(f"{JOBS}/{job_id}?job_version=7")
    assert (missing.status_code, missing.json()["Message"]) == (404, f"job version not found: 7 (job {job_id})")


@pytest.mark.row("1.5/versions", "12/paging")
async def test_versions_come_in_pages(api: Api) -> None:
    job_id = await api.submit(Name="mine")
    for count in range(2, 6):
        await api.submit(Name="mine", Count=count)
    assert [job["Version"] for job in await paged(api, "mine/versions", "limit=2")] == [1, 2, 3, 4, 5]
    bad = await api.http.get(f"{JOBS}/{job_id}/versions?next_token={token_out('history', 1, 2)}")
    assert bad.status_code == 400


@pytest.mark.row("1.4/job-version-filters")
async def test_what_happened_is_told_of_the_current_version_another_or_all(api: Api) -> None:
    job_id = await updated(api)
    old = await api.rows.execution(job_id, job_version=1, state="stopped", holds=False)
    new = await api.rows.execution(job_id, job_version=2)

    async def executions(query: str) -> list[str]:
        return [item["ID"] for item in (await read(api, f"{job_id}/executions?{query}"))["Items"]]

    async def history(query: str) -> list[str]:
        return [item["Event"]["Message"] for item in (await read(api, f"{job_id}/history?{query}"))["Items"]]

    assert await executions("") == await executions("job_version=0") == await executions("job_version=2") == [new]
    assert await executions("job_version=1") == [old]
    assert await executions("all_job_versions=True") == [old, new]
    assert await history("") == await history("job_version=2") == ["Job updated"]
    assert await history("job_version=1") == ["Job submitted"]
    assert await history("all_job_versions=true") == ["Job submitted", "Job updated"]
    whole = await read(api, f"{job_id}?include=executions,history&job_version=1")
    assert [item["ID"] for item in whole["Executions"]["Items"]] == [old]
    assert [item["SeqNum"] for item in whole["History"]["Items"]] == [1]
    assert (await read(api, f"{job_id}/history?job_version=1"))["NextToken"] == "", "an old version has ended"
    both = await read(api, f"{job_id}/history?job_version=1&all_job_versions=true")
    assert both["NextToken"], "the job goes on, whichever version is named beside all"
    await api.rows.execution(job_id, job_version=1, state="running", partition=7)
    assert (await read(api, f"{job_id}/history?job_version=1"))["NextToken"], "one of the old version still runs"
    for path in ("executions", "history", "results"):
        answer = await api.http.get(f"{JOBS}/{job_id}/{path}?job_version=9")
        assert (answer.status_code, answer.json()["Code"]) == (404, "NotFound"), path
        assert (await api.http.get(f"{JOBS}/{job_id}/{path}?job_version=x")).status_code == 400, path


async def test_results_of_an_old_version_stay_and_are_not_those_of_the_new_one(api: Api) -> None:
    job_id = await updated(api)
    old = await api.rows.execution(job_id, job_version=1, state="completed", holds=False)
    await api.rows.result(job_id, old, inline=b"data")
    assert (await read(api, f"{job_id}/results"))["Items"] == []
    (item,) = (await read(api, f"{job_id}/results?job_version=1"))["Items"]
    assert item["Params"]["ExecutionID"] == old


@pytest.mark.row("1.4/diff", "2.9/diff")
async def test_a_diff_tells_what_would_change_and_changes_nothing(api: Api) -> None:
    job_id = await api.submit(Name="mine", Labels={"a": "1", "b": "2"})

    async def diff(**job: Any) -> Any:
        answer = await api.http.put(f"{JOBS}/diff", json={"Job": HELLO | {"Name": "mine"} | job})
        return answer.status_code, answer.json()

    same = {"Labels": {"b": "2", "a": "1"}, "Version": 4, "Meta": {"bacalhau.org/requester.id": "n-1"}}
    status, told = await diff(**same)
    assert (status, told["Diff"]) == (200, "")
    assert "job version is ignored when submitting a job" in told["Warnings"]
    status, told = await diff(Labels={"a": "1", "b": "3"}, Count=2)
    assert (status, told["Warnings"]) == (200, [])
    lines = told["Diff"].splitlines()
    assert [line for line in lines if line[0] in "+-"] == [
        '- "Count": 1,',
        '+ "Count": 2,',
        '-  "b": "2"',
        '+  "b": "3"',
    ]
    assert (await read(api, job_id))["Job"]["Version"] == 1


@pytest.mark.row("B/diff-unknown-name")
async def test_a_diff_needs_the_name_of_a_job_that_exists(api: Api) -> None:
    unknown = await api.http.put(f"{JOBS}/diff", json={"Job": HELLO | {"Name": "mine"}})
    assert (unknown.status_code, unknown.json()["Message"]) == (
        404,
        "job not found by name 'mine' in the index of namespace 'default'",
    )
    nameless = await api.http.put(f"{JOBS}/diff", json={"Job": HELLO})
    assert (nameless.status_code, nameless.json()["Message"]) == (
        400,
        "Name: missing; allowed: the name of a job that exists",
    )
    broken = await api.http.put(f"{JOBS}/diff", json={"Job": HELLO | {"Name": "mine", "Count": -1}})
    assert (broken.status_code, broken.json()["Code"]) == (400, "ValidationError")


@pytest.mark.row("3.5/submission", "1.4/rerun", "2.9/rerun", "3.1/rerun-of-an-ended-job", "3.3/triggers")
@pytest.mark.parametrize("state", ["Running", "Completed", "Failed", "Stopped"])
async def test_what_has_begun_or_ended_runs_again_as_the_next_version(api: Api, state: str) -> None:
    job_id = await api.submit(Name="mine")
    await api.rows.state(job_id, state, units_won=1)
    answer = await api.http.put(f"{JOBS}/mine/rerun", json={})
    told = answer.json()
    assert (answer.status_code, told["JobID"], told["JobVersion"], told["Warnings"]) == (200, job_id, 2, None)
    job = (await read(api, job_id))["Job"]
    assert job["State"] == {"StateType": "Pending", "Message": "job rerun"}
    assert (job["Version"], job["Count"]) == (2, 1)
    (item,) = (await read(api, f"{job_id}/history"))["Items"]
    assert (item["JobVersion"], item["Event"]["Message"], item["Event"]["Topic"]) == (
        2,
        "Job rerun requested",
        "Submission",
    )
    assert item["Event"]["Details"] == {"Reason": "job rerun"}
    asked = await api.rows.link.fetchrow("SELECT * FROM evaluations WHERE id = $1", told["EvaluationID"])
    assert (asked["job_id"], asked["trigger"]) == (job_id, "job-rerun")


@pytest.mark.row("1.4/rerun")
async def test_an_older_version_runs_again_with_its_own_spec_and_the_reason_that_was_given(api: Api) -> None:
    job_id = await updated(api)
    told = (await api.http.put(f"{JOBS}/{job_id}/rerun", json={"jobversion": 1, "Reason": "roll back"})).json()
    assert told["JobVersion"] == 3
    job = (await read(api, job_id))["Job"]
    assert (job["Version"], job["Count"], job["State"]["Message"]) == (3, 1, "roll back")


@pytest.mark.row("1.4/rerun-too-early")
@pytest.mark.parametrize("state", ["Pending", "Queued"])
async def test_what_has_yet_to_run_is_not_run_again(api: Api, state: str) -> None:
    job_id = await api.submit()
    await api.rows.state(job_id, state)
    answer = await api.http.put(f"{JOBS}/{job_id}/rerun", json={"JobVersion": 1})
    assert (answer.status_code, answer.json()["Code"], answer.json()["Message"]) == (
        409,
        "ResourceInUse",
        f"cannot rerun job in state {state}",
    )
    assert "job run" in answer.json()["Hint"]


@pytest.mark.row("B/rerun-unknown-job", "12/lock-by-rerun")
async def test_a_rerun_names_what_it_did_not_find_or_could_not_read(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.state(job_id, "Failed")
    unknown = await api.http.put(f"{JOBS}/j-1234/rerun", json={})
    assert (unknown.status_code, unknown.json()["Message"]) == (404, "job not found: j-1234")
    version = await api.http.put(f"{JOBS}/{job_id}/rerun", json={"JobVersion": 2})
    assert (version.status_code, version.json()["Message"]) == (404, f"job version not found: 2 (job {job_id})")
    for value in (-1, "1", True, 2**40):
        bad = await api.http.put(f"{JOBS}/{job_id}/rerun", json={"JobVersion": value})
        same = await api.http.put(f"{JOBS}/{job_id}/rerun", json={"SameInputs": str(value)})
        assert (same.status_code, same.json()["Message"][:11]) == (400, "SameInputs:")
        assert (bad.status_code, bad.json()["Code"]) == (400, "ValidationError"), value
    assert (await read(api, job_id))["Job"]["Version"] == 1, "nothing was written, and nothing is locked"


async def test_of_two_reruns_at_once_the_second_finds_a_job_that_has_yet_to_run(api: Api) -> None:
    job_id = await api.submit()
    await api.rows.state(job_id, "Completed", units_won=1)
    answers = await asyncio.gather(*(api.http.put(f"{JOBS}/{job_id}/rerun", json={}) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert (await read(api, job_id))["Job"]["Version"] == 2


@pytest.mark.row("1.4/rerun")
async def test_a_rerun_that_is_sent_again_with_its_token_is_the_same_version(api: Api) -> None:
    job_id = await api.submit(Name="mine", Count=1)
    await api.rows.state(job_id, "Completed", units_won=1)
    body = {"IdempotencyToken": "t-1"}
    answers = await asyncio.gather(*(api.http.put(f"{JOBS}/{key}/rerun", json=body) for key in ("mine", job_id) * 3))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["EvaluationID"] for answer in answers}) == 1
    assert {answer.json()["JobVersion"] for answer in answers} == {2}
    assert len((await read(api, f"{job_id}/versions"))["Items"]) == 2
    await api.rows.state(job_id, "Failed")
    again = (await api.http.put(f"{JOBS}/{job_id}/rerun", json=body)).json()
    assert (again["JobVersion"], again["EvaluationID"]) == (2, answers[0].json()["EvaluationID"])
    other = await api.http.put(f"{JOBS}/{job_id}/rerun", json=body | {"JobVersion": 1})
    assert (other.status_code, other.json()["Code"]) == (409, "ResourceInUse")
    fresh = (await api.http.put(f"{JOBS}/{job_id}/rerun", json={"IdempotencyToken": "t-2"})).json()
    assert fresh["JobVersion"] == 3
    bad = await api.http.put(f"{JOBS}/{job_id}/rerun", json={"IdempotencyToken": ["t"]})
    assert (bad.status_code, bad.json()["Code"]) == (400, "ValidationError")


@pytest.mark.row("1.7/namespaces", "2.9/names-in-namespaces", "12/name-everywhere")
async def test_a_name_is_looked_for_in_its_namespace_or_in_all_of_them(api: Api) -> None:
    here, there = await api.submit(Name="same"), await api.submit(Name="same", Namespace="team")
    alone = await api.submit(Name="alone", Namespace="team")
    found = {query: (await read(api, f"same{query}"))["Job"]["ID"] for query in ("", "?namespace=", "?namespace=team")}
    assert found == {"": here, "?namespace=": here, "?namespace=team": there}
    assert (await read(api, f"{there}?namespace=elsewhere"))["Job"]["ID"] == there, "an id needs no namespace"
    assert (await api.http.get(f"{JOBS}/alone")).status_code == 404
    assert (await read(api, "alone?namespace=*"))["Job"]["ID"] == alone
    many = await api.http.get(f"{JOBS}/same?namespace=*")
    assert (many.status_code, many.json()["Code"]) == (409, "MultipleJobsFound")
    assert many.json()["Message"] == f"multiple jobs found for name same in namespaces default ({here}), team ({there})"


@pytest.mark.row("1.1/query-of-put")
async def test_a_body_names_the_namespace_where_there_is_one(api: Api) -> None:
    await api.submit(Name="same")
    there = await api.submit(Name="same", Namespace="team")
    stopped = await api.http.request("DELETE", f"{JOBS}/same", json={"reason": "enough", "Namespace": "team"})
    assert stopped.status_code == 200
    assert (await read(api, there))["Job"]["State"]["StateType"] == "Stopped"
    again = await api.http.put(f"{JOBS}/same/rerun", json={"Namespace": "team"})
    assert again.json()["JobID"] == there
    other = await api.http.put(f"{JOBS}/same/rerun?namespace=default", json={})
    assert (other.status_code, other.json()["Message"]) == (409, "cannot rerun job in state Pending")


@pytest.mark.row("1.1/query-of-put")
async def test_a_job_that_names_no_namespace_goes_to_that_of_the_query(api: Api) -> None:
    for number, (own, query, where) in enumerate([("", "team", "team"), ("own", "team", "own"), ("", "", "default")]):
        body = {"Job": HELLO | {"Name": f"job-{number}"} | ({"Namespace": own} if own else {})}
        job_id = (await api.http.put(f"{JOBS}?namespace={query}", json=body)).json()["JobID"]
        assert (await read(api, job_id))["Job"]["Namespace"] == where
        changed = await api.http.put(f"{JOBS}/diff?namespace={query}", json={"Job": body["Job"] | {"Count": 2}})
        assert "Count" in changed.json()["Diff"]


@pytest.mark.row("1.4/versions")
async def test_inline_data_stands_in_every_version_as_it_was_sent(api: Api) -> None:
    urls = [f"data:;base64,{base64.b64encode(bytes([number]) * 5_000).decode()}" for number in range(2)]
    for url in urls:
        source = {"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": "/x"}
        await api.submit(Name="mine", Tasks=[HELLO["Tasks"][0] | {"InputSources": [source]}])
    shown = (await read(api, "mine/versions"))["Items"]
    assert [job["Tasks"][0]["InputSources"][0]["Source"]["Params"]["URL"] for job in shown] == urls
    same = await api.http.put(f"{JOBS}/diff", json={"Job": HELLO | {"Name": "mine", "Tasks": shown[1]["Tasks"]}})
    assert (same.status_code, same.json()["Diff"]) == (200, "")


async def test_versions_with_much_inline_data_come_in_smaller_pages(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skrei_orchestrator_api.routes.versions.PAGE_CHARACTERS", 1)
    await updated(api)
    first = await read(api, "mine/versions")
    second = await read(api, f"mine/versions?next_token={first['NextToken']}")
    assert [job["Version"] for page in (first, second) for job in page["Items"]] == [1, 2]
    assert second["NextToken"] == ""


@pytest.mark.row("1.5/executions", "12/paging")
async def test_executions_come_in_pages(api: Api) -> None:
    job_id = await api.submit(Name="mine", Count=5)
    made = [await api.rows.execution(job_id, partition=number) for number in range(5)]
    for order in ("created_at", "modified_at"):
        for reverse in (False, True):
            seen = await paged(api, f"{job_id}/executions", f"limit=2&order_by={order}&reverse={reverse}")
            assert [item["ID"] for item in seen] == (made[::-1] if reverse else made)
    for token in ("garbage", token_out("jobs", 1), token_out("executions", "id", 0, 2, 0, "main", 0, "e")):
        assert (await api.http.get(f"{JOBS}/{job_id}/executions?next_token={token}")).status_code == 400
