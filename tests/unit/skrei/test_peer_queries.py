"""What Bacalhau's command lines ask the API for, flag by flag: each is typed with `skrei`, and its request is read."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import FakeApi, job
from tests.support.served_api import serving

ID = job()["ID"]
JOBS, NODES = "/api/v1/orchestrator/jobs", "/api/v1/orchestrator/nodes"
EMPTY = {"NextToken": "", "Items": [], "Nodes": []}
Asks = Callable[..., tuple[str, str, dict[str, list[str]]]]


@pytest.fixture
def asks(skrei: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Asks]:
    """Types a command line; returns the method, path and query of its last request (to `path`)."""
    api = FakeApi({})
    found = job("Completed")
    document = {"Job": found, "History": EMPTY, "Executions": EMPTY}
    api.answers = {f"GET {JOBS}": EMPTY, f"GET {NODES}": EMPTY, f"GET {JOBS}/{ID}": document} | {
        f"GET {JOBS}/{ID}/{what}": EMPTY for what in ("executions", "history", "versions", "results")
    }
    api.answers[f"DELETE {JOBS}/{ID}"] = {"EvaluationID": "v"}
    api.answers[f"PUT {JOBS}/{ID}/rerun"] = {"EvaluationID": "v", "JobID": ID, "JobVersion": 2, "Warnings": None}
    with serving(api) as url:
        monkeypatch.setenv("SKREI_API_URL", url)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.chdir(tmp_path)

        def typed(line: str, path: str = "") -> tuple[str, str, dict[str, list[str]]]:
            api.requests.clear()
            assert skrei(*shlex.split(line)) in (0, 1), line
            request = next(each for each in api.requests[::-1] if not path or each.url.path == path)
            query = {name: request.url.params.get_list(name) for name in request.url.params}
            return request.method, request.url.path, query

        yield typed


@pytest.mark.parametrize(
    ("row", "line", "path", "query"),
    [
        ("7.2/list", "job list --limit 3 --next-token t --order-by modified_at", JOBS,
         {"limit": ["3"], "next_token": ["t"], "order_by": ["modified_at"], "reverse": ["true"]}),
        ("7.2/list", "job list --order-reversed", JOBS, {"order_by": ["created_at"], "reverse": ["false"]}),
        ("7.3/job-list", "job list --labels 'bacalhau_canary != true' --labels env=prod --namespace s", JOBS,
         {"labels": ["bacalhau_canary != true", "env=prod"], "namespace": ["s"]}),
        ("7.3/job-executions", f"job executions {ID} -v 2 --namespace s --limit 5 --order-by create_time",
         f"{JOBS}/{ID}/executions",
         {"job_version": ["2"], "namespace": ["s"], "limit": ["5"], "order_by": ["create_time"]}),
        ("7.3/job-executions", f"job executions {ID} --all-versions", f"{JOBS}/{ID}/executions",
         {"all_job_versions": ["true"]}),
        ("7.3/job-history", f"job history {ID} --event-type execution --execution-id e-1 -v 3 --limit 7 --namespace s",
         f"{JOBS}/{ID}/history", {"event_type": ["execution"], "execution_id": ["e-1"], "job_version": ["3"],
                                  "limit": ["7"], "namespace": ["s"]}),
        ("7.3/job-history", f"job history {ID} --all-versions --next-token t", f"{JOBS}/{ID}/history",
         {"event_type": ["all"], "all_job_versions": ["true"], "next_token": ["t"]}),
        ("7.3/job-versions", f"job versions {ID} --namespace s", f"{JOBS}/{ID}/versions", {"namespace": ["s"]}),
        ("7.3/job-describe", f"job describe {ID} -v 2 --namespace s", f"{JOBS}/{ID}",
         {"include": ["executions,history,endpoints"], "job_version": ["2"], "namespace": ["s"]}),
        ("7.3/job-get", f"job get {ID} --namespace s", f"{JOBS}/{ID}", {"namespace": ["s"]}),
        ("7.3/node-list", "node list --labels a=b --filter-approval approved --filter-status connected "
         "--order-by available_cpu --order-reversed", NODES,
         {"labels": ["a=b"], "filter-approval": ["approved"], "filter-status": ["connected"],
          "order_by": ["available_cpu"], "reverse": ["true"]}),
    ],
)  # fmt: skip
def test_a_flag_of_the_peer_asks_for_what_it_asks_there(
    row: str, line: str, path: str, query: dict[str, Any], asks: Asks
) -> None:
    method, asked, told = asks(line, path)
    assert (method, asked) == ("GET", path), row
    assert {name: told.get(name) for name in query} == query, row


@pytest.mark.row("7.3/job-stop")
def test_a_stop_names_the_namespace(asks: Asks) -> None:
    method, path, query = asks(f"job stop {ID} --quiet --namespace s")
    assert (method, path, query["namespace"]) == ("DELETE", f"{JOBS}/{ID}", ["s"])


@pytest.mark.row("7.3/agent")
def test_the_config_of_the_agent_is_printed_without_its_envelope(
    skrei: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {
        "GET /api/v1/agent/config": {"config": {"API": {"Host": "127.0.0.1", "Port": 1234}}},
        "GET /api/v1/agent/node": {"NodeID": "skrei", "NodeType": "Requester"},
    }
    with serving(FakeApi(answers)) as url:
        monkeypatch.setenv("SKREI_API_URL", url)
        printed = []
        for what in ("config", "node"):
            assert skrei("agent", what) == 0
            printed.append(capsys.readouterr().out)
    config, node = printed
    assert "API:\n  Host: 127.0.0.1\n  Port: 1234\n" in config
    assert "config:" not in config
    assert "NodeType: Requester\n" in node
