"""What Bacalhau's command line sends, and what it does with the answers (sections 1.1, 1.4 to 1.8, 1.10 and 1.11).

`tests.support.go_client` sends what it sends and reads as strictly; the command itself is `test_bacalhau_command`'s.
"""

import gzip
import json
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx2
import pytest

from tests.support import go_shapes
from tests.support.client_key import proof
from tests.support.go_client import HEADERS, GoClient, put_body
from tests.support.live_stack import LiveStack, sleeper_job

pytestmark = pytest.mark.timeout(60)
SECONDS = 30.0
JOBS, NODES = "/orchestrator/jobs", "/orchestrator/nodes"


@pytest.fixture(scope="module")
def go(stack: LiveStack) -> Iterator[GoClient]:
    client = GoClient(stack.state()["api_url"])
    yield client
    client.close()


@pytest.fixture(scope="module")
def done(go: GoClient, stack: LiveStack) -> str:
    """A job that has completed."""
    return completed(go, stack)


def completed(go: GoClient, stack: LiveStack, **job: Any) -> str:
    answer = go.ask("put job", "PUT", JOBS, put_body(sleeper_job(0)["Job"] | job))
    assert stack.wait_for([answer["JobID"]], SECONDS) == {answer["JobID"]: "Completed"}
    return str(answer["JobID"])


def drained(go: GoClient, job_id: str) -> list[str]:
    """What the progress printer does: ten items at once, again and again until the token is empty."""
    token, told = "", []
    end = time.monotonic() + SECONDS
    while True:
        page = go.ask(
            "job history", "GET", f"{JOBS}/{job_id}/history", event_type="all", limit=10, next_token=token,
            namespace="",
        )  # fmt: skip
        told += [item["Event"]["Message"] for item in page["Items"]]
        token = page["NextToken"]
        if not token:
            return told
        assert time.monotonic() < end, f"the token of {job_id} does not empty: {told}"


# ------------------------------------------------------------------ one run, as `bacalhau docker run` does it


@pytest.mark.row("1.10/go-body", "1.11/warnings")
def test_a_submission_with_every_zero_value_and_its_query_is_taken(go: GoClient, stack: LiveStack) -> None:
    body = put_body(sleeper_job(0)["Job"] | {"Name": "go-zeroes"})
    answer = go.ask("put job", "PUT", JOBS, body, namespace="", idempotencyToken="")
    # The state, version and times of the struct are its zero values: nobody set them, nobody is warned of them.
    assert not answer["Warnings"]
    stack.wait_for([answer["JobID"]], SECONDS)


@pytest.mark.row("1.11/progress-printer", "3.5/execution")
def test_the_progress_printer_ends_with_the_job_and_has_seen_it_all(go: GoClient) -> None:
    job_id = go.ask("put job", "PUT", JOBS, put_body(sleeper_job(0.3)["Job"]))["JobID"]
    told = drained(go, job_id)
    assert told[0] == "Job submitted"
    assert told[-1] == "Completed"
    assert [text for text in told if text.startswith("Requested execution on n-")]
    assert "Completed successfully" in told


@pytest.mark.row("1.10/history-while-it-runs")
def test_while_it_runs_the_token_stays_and_the_page_may_be_empty(go: GoClient, stack: LiveStack) -> None:
    job_id = go.ask("put job", "PUT", JOBS, put_body(sleeper_job(60)["Job"]))["JobID"]
    stack.wait_until(lambda: stack.state_of(job_id) == "Running", SECONDS, "it runs")
    page: Any = {"Items": [None], "NextToken": ""}
    end = time.monotonic() + SECONDS
    while page["Items"]:
        asked = {"limit": 10, "next_token": page["NextToken"], "event_type": "all"}
        page = go.ask("job history", "GET", f"{JOBS}/{job_id}/history", **asked)
        assert page["NextToken"]
        assert time.monotonic() < end
    go.ask("stop job", "DELETE", f"{JOBS}/{job_id}", {"reason": "enough"}, namespace="")
    assert "Job requested to stop before completion" in drained(go, job_id)


@pytest.mark.row("1.10/results", "6.2/archive")
def test_the_result_is_fetched_from_the_address_and_is_an_archive_of_folders_and_files(go: GoClient, done: str) -> None:
    (item,) = go.ask("job results", "GET", f"{JOBS}/{done}/results", namespace="")["Items"]
    assert item["Type"] == "urlDownload"
    fetched = httpx2.get(item["Params"]["URL"])
    assert fetched.status_code == 200
    with tarfile.open(fileobj=BytesIO(gzip.decompress(fetched.content))) as archive:
        names = archive.getnames()
    assert {"stdout", "stderr", "exitCode"} <= {name.removeprefix("./") for name in names}


# ------------------------------------------------------------------ reads


@pytest.mark.row("1.11/exactly-200", "1.11/go-types", "3.1/names")
@pytest.mark.parametrize(
    ("shape", "path", "query"),
    [
        ("get job", "", {"namespace": "", "include": "executions,history", "job_version": 0, "limit": 0}),
        ("get job", "", {"include": "", "namespace": "default"}),
        ("job history", "/history", {"event_type": "all", "limit": 100, "next_token": "", "since": 0}),
        ("job history", "/history", {"event_type": "execution", "execution_id": ""}),
        ("job history", "/history", {"event_type": "job", "all_job_versions": "false", "job_version": 0}),
        (
            "job executions",
            "/executions",
            {"limit": 20, "next_token": "", "order_by": "create_time", "reverse": "true"},
        ),
        ("job executions", "/executions", {"order_by": "", "all_job_versions": "false", "job_version": 0}),
        ("job executions", "/executions", {"order_by": "no-such-column"}),
        ("job results", "/results", {"namespace": ""}),
    ],
)
def test_a_job_is_read_with_the_queries_that_are_sent(
    shape: str, path: str, query: dict[str, Any], go: GoClient, done: str
) -> None:
    go.ask(shape, "GET", f"{JOBS}/{done}{path}", **query)


@pytest.mark.row("1.11/never-null", "1.11/more-fields", "2.10/partition")
def test_describe_has_what_its_printer_dereferences(go: GoClient, done: str) -> None:
    answer = go.ask("get job", "GET", f"{JOBS}/{done}", include="executions,history")
    job, (execution,) = answer["Job"], answer["Executions"]["Items"]
    assert job["Tasks"][0]["Publisher"]["Type"] == ""
    assert job["Tasks"][0]["Network"]["Type"] == "Default"
    assert (job["State"]["StateType"], execution["ComputeState"]["StateType"]) == ("Completed", 9)
    assert execution["RunOutput"]["Stdout"] == "slept\n"
    assert "PartitionIndex" not in execution
    assert answer["History"]["NextToken"] == ""


@pytest.mark.row("1.11/go-types")
@pytest.mark.parametrize(
    "query",
    [
        {"limit": 10, "order_by": "created_at", "reverse": "false", "namespace": "default", "next_token": ""},
        {"limit": 5, "order_by": "", "reverse": "true", "namespace": "*"},
        {"limit": 1, "labels": ["team", "stage in (test,prod)"]},
        {"order_by": "modified_at", "namespace": ""},
    ],
)
def test_jobs_are_listed_with_the_queries_that_are_sent(query: dict[str, Any], go: GoClient, done: str) -> None:
    page = go.ask("list jobs", "GET", JOBS, **query)
    if "labels" in query:
        assert page == {"NextToken": "", "Items": []}
    else:
        assert page["Items"]


def test_a_job_is_found_by_its_name_and_by_its_short_id(go: GoClient, stack: LiveStack) -> None:
    job_id = completed(go, stack, Name="go name with spaces")
    for key in ("go%20name%20with%20spaces", job_id[:10], job_id):
        assert go.ask("get job", "GET", f"{JOBS}/{key}", namespace="default")["Job"]["ID"] == job_id


@pytest.mark.row("1.10/agent-config", "1.11/exactly-200")
@pytest.mark.parametrize(
    ("shape", "path", "query"),
    [
        ("list nodes", NODES, {}),
        ("list nodes", NODES, {"filter__approval": "approved", "filter__status": "connected", "limit": 0}),
        ("list nodes", NODES, {"order_by": "available_cpu", "reverse": "true", "labels": ["os_type=linux"]}),
        ("agent alive", "/agent/alive", {}),
        ("agent version", "/agent/version", {}),
        ("agent node", "/agent/node", {}),
        ("agent debug", "/agent/debug", {}),
        ("agent config", "/agent/config", {}),
        ("agent authconfig", "/agent/authconfig", {}),
    ],
)
def test_nodes_and_the_agent_answer_what_is_read(shape: str, path: str, query: dict[str, Any], go: GoClient) -> None:
    answer = go.ask(shape, "GET", path, **query)
    if shape == "list nodes":
        assert answer["Nodes"]
        node_id = answer["Nodes"][0]["Info"]["NodeID"]
        assert go.ask("get node", "GET", f"{NODES}/{node_id[:8]}")["Node"]["Info"]["NodeID"] == node_id


@pytest.mark.row("1.9/web-ui-limit", "1.9/web-ui-reads")
def test_the_web_ui_s_large_pages_are_taken(go: GoClient, done: str) -> None:
    go.ask("list nodes", "GET", NODES, limit=10_000)
    go.ask("job history", "GET", f"{JOBS}/{done}/history", limit=1_000, event_type="all")


# ------------------------------------------------------------------ versions


def test_a_job_is_updated_compared_and_run_again_by_its_name(go: GoClient, stack: LiveStack) -> None:
    first = put_body(sleeper_job(0)["Job"] | {"Name": "go-versions"})
    second = put_body(sleeper_job(0)["Job"] | {"Name": "go-versions", "Labels": {"stage": "second"}})
    job_id = go.ask("put job", "PUT", JOBS, first)["JobID"]
    stack.wait_for([job_id], SECONDS)
    assert "second" in go.ask("diff job", "PUT", f"{JOBS}/diff", second)["Diff"]
    assert go.ask("put job", "PUT", JOBS, second)["JobID"] == job_id
    stack.wait_for([job_id], SECONDS)
    assert go.ask("diff job", "PUT", f"{JOBS}/diff", second)["Diff"] == ""
    again = go.ask("rerun job", "PUT", f"{JOBS}/{job_id}/rerun", {"JobVersion": 0, "Reason": "", "Namespace": ""})
    assert (again["JobID"], again["JobVersion"]) == (job_id, 3)
    stack.wait_for([job_id], SECONDS)
    found = go.ask("job versions", "GET", f"{JOBS}/{job_id}/versions", namespace="")["Items"]
    assert [(one["Version"], one["Labels"].get("stage")) for one in found] == [(1, None), (2, "second"), (3, "second")]
    old = go.ask("get job", "GET", f"{JOBS}/go-versions", job_version=1, include="executions")
    assert (old["Job"]["Version"], [one["JobVersion"] for one in old["Executions"]["Items"]]) == (1, [1])
    every = go.ask("job executions", "GET", f"{JOBS}/{job_id}/executions", all_job_versions="true")["Items"]
    assert [one["JobVersion"] for one in every] == [1, 2, 3]


def test_a_submission_that_changes_nothing_is_refused_with_the_words_that_are_printed(
    go: GoClient, stack: LiveStack
) -> None:
    body = put_body(sleeper_job(0)["Job"] | {"Name": "go-unchanged"})
    stack.wait_for([go.ask("put job", "PUT", JOBS, body)["JobID"]], SECONDS)
    refused = go.refused(409, "PUT", JOBS, body)
    assert refused["Message"].startswith("no changes detected for new job spec. Job Name: 'go-unchanged'")
    assert refused["Hint"] == "Use the --force flag to override this warning"
    job_id = go.ask("put job", "PUT", JOBS, body | {"Force": True})["JobID"]
    stack.wait_for([job_id], SECONDS)


# ------------------------------------------------------------------ proving who one is


@pytest.mark.row("1.11/only-auth-is-401")
def test_without_a_credential_the_challenge_is_met_and_its_token_is_taken(go: GoClient) -> None:
    methods = go.ask("auth methods", "GET", "/auth")["Methods"]
    assert {name: method["type"] for name, method in methods.items()} == {"ClientKey": "challenge"}
    body = proof(methods["ClientKey"]["params"]["InputPhrase"])
    token = go.ask("authn", "POST", "/auth/ClientKey", body)["Authentication"]["token"]
    answer = httpx2.get(f"{go.api_url}/api/v1{JOBS}", headers=HEADERS | {"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


# ------------------------------------------------------------------ logs


@pytest.mark.row("1.10/log-frames", "1.11/log-path", "1.8/chunks")
def test_logs_are_text_frames_and_end_with_a_normal_close(go: GoClient, done: str) -> None:
    frames = list(go.logs(f"{JOBS}/{done}/logs", follow="true", tail="false", execution_id="", namespace=""))
    assert "".join(frame["value"]["Line"] for frame in frames if frame["value"]["Type"] == 1) == "slept\n"


def test_logs_of_an_unknown_job_are_an_error_frame_and_a_normal_close(go: GoClient) -> None:
    (frame,) = go.logs(f"{JOBS}/j-1234/logs", follow="true")
    assert frame["error"] == "job not found: j-1234"
    assert frame["value"] == {"Type": 0, "Line": ""}


def test_logs_without_an_upgrade_are_refused(go: GoClient, done: str) -> None:
    go.refused(400, "GET", f"{JOBS}/{done}/logs")


# ------------------------------------------------------------------ refusals and the frame


@pytest.mark.row("1.10/error", "1.11/only-auth-is-401")
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (("GET", f"{JOBS}/j-1234"), 404, "NotFound"),
        (("GET", f"{JOBS}/j-1234/history"), 404, "NotFound"),
        (("GET", f"{JOBS}/j-1234/executions"), 404, "NotFound"),
        (("GET", f"{JOBS}/j-1234/results"), 404, "NotFound"),
        (("DELETE", f"{JOBS}/j-1234", {"reason": "x"}), 404, "NotFound"),
        (("GET", f"{NODES}/n-nobody"), 404, "NotFound"),
        (("GET", "/no/such/route"), 404, "NotFound"),
        (("PUT", JOBS, {"Job": None, "Force": False}), 400, "ValidationError"),
        (("PUT", JOBS, put_body({"Tasks": []})), 400, "ValidationError"),
        (("GET", f"{JOBS}?next_token=rubbish"), 400, ""),
        (("GET", f"{JOBS}?labels=a+in+("), 400, ""),
        (("GET", f"{NODES}?order_by=colour"), 400, ""),
    ],
)
def test_a_refusal_has_the_form_that_is_read(sent: tuple[Any, ...], status: int, code: str, go: GoClient) -> None:
    answer = go.refused(status, *sent)
    assert answer["Message"]
    assert code in ("", answer["Code"])


@pytest.mark.row("1.9/legacy-requester", "12/removed")
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/requester/submit"), ("POST", "/requester/events"), ("POST", "/version"), ("GET", "/id")],
)
def test_routes_of_old_releases_are_unknown(method: str, path: str, go: GoClient) -> None:
    refused = go.refused(404, method, path, {} if method == "POST" else None)
    assert (refused["Code"], refused["Component"]) == ("NotFound", "APIServer")


def test_a_head_request_is_answered_as_a_get_without_its_body(go: GoClient) -> None:
    found, missing = go.send("HEAD", "/agent/alive"), go.send("HEAD", f"{JOBS}/j-1234")
    assert (found.status_code, found.content, missing.status_code, missing.content) == (200, b"", 404, b"")


@pytest.mark.row("1.1/version-headers")
def test_every_answer_tells_the_server_s_build_and_the_request_s_id(go: GoClient) -> None:
    for answer in (go.send("GET", "/agent/alive"), go.send("GET", f"{JOBS}/j-1234")):
        for name in ("Git-Version", "Git-Commit", "Build-Date", "Build-OS", "Arch"):
            assert f"X-Bacalhau-{name}" in answer.headers
        assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("v1.9.3", 200),
        ("v1.4.0", 200),
        ("", 200),
        ("v0.0.0", 200),
        ("v0.0.0-xxxxxxx", 200),
        ("v1.3.9", 403),
        ("x", 400),
    ],
)
def test_the_version_gate(version: str, status: int, go: GoClient) -> None:
    answer = httpx2.get(f"{go.api_url}/api/v1/agent/alive", headers={"X-Bacalhau-Git-Version": version})
    assert answer.status_code == status
    if status == 403:
        assert set(answer.json()) == {"Error", "MinVersion", "ClientVersion", "ServerVersion"}


def test_a_submission_is_pretty_on_request(go: GoClient) -> None:
    answer = go.send("GET", "/agent/version", pretty="")
    assert answer.text.startswith("{\n")
    assert go_shapes.BUILD(json.loads(answer.text), "version") == []


# ------------------------------------------------------------------ the reader itself


@pytest.mark.row("1.11/go-types")
@pytest.mark.parametrize(
    ("shape", "value", "told"),
    [
        (go_shapes.whole, "1", "is no whole number"),
        (go_shapes.whole, 1.0, "is no whole number"),
        (go_shapes.whole, True, "is no whole number"),
        (go_shapes.text, 1, "is no text"),
        (go_shapes.time, "2026-01-02 03:04:05", "is no time"),
        (go_shapes.STRINGS, {"a": 1}, "is no text"),
        (go_shapes.page(go_shapes.JOB), {"NextToken": "", "Items": None}, "Items is missing"),
        (go_shapes.JOB, {"id": 1}, "ID is missing"),
        (go_shapes.JOB, {"tasks": [{"Name": "main", "Engine": None}]}, "Engine is missing"),
        (go_shapes.TASK, {"Network": {"Type": "Fishnet"}}, "'Fishnet' is none of"),
        (go_shapes.EXECUTION, {"ComputeState": {"StateType": "Completed"}}, "is no whole number"),
    ],
)
def test_the_strict_reader_sees_what_go_would_refuse(shape: go_shapes.Shape, value: Any, told: str) -> None:
    assert any(told in problem for problem in shape(value, "answer"))
