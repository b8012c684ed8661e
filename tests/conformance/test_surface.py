"""The small print of the REST surface on one live stack: defaults, orders, cuts, empty parameters (sections 1.1-1.8).

What each row says stands in docs/COMPATIBILITY.md; here it is asked of a real server, as any HTTP client would.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.support.go_client import HEADERS
from tests.support.live_stack import LiveStack, sleeper_job

pytestmark = pytest.mark.timeout(60)
SECONDS = 30.0
UNKNOWN_TIME = "0001-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def api(stack: LiveStack) -> Iterator[httpx2.Client]:
    """The API under `/api/v1`."""
    with httpx2.Client(base_url=stack.state()["api_url"] + "/api/v1", timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def three(stack: LiveStack) -> str:
    """A job of three partitions that has completed, alone in its namespace."""
    job = sleeper_job(0, count=3)
    job["Job"] |= {"Namespace": "surface", "Name": "three"}
    job_id = stack.submit(job)
    assert stack.wait_for([job_id], SECONDS) == {job_id: "Completed"}
    return job_id


def items(api: httpx2.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = api.get(f"/orchestrator/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["Items"]
    return found


# ---------------------------------------------------------------- the frame


@pytest.mark.row("1.1/client-headers", "1.11/gzip")
def test_every_header_of_the_original_s_clients_is_taken_and_changes_nothing(api: httpx2.Client) -> None:
    names = ("Client-ID", "Job-ID", "App-ID", "InstanceID", "InstallationID")
    plain = api.get("/agent/version")
    told = api.get("/agent/version", headers=HEADERS | {f"X-Bacalhau-{name}": "x" for name in names})
    assert (told.status_code, told.json()) == (200, plain.json())
    assert "content-encoding" not in told.headers, "gzip is offered by clients, and not needed"


@pytest.mark.row("1.2/version", "1.11/build-date")
def test_the_version_is_seven_texts_and_its_date_a_time(api: httpx2.Client) -> None:
    told = api.get("/agent/version").json()
    assert set(told) == {"Major", "Minor", "GitVersion", "GitCommit", "BuildDate", "GOOS", "GOARCH"}
    assert all(isinstance(text, str) for text in told.values())
    assert told["GitVersion"].startswith(f"v{told['Major']}.{told['Minor']}.")
    assert datetime.fromisoformat(told["BuildDate"]).tzinfo is not None
    assert (told["GOOS"], told["GOARCH"] in ("amd64", "arm64")) == ("linux", True)


@pytest.mark.row("1.1/unknown-route")
def test_an_unknown_route_has_its_hint_and_the_usage(api: httpx2.Client) -> None:
    told = api.get("/no/such/route").json()
    assert told["Message"] == "The requested resource/URL was not found."
    assert (told["Code"], told["Component"], set(told["Details"])) == ("NotFound", "APIServer", {"cli_usage"})
    assert "older than the client" in told["Hint"]


# ---------------------------------------------------------------- jobs


@pytest.mark.row("1.4/empty-parameters", "1.4/lists-never-null")
def test_parameters_may_be_there_and_empty_and_no_list_is_null(api: httpx2.Client, three: str) -> None:
    empty = dict.fromkeys(("namespace", "order_by", "next_token", "labels", "limit", "reverse"), "")
    assert api.get("/orchestrator/jobs", params=empty).json()["Items"]
    assert api.get("/orchestrator/jobs", params=empty | {"namespace": "nobody"}).json() == {
        "NextToken": "",
        "Items": [],
    }
    blank = {"event_type": "", "execution_id": "", "since": "", "job_version": "", "all_job_versions": ""}
    assert items(api, f"jobs/{three}/history", **blank)
    assert items(api, f"jobs/{three}/executions", job_version="", all_job_versions="", limit="", reverse="")
    assert api.get(f"/orchestrator/jobs/{three}", params={"include": "", "limit": ""}).status_code == 200
    filters = {"filter-approval": "", "filter-status": "", "labels": "", "order_by": "", "limit": ""}
    assert api.get("/orchestrator/nodes", params=filters).json()["Nodes"]
    assert api.get("/orchestrator/nodes", params={"labels": "region=nowhere"}).json()["Nodes"] == []


@pytest.mark.row("1.4/node-id")
def test_a_node_id_in_the_query_of_history_means_nothing(api: httpx2.Client, three: str) -> None:
    whole = items(api, f"jobs/{three}/history")
    assert items(api, f"jobs/{three}/history", node_id="n-nobody", execution_id="", event_type="all") == whole


@pytest.mark.row("1.4/history-of-an-execution")
def test_the_history_of_an_execution_is_asked_by_any_beginning_of_its_id(api: httpx2.Client, three: str) -> None:
    execution = items(api, f"jobs/{three}/executions")[1]["ID"]
    for key in (execution, execution[:13]):
        page = api.get(f"/orchestrator/jobs/{three}/history", params={"execution_id": key, "limit": 100}).json()
        assert {item["ExecutionID"] for item in page["Items"]} == {execution}
        assert page["NextToken"] == "", "drained, and no error for a beginning of the id"
    assert api.get(f"/orchestrator/jobs/{three}/history", params={"execution_id": "e-zz"}).status_code == 404


@pytest.mark.row("1.4/history-item", "1.11/details-are-texts", "1.11/times")
def test_an_item_of_history_has_its_fields_its_texts_and_its_times(api: httpx2.Client, three: str) -> None:
    found = items(api, f"jobs/{three}/history", limit=100)
    assert [item["SeqNum"] for item in found] == sorted(item["SeqNum"] for item in found)
    fields = {"SeqNum", "Type", "JobID", "JobVersion", "Event", "Time"}
    for item in found:
        level = "ExecutionLevel" if "ExecutionID" in item else "JobLevel"
        assert (set(item) - {"ExecutionID"}, item["Type"]) == (fields, level)
        event = item["Event"]
        assert set(event) - {"Details"} == {"Message", "Topic", "Timestamp"}
        assert all(isinstance(value, str) for value in event.get("Details", {}).values())
        assert event["Timestamp"] == item["Time"]
        assert datetime.fromisoformat(item["Time"]).tzinfo is not None


@pytest.mark.row("1.4/execution-fields")
def test_an_execution_has_every_field_of_the_original_but_the_job(api: httpx2.Client, three: str) -> None:
    first = items(api, f"jobs/{three}/executions")[0]
    links = ("Name", "PreviousExecution", "NextExecution", "FollowupEvalID")
    assert {first[name] for name in links} == {""}
    assert (first["JobID"], first["Namespace"], first["JobVersion"]) == (three, "surface", 1)
    assert first["NodeID"].startswith("n-")
    assert (first["DesiredState"]["StateType"], first["ComputeState"]["StateType"]) == (2, 9)
    assert first["AllocatedResources"]["Tasks"]["main"]["CPU"] == 0.02
    assert "Job" not in first, "whoever reads an execution has its job"
    assert {type(first[name]) for name in ("Revision", "CreateTime", "ModifyTime")} == {int}


@pytest.mark.row("1.4/results-of-a-service")
def test_a_service_has_no_results_and_says_so(api: httpx2.Client, stack: LiveStack) -> None:
    job = sleeper_job(60)
    job["Job"]["Type"] = "service"
    job_id = stack.submit(job)
    refused = api.get(f"/orchestrator/jobs/{job_id}/results")
    assert (refused.status_code, refused.json()["Code"]) == (409, "ResourceInUse")
    api.request("DELETE", f"/orchestrator/jobs/{job_id}", json={"reason": "seen"})


@pytest.mark.row("6.2/local", "6.2/s3managed")
@pytest.mark.parametrize("name", ["local", "s3managed"])
def test_a_job_that_names_a_publisher_of_the_original_leaves_its_result_here(
    name: str, api: httpx2.Client, stack: LiveStack
) -> None:
    job = sleeper_job(0)
    job["Job"]["Tasks"][0]["Publisher"] = {"Type": name}
    job_id = stack.submit(job)
    assert stack.wait_for([job_id], SECONDS) == {job_id: "Completed"}
    (result,) = items(api, f"jobs/{job_id}/results")
    assert result["Type"] == "urlDownload"
    assert httpx2.get(result["Params"]["URL"]).status_code == 200
    told = api.get(f"/orchestrator/jobs/{job_id}").json()["Job"]["Tasks"][0]
    assert told["Publisher"] == {"Type": name, "Params": {}}


@pytest.mark.row("3.5/reference")
def test_the_history_of_a_run_reads_as_that_of_the_original(api: httpx2.Client, stack: LiveStack) -> None:
    job_id = stack.submit(sleeper_job(0.2))
    stack.wait_for([job_id], SECONDS)
    told = [(item["Type"][:3], item["Event"]["Topic"], item["Event"]["Message"]) for item in items(
        api, f"jobs/{job_id}/history", limit=100
    )]  # fmt: skip
    assert [(level, topic, text.partition(" on n-")[0]) for level, topic, text in told] == [
        ("Job", "Submission", "Job submitted"),
        ("Exe", "Scheduling", "Requested execution"),
        ("Job", "State Update", "Running"),
        ("Exe", "Execution", "Running"),
        ("Exe", "Execution", "Completed successfully"),
        ("Job", "State Update", "Completed"),
    ]


@pytest.mark.row("3.5/reference")
def test_the_history_of_a_stop_reads_as_that_of_the_original(api: httpx2.Client, stack: LiveStack) -> None:
    job_id = stack.submit(sleeper_job(60))
    stack.wait_until(lambda: stack.state_of(job_id) == "Running", SECONDS, "it runs")
    api.request("DELETE", f"/orchestrator/jobs/{job_id}", json={"reason": "enough"})
    wanted = "Execution stop requested because job has been stopped"

    def messages() -> list[str]:
        return [item["Event"]["Message"] for item in items(api, f"jobs/{job_id}/history", limit=100)]

    stack.wait_until(lambda: "Stopped" in messages()[-1:] and wanted in messages(), SECONDS, "all of it is stopped")
    (asked,) = (
        item for item in items(api, f"jobs/{job_id}/history") if "requested to stop" in item["Event"]["Message"]
    )
    assert (asked["Event"]["Topic"], asked["Event"]["Details"]) == ("Scheduling", {"Reason": "enough"})


# ---------------------------------------------------------------- paging and order


@pytest.mark.row("1.5/token-overrides", "1.5/order")
def test_a_token_goes_on_as_it_began_whatever_the_query_says(api: httpx2.Client, stack: LiveStack, three: str) -> None:
    names = ["three", *("page-a", "page-b", "page-c")]
    for name in names[1:]:
        job = sleeper_job(0)
        job["Job"] |= {"Namespace": "surface", "Name": name}
        stack.wait_for([stack.submit(job)], SECONDS)
    asked: dict[str, Any] = {"namespace": "surface", "limit": 1, "reverse": "true"}
    page = api.get("/orchestrator/jobs", params=asked).json()
    assert [job["Name"] for job in page["Items"]] == ["page-c"]
    other = {"namespace": "surface", "limit": 3, "reverse": "false", "order_by": "modified_at"}
    page = api.get("/orchestrator/jobs", params=other | {"next_token": page["NextToken"]}).json()
    assert [job["Name"] for job in page["Items"]] == ["page-b"]
    assert [job["Name"] for job in items(api, "jobs", namespace="surface")] == names, "oldest first"


@pytest.mark.row("1.5/history-page")
def test_a_page_of_history_is_as_long_as_asked_then_as_its_token_says(api: httpx2.Client, three: str) -> None:
    path = f"/orchestrator/jobs/{three}/history"
    first = api.get(path, params={"limit": 2}).json()
    second = api.get(path, params={"next_token": first["NextToken"]}).json()
    third = api.get(path, params={"next_token": second["NextToken"], "limit": 1}).json()
    numbers = [[item["SeqNum"] for item in page["Items"]] for page in (first, second, third)]
    assert numbers == [[1, 2], [3, 4], [5]]


@pytest.mark.row("1.5/executions")
def test_executions_are_ordered_and_cut_and_an_unknown_order_is_no_error(api: httpx2.Client, three: str) -> None:
    path = f"jobs/{three}/executions"
    whole = [one["ID"] for one in items(api, path)]
    created = [one["CreateTime"] for one in items(api, path)]
    assert (len(whole), created) == (3, sorted(created))
    for word in ("created_at", "create_time", "", "beauty"):
        assert [one["ID"] for one in items(api, path, order_by=word)] == whole, word
    assert [one["ID"] for one in items(api, path, reverse="true")] == whole[::-1]
    for word in ("modified_at", "modify_time"):
        changed = [one["ModifyTime"] for one in items(api, path, order_by=word)]
        assert changed == sorted(changed), word
    cut = api.get(f"/orchestrator/{path}", params={"limit": 2}).json()
    rest = api.get(f"/orchestrator/{path}", params={"next_token": cut["NextToken"]}).json()
    assert [one["ID"] for page in (cut, rest) for one in page["Items"]] == whole
    assert (len(cut["Items"]), rest["NextToken"]) == (2, "")


@pytest.mark.row("1.5/nodes-order")
def test_nodes_are_listed_in_every_order_there_is_and_no_other(api: httpx2.Client) -> None:
    words = ("id", "type", "available_cpu", "available_memory", "available_disk", "available_gpu", "approval", "status")
    for word in words:
        assert api.get("/orchestrator/nodes", params={"order_by": word}).json()["Nodes"], word
    refused = api.get("/orchestrator/nodes", params={"order_by": "beauty"})
    assert (refused.status_code, "invalid order_by" in refused.json()["Message"]) == (400, True)


# ---------------------------------------------------------------- nodes


@pytest.mark.row("1.6/node-fields", "1.6/amounts", "1.6/provider-names", "2.6/node-labels")
def test_a_node_has_every_field_of_the_original(api: httpx2.Client) -> None:
    (node,) = api.get("/orchestrator/nodes").json()["Nodes"]
    info, state = node["Info"], node["ConnectionState"]
    assert {"NodeID", "NodeType", "Labels", "SupportedProtocols", "ComputeNodeInfo", "BacalhauVersion"} <= set(info)
    assert (info["NodeType"], node["Membership"], node["Connection"]) == ("Compute", "APPROVED", "CONNECTED")
    assert {"os_type", "os_arch", "name"} <= set(info["Labels"])
    compute = info["ComputeNodeInfo"]
    for kind in ("ExecutionEngines", "Publishers", "StorageSources"):
        assert compute[kind] == sorted(name.lower() for name in compute[kind]), kind
    assert "wasm" in compute["ExecutionEngines"]
    assert {"inline", "local"} <= set(compute["StorageSources"])
    assert {"local", "noop", "s3managed"} <= set(compute["Publishers"])
    for kind in ("MaxCapacity", "AvailableCapacity", "MaxJobRequirements"):
        amounts = compute[kind]
        assert 0 not in amounts.values(), "what there is none of is left out"
        assert amounts["CPU"] > 0
        assert isinstance(amounts["Memory"], int)
    assert compute["QueueCapacity"] == {}, "what waits waits with the scheduler"
    assert (compute["EnqueuedExecutions"], compute["address"]) == (0, "")
    assert (state["Status"], state["LastError"], state["DisconnectedSince"]) == ("CONNECTED", "", UNKNOWN_TIME)
    for name in ("LastHeartbeat", "ConnectedSince"):
        assert datetime.fromisoformat(state[name]).year > 2000
    assert {type(state[name]) for name in ("LastComputeSeqNum", "LastOrchestratorSeqNum")} == {int}
