import httpx2
import pytest

from skrei import calls
from skrei.answers import ATTEMPTS
from skrei.errors import ApiError, Unreachable
from skrei.sync import Client
from skrei.views import Execution
from tests.support.fake_api import FakeApi, client_of, error, execution, job

JOBS = "/api/v1/orchestrator/jobs"


async def test_a_submission_carries_a_token_and_tells_the_warnings() -> None:
    api = FakeApi({f"PUT {JOBS}": {"JobID": "j-1", "EvaluationID": "e", "Warnings": ["careful"]}})
    async with client_of(api) as client:
        submitted = await client.submit({"Name": "a"})
    assert (submitted.job_id, submitted.warnings) == ("j-1", ("careful",))
    assert api.body()["Job"] == {"Name": "a"}
    assert api.body()["IdempotencyToken"]


async def test_a_busy_api_is_asked_again_with_the_same_token() -> None:
    busy = error(503, "busy", {"Retry-After": "0"})
    api = FakeApi({f"PUT {JOBS}": [busy, busy, {"JobID": "j-1", "EvaluationID": "e", "Warnings": None}]})
    async with client_of(api) as client:
        assert (await client.submit({})).warnings == ()
    assert len({api.body(n)["IdempotencyToken"] for n in range(3)}) == 1


async def test_a_busy_api_is_not_asked_for_ever() -> None:
    api = FakeApi({f"GET {JOBS}/x": error(429, "slow down", {"Retry-After": "0"})})
    async with client_of(api) as client:
        with pytest.raises(ApiError) as refused:
            await client.job("x")
    assert (refused.value.status, len(api.requests)) == (429, ATTEMPTS)


async def test_a_stop_is_sent_once_and_carries_its_reason_in_the_body() -> None:
    api = FakeApi({f"DELETE {JOBS}/x": [error(503, "busy", {"Retry-After": "0"}), {"EvaluationID": "ev"}]})
    async with client_of(api) as client:
        with pytest.raises(ApiError):
            await client.stop("x", reason="enough")
        assert len(api.requests) == 1
        assert await client.stop("x", reason="enough") == "ev"
    assert api.body() == {"reason": "enough"}


async def test_the_documented_error_body_becomes_an_error_with_its_parts() -> None:
    body = error(404, "job not found: x", Hint="look", Details={"job": "x"})
    async with client_of(FakeApi({f"GET {JOBS}/x": body})) as client:
        with pytest.raises(ApiError) as refused:
            await client.job("x")
    found = refused.value
    assert (found.message, found.status, found.api_code, found.hint) == ("job not found: x", 404, "NotFound", "look")
    assert found.details == {"job": "x"}


@pytest.mark.parametrize(
    "answer", [httpx2.Response(200, text="<html>"), httpx2.Response(200, json=[]), httpx2.Response(502, text="<html>")]
)
async def test_what_is_no_skrei_api_is_told_as_that(answer: httpx2.Response) -> None:
    async with client_of(FakeApi({f"GET {JOBS}/x": answer})) as client:
        with pytest.raises(ApiError, match=r"is no Skrei API"):
            await client.job("x")


async def test_an_unreachable_api_says_how_to_start_one() -> None:
    async with client_of(FakeApi({f"GET {JOBS}/x": httpx2.ConnectError("refused")})) as client:
        with pytest.raises(Unreachable) as refused:
            await client.job("x")
    assert "skrei serve" in refused.value.hint


async def test_a_name_with_a_slash_stays_one_path_segment() -> None:
    api = FakeApi({})
    async with client_of(api) as client:
        with pytest.raises(ApiError):
            await client.job("a/../b?c")
    assert api.requests[0].url.raw_path == b"/api/v1/orchestrator/jobs/a%2F..%2Fb%3Fc"


async def test_executions_are_read_with_their_integers_and_odd_spellings() -> None:
    output = {"Stdout": "15\n", "stderr": "oh", "ExitCode": 3, "StdoutTruncated": True}
    items = [execution(1, RunOutput=output), execution(2, 1, 10, ComputeState={"StateType": 10, "Message": "trap"})]
    async with client_of(FakeApi({f"GET {JOBS}/x/executions": {"NextToken": "", "Items": items}})) as client:
        first, second = (await client.executions("x")).items
    assert (first.state, first.exit_code, first.stdout, first.stderr, first.truncated) == (
        "Completed",
        3,
        "15\n",
        "oh",
        True,
    )
    assert (second.state, second.partition, second.message, second.exit_code) == ("Failed", 1, "trap", None)


async def test_absent_query_values_are_not_sent() -> None:
    api = FakeApi(
        {f"GET {JOBS}": {"NextToken": "t", "Items": [job("Queued", State={"StateType": "Queued", "Message": "full"})]}}
    )
    async with client_of(api) as client:
        page = await client.send(calls.jobs(labels=("a=b", "c")))
    assert dict(api.requests[0].url.params.multi_items()) == {
        "limit": "20",
        "reverse": "true",
        "order_by": "created_at",
        "labels": "c",
    }
    assert (page.next_token, page.items[0].message, page.items[0].is_terminal) == ("t", "full", False)


async def test_the_blocking_client_works_inside_a_running_loop() -> None:
    api = FakeApi({f"GET {JOBS}/x": {"Job": job("Completed")}, "GET /api/v1/agent/alive": {"Status": "OK"}})
    with Client("http://127.0.0.1:9", transport=api.transport) as client:
        assert client.alive()
        assert client.job("x").state == "Completed"


def test_an_execution_says_where_its_ports_are_reached() -> None:
    ports = [{"Name": "http", "Host": "127.0.0.1", "Port": 20001}, {"Name": "six", "Host": "::1", "Port": 20002}]
    assert Execution.parse(execution(1, Ports=ports)).addresses == {"http": "127.0.0.1:20001", "six": "[::1]:20002"}
    assert Execution.parse(execution(1)).addresses == {}
