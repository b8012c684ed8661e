"""What earlier tasks left, told to the nodes that run the later ones: who may ask, for what, and what is answered."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from skrei_domain.task_results import PAGE, ResultPage
from tests.support.api import JOBS, Api, running_api

PATH = "/api/v1/inputs/results"


def task(name: str, *depends: Any, count: int = 1, **more: Any) -> dict[str, Any]:
    engine = {"Type": "wasm", "Params": {"EntryModule": "m"}}
    return {"Name": name, "Engine": engine, "Count": count, "DependsOn": list(depends), **more}


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url) as running:
        yield running


async def ask(api: Api, execution_id: str, name: str, first: int = 0) -> Any:
    token = api.deps.signer.run(execution_id, "n-1", [], seconds=60)
    headers = {"Authorization": f"Bearer {token}"}
    return await api.http.get(PATH, params={"task": name, "first": first}, headers=headers)


async def left(api: Api, job_id: str, name: str, partition: int, **more: Any) -> str:
    """Let a partition of a task have completed; returns the execution that has."""
    execution_id = await api.rows.execution(job_id, task=name, partition=partition, state="completed")
    await api.rows.result(job_id, execution_id, partition, inline=more.get("inline", b"x"))
    await api.rows.link.execute("UPDATE results SET task = $2 WHERE execution_id = $1", execution_id, name)
    return execution_id


async def test_a_task_is_told_of_all_partitions_of_what_it_waits_for(api: Api) -> None:
    job_id = await api.submit(Tasks=[task("a", count=PAGE + 2), task("b", "a"), task("other")])
    winners = [await left(api, job_id, "a", partition) for partition in range(PAGE + 2)]
    await left(api, job_id, "other", 0)
    reader = await api.rows.execution(job_id, task="b")
    page = ResultPage.model_validate_json((await ask(api, reader, "a")).content)
    assert (page.apart, page.next, len(page.results)) == (True, PAGE, PAGE)
    rest = ResultPage.model_validate_json((await ask(api, reader, "a", PAGE)).content)
    assert (rest.next, [each.partition for each in rest.results]) == (None, [PAGE, PAGE + 1])
    told = [each.url.partition("?")[0] for each in (*page.results, *rest.results)]
    assert told == [f"http://127.0.0.1:9/results/{each}.tar.gz" for each in winners]


async def test_a_partition_is_told_of_its_own_index_alone_where_it_waits_for_that(api: Api) -> None:
    same = {"Task": "a", "Partition": "same"}
    job_id = await api.submit(Tasks=[task("a", count=3), task("b", same, count=3)])
    for partition in range(3):
        await left(api, job_id, "a", partition)
    reader = await api.rows.execution(job_id, task="b", partition=1)
    page = ResultPage.model_validate_json((await ask(api, reader, "a")).content)
    assert (page.apart, page.next, [each.partition for each in page.results]) == (False, None, [1])


async def test_a_single_partition_lies_in_no_folder_of_its_own(api: Api) -> None:
    source = {"Source": {"Type": "task", "Params": {"Task": "a"}}, "Target": "/in"}
    job_id = await api.submit(Tasks=[task("a"), task("b", InputSources=[source])])
    await left(api, job_id, "a", 0)
    reader = await api.rows.execution(job_id, task="b")
    assert not ResultPage.model_validate_json((await ask(api, reader, "a")).content).apart


async def test_parts_of_split_data_lie_apart_even_where_there_is_one(api: Api) -> None:
    data = {"Source": {"Type": "data", "Params": {"Name": "books"}}, "Target": "/in"}
    split = {"Count": None, "Split": "holder", "InputSources": [data]}
    job_id = await api.submit(Tasks=[task("a", **split), task("b", "a")])
    assert (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]["Partitions"] == 1, "those of b are known"
    await api.rows.link.execute("INSERT INTO targets VALUES ($1, 1, 'n-1', 0, '{}'), ($1, 1, 'n-2', 1, '{}')", job_id)
    await left(api, job_id, "a", 0)
    job = (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]
    assert (job["Partitions"], [each["Count"] for each in job["TaskStates"]]) == (3, [2, 1])
    reader = await api.rows.execution(job_id, task="b")
    assert ResultPage.model_validate_json((await ask(api, reader, "a")).content).apart


async def test_nobody_reads_what_it_does_not_wait_for(api: Api) -> None:
    job_id = await api.submit(Tasks=[task("a"), task("b", "a"), task("side")])
    await left(api, job_id, "a", 0)
    side = await api.rows.execution(job_id, task="side")
    answer = await ask(api, side, "a")
    assert (answer.status_code, answer.json()["Message"]) == (
        403,
        f"task 'side' of {side} does not wait for a task 'a'",
    )
    assert (await ask(api, "e-nobody", "a")).status_code == 404
    assert (await ask(api, side, "nobody")).status_code == 403
    assert (await api.http.get(PATH, params={"task": "a"})).status_code == 401
    download = api.deps.signer.download(side, seconds=60)
    headers = {"Authorization": f"Bearer {download}"}
    assert (await api.http.get(PATH, params={"task": "a"}, headers=headers)).status_code == 403


async def test_what_is_not_kept_any_more_is_said_so(api: Api) -> None:
    job_id = await api.submit(Tasks=[task("a"), task("b", "a")])
    await left(api, job_id, "a", 0)
    await api.rows.link.execute("UPDATE results SET inline = NULL, stored_at = NULL WHERE job_id = $1", job_id)
    reader = await api.rows.execution(job_id, task="b")
    answer = await ask(api, reader, "a")
    assert answer.status_code == 410
    assert answer.json()["Message"].startswith(
        "the result of partition 0 of task 'a' is not kept any more: it is from "
    )


async def test_what_is_not_final_yet_is_not_told(api: Api) -> None:
    job_id = await api.submit(Tasks=[task("a"), task("b", "a")])
    await left(api, job_id, "a", 0)
    await api.rows.link.execute("UPDATE results SET staged = true WHERE job_id = $1", job_id)
    reader = await api.rows.execution(job_id, task="b")
    assert ResultPage.model_validate_json((await ask(api, reader, "a")).content).results == ()


async def test_a_job_of_several_tasks_tells_how_each_stands_and_whose_a_result_is(api: Api) -> None:
    job_id = await api.submit(Tasks=[task("z", count=2), task("b", "z")])
    for partition in (1, 0):
        await left(api, job_id, "z", partition)
    await left(api, job_id, "b", 0)
    job = (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]
    assert [(each["Name"], each["State"], each["Completed"]) for each in job["TaskStates"]] == [
        ("z", "Completed", 2),
        ("b", "Completed", 1),
    ]
    items = (await api.http.get(f"{JOBS}/{job_id}/results")).json()["Items"]
    assert [(each["Params"]["Task"], each["Params"]["PartitionIndex"]) for each in items] == [
        ("z", 0),
        ("z", 1),
        ("b", 0),
    ]


async def test_a_job_of_one_task_looks_as_ever(api: Api) -> None:
    job_id = await api.submit()
    await left(api, job_id, "main", 0)
    assert "TaskStates" not in (await api.http.get(f"{JOBS}/{job_id}")).json()["Job"]
    (item,) = (await api.http.get(f"{JOBS}/{job_id}/results")).json()["Items"]
    assert "Task" not in item["Params"]


async def test_a_node_is_told_whether_what_it_holds_counts(api: Api) -> None:
    job_id = await api.submit(Tasks=[task("a", count=2)])
    won = await left(api, job_id, "a", 0)
    lost = await api.rows.execution(job_id, task="a", partition=0, attempt=2, state="completed")
    running = await api.rows.execution(job_id, task="a", partition=1)

    async def told(execution_id: str, token_of: str = "") -> Any:
        token = api.deps.signer.run(token_of or execution_id, "n-1", [], seconds=-3_600)  # it may be days old
        query = {"execution": execution_id}
        return await api.http.get("/api/v1/inputs/standing", params=query, headers={"Authorization": f"Bearer {token}"})

    says = [(await told(each)).json() for each in (won, lost, running)]
    assert [each["counts"] for each in says] == [True, False, None]
    assert (await told("e-unknown")).status_code == 404
    assert (await told(won, lost)).json() == (await told(won)).json()


async def test_a_node_is_told_nothing_of_what_another_job_left(api: Api) -> None:
    first, second = [await api.submit(Tasks=[task("a")]) for _ in range(2)]
    won, other = await left(api, first, "a", 0), await api.rows.execution(second, task="a")
    token = api.deps.signer.run(other, "n-1", [], seconds=60)
    headers = {"Authorization": f"Bearer {token}"}
    answer = await api.http.get("/api/v1/inputs/standing", params={"execution": won}, headers=headers)
    assert answer.status_code == 404
