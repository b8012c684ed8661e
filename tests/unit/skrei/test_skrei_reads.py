"""What the clients read beside jobs: tags, many answers at once, where a job is reached, and what it left."""

import json
from typing import Any

import httpx2
import pytest

from skrei import Conflict, InvalidRequest, NotModified, Tagged, calls, transport
from skrei.cli.ask import Ask
from skrei.cli.looks import executions_of
from skrei.errors import ApiError, Unreachable
from skrei.views import Submitted
from tests.support.fake_api import FakeApi, client_of, error, execution, job, page
from tests.support.served_api import serving

JOBS = "/api/v1/orchestrator/jobs"
NODES = "/api/v1/orchestrator/nodes"
ID = job()["ID"]
ACCEPTED = {"Items": [{"JobID": f"j-{number}", "Warnings": None} for number in range(256)]}


async def test_a_read_with_a_tag_tells_whether_what_was_read_is_still_true() -> None:
    def tagged(request: httpx2.Request) -> httpx2.Response:
        if request.headers.get("If-None-Match") == '"t1"':
            return httpx2.Response(304, headers={"ETag": '"t1"'})
        return httpx2.Response(200, json={"Job": job("Running")}, headers={"ETag": '"t1"'})

    api = FakeApi({f"GET {JOBS}/{ID}": tagged, f"GET {NODES}/n-1": {"Node": {}}})
    async with client_of(api) as client_:
        seen = await client_.read(calls.job(ID))
        assert isinstance(seen, Tagged)
        assert (seen.value.state, seen.etag) == ("Running", '"t1"')
        assert await client_.read(calls.job(ID), etag=seen.etag) == NotModified('"t1"')
        untagged = await client_.read(calls.node("n-1"))
        assert isinstance(untagged, Tagged)
        assert untagged.etag == ""


async def test_a_refresh_of_what_has_not_changed_keeps_what_was_read() -> None:
    same = httpx2.Response(304, headers={"ETag": '"t1"'})
    running = httpx2.Response(200, json={"Job": job("Running")}, headers={"ETag": '"t1"'})
    ended = httpx2.Response(200, json={"Job": job("Completed")}, headers={"ETag": '"t2"'})
    api = FakeApi({f"GET {JOBS}/{ID}": [running, running, same, ended]})
    async with client_of(api) as client_:
        found = await client_.jobs.get(ID)
        assert [(await found.refresh()).state for _ in range(3)] == ["Running", "Running", "Completed"]
    assert [request.headers.get("If-None-Match") for request in api.requests] == [None, None, '"t1"', '"t1"']


async def test_many_jobs_go_in_few_requests_and_each_is_answered_by_itself() -> None:
    refused = {"Error": {"Status": 400, "Message": "Count: -1", "Code": "ValidationError", "Hint": "0 or more"}}

    def accept(request: httpx2.Request) -> httpx2.Response:
        items = [
            refused if each["Job"].get("Count") == -1 else {"JobID": each["Job"]["Name"], "Warnings": None}
            for each in json.loads(request.content)["Jobs"]
        ]
        return httpx2.Response(200, json={"Items": items})

    api = FakeApi({f"POST {JOBS}:batch": accept})
    wanted: list[dict[str, Any]] = [
        {"Name": f"job-{number}", "Count": -1 if number == 3 else 1} for number in range(300)
    ]
    async with client_of(api) as client_:
        done = await client_.jobs.submit_many(wanted, namespace="night", idempotency_token="n7")
    assert [len(api.body(number)["Jobs"]) for number in range(2)] == [256, 44]
    sent = [each for number in range(2) for each in api.body(number)["Jobs"]]
    assert [each["IdempotencyToken"] for each in sent] == [f"n7-{number}" for number in range(300)]
    assert {each["Job"]["Namespace"] for each in sent} == {"night"}
    assert isinstance(done[3], InvalidRequest)
    assert (done[3].message, done[3].hint) == ("Count: -1", "0 or more")
    accepted = [each.job_id for each in done if isinstance(each, Submitted)]
    assert accepted == [f"job-{number}" for number in range(300) if number != 3]


async def test_a_later_request_that_is_refused_hides_nothing_of_those_before() -> None:
    refused = error(413, "the body is too large", Code="TooLarge")
    async with client_of(FakeApi({f"POST {JOBS}:batch": [ACCEPTED, refused]})) as client_:
        done = await client_.jobs.submit_many([{"Name": "a"}] * 259)
    assert [each.job_id for each in done if isinstance(each, Submitted)] == [f"j-{number}" for number in range(256)]
    assert [str(each) for each in done[256:]] == ["the body is too large"] * 3


async def test_a_later_request_that_nobody_answers_hides_nothing_of_those_before_and_is_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answered(request: httpx2.Request) -> httpx2.Response:
        if len(api.requests) > 1:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, json=ACCEPTED)

    monkeypatch.setattr(transport, "ATTEMPTS", 1)
    api = FakeApi({f"POST {JOBS}:batch": answered})
    async with client_of(api) as client_:
        done = await client_.jobs.submit_many([{"Name": "a"}] * 600)
    assert [isinstance(each, Submitted) for each in done] == [True] * 256 + [False] * 344
    assert {type(each) for each in done[256:]} == {Unreachable}
    assert len(api.requests) == 2


async def test_a_first_request_that_is_refused_raises() -> None:
    async with client_of(FakeApi({f"POST {JOBS}:batch": error(413, "the body is too large")})) as client_:
        with pytest.raises(ApiError, match="too large"):
            await client_.jobs.submit_many([{"Name": "a"}] * 300)


async def test_more_executions_than_an_answer_holds_are_all_there() -> None:
    def executions(request: httpx2.Request) -> httpx2.Response:
        number = int(request.url.params.get("next_token") or 0)
        one = execution(number, number, RunOutput={"ExitCode": number})
        return httpx2.Response(200, json=page(str(number + 1) if number < 2 else "", one))

    api = FakeApi({f"GET {JOBS}/{ID}": {"Job": job("Completed")}, f"GET {JOBS}/{ID}/executions": executions})
    async with client_of(api) as client_:
        found = await client_.jobs.get(ID)
        assert [one.partition for one in await found.executions(all_versions=True)] == [0, 1, 2]
        assert [request.url.params["all_job_versions"] for request in api.requests[1:]] == ["true"] * 3
        assert await found.exit_code() == 2
    with serving(api) as url, Ask(url) as ask:
        assert [one.partition for one in executions_of(ask, ID)] == [0, 1, 2]


async def test_more_nodes_than_an_answer_holds_are_all_there() -> None:
    first = {"NextToken": "t", "Nodes": [{"Info": {"NodeID": "n-1"}}]}
    api = FakeApi({f"GET {NODES}": [first, {"NextToken": "", "Nodes": [{"Info": {"NodeID": "n-2"}}]}]})
    async with client_of(api) as client_:
        assert [node.id for node in await client_.nodes.list(status="connected")] == ["n-1", "n-2"]
    asked = [(request.url.params["filter-status"], request.url.params.get("next_token")) for request in api.requests]
    assert asked == [("connected", None), ("connected", "t")]


def test_jobs_that_are_large_go_in_more_requests() -> None:
    large = {"Name": "x" * (3 * 1024 * 1024)}
    assert [len(part) for part in calls.portions([large] * 5)] == [2, 2, 1]
    assert list(calls.portions([])) == []


async def test_a_service_says_where_it_is_reached_and_which_of_it_is_ready() -> None:
    told = {
        "Address": "[::1]:20000", "Host": "::1", "Port": 20000, "Name": "web", "Task": "main", "PartitionIndex": 1,
        "ExecutionID": "e-1", "NodeID": "n-1", "JobVersion": 2,
    }  # fmt: skip
    executions = page("", execution(1, 0, 6, Ready=True), execution(2, 1, 6, Ready=False), execution(3, 2))
    api = FakeApi(
        {
            f"GET {JOBS}/{ID}": {"Job": job(), "Endpoints": page("", told), "Executions": executions},
            f"GET {JOBS}/{ID}/endpoints": page("", told),
        }
    )
    async with client_of(api) as client_:
        found = await client_.jobs.get(ID)
        (reached,) = await found.endpoints()
        details = await found.describe()
    assert (reached.address, reached.name, reached.partition, reached.version) == ("[::1]:20000", "web", 1, 2)
    assert details.endpoints == (reached,)
    assert [one.ready for one in details.executions] == [True, False, None]
    assert api.requests[-1].url.params["include"] == "executions,history,endpoints"


async def test_results_say_whose_they_are_and_those_of_what_does_not_end_are_refused() -> None:
    params = {"URL": "/results/e-7.tar.gz?token=t", "PartitionIndex": 1, "Size": 5, "NodeID": "n-1", "NodeName": "box"}
    no = error(409, f"job {ID} is a service", Code="ResourceInUse")
    api = FakeApi({f"GET {JOBS}/{ID}": {"Job": job()}, f"GET {JOBS}/{ID}/results": [page("", {"Params": params}), no]})
    async with client_of(api) as client_:
        found = await client_.jobs.get(ID)
        (left,) = await found.results().list()
        assert (left.execution_id, left.partition, left.size, left.node) == ("e-7", 1, 5, "box")
        with pytest.raises(Conflict, match="is a service"):
            await found.results().list()
