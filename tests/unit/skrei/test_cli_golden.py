"""What commands print, character by character: `GOLDEN=write` writes the files of tests/golden anew, to be looked at.

Ages, and the seconds that something took, are written as `N`.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.fake_api import FakeApi, event, execution, job
from tests.support.served_api import serving
from tests.support.terminal import Terminal

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
JOBS = "/api/v1/orchestrator/jobs"
ID = str(job()["ID"])
NODE = "n-0a1b2c3d-0000-4000-8000-000000000000"
SKREI = str(Path(sys.executable).with_name("skrei"))

FAILED = {"Stdout": "half\n", "stderr": "\x1b[31mno such file\x1b[0m\n", "ExitCode": 3}
RECORDED = {"JobVersion": 2, "Revision": 7, "ModifyTime": 1755600003000000000}
EXECUTIONS = [
    execution(
        1,
        0,
        9,
        **RECORDED,
        NodeID=NODE,
        RunOutput=FAILED,
        State="Completed",
        PublishedResult={"Type": "skrei", "Params": {}},
    ),
    execution(2, 1, 6, **RECORDED, NodeID=NODE, State="Running"),
]
HISTORY = [
    event(1, "Job submitted") | {"JobVersion": 2},
    event(2, "Requested execution on n-0a1b2c3d", EXECUTIONS[0]["ID"], NodeID=NODE),
    event(3, "the image has no such program", EXECUTIONS[0]["ID"], IsError="true"),
]
SERVICE = job(
    "Running",
    Name="web",
    Type="service",
    Count=2,
    Version=3,
    Tasks=[{"Name": "web", "Engine": {"Type": "docker"}}, {"Name": "cache", "Count": 1, "Engine": {"Type": "docker"}}],
    TaskStates=[
        {"Name": "web", "State": "Running", "Count": 2, "Completed": 0, "Running": 2, "DependsOn": []},
        {"Name": "cache", "State": "Running", "Count": 1, "Completed": 0, "Running": 1, "DependsOn": []},
    ],
)
REPLICAS = [
    execution(1, 0, 6, NodeID=NODE, State="Running", Task="web", Ready=True),
    execution(2, 1, 6, NodeID=NODE, State="Running", Task="web", Ready=False),
    execution(3, 0, 6, NodeID=NODE, State="Running", Task="cache", Ready=True),
]
ENDPOINTS = [
    {"Address": f"10.0.0.7:{port}", "Host": "10.0.0.7", "Port": port, "Name": name, "Task": task, "PartitionIndex": 0,
     "ExecutionID": EXECUTIONS[0]["ID"], "NodeID": NODE, "JobVersion": version}
    for port, name, task, version in ((20000, "http", "web", 3), (20001, "redis", "cache", 2))
]  # fmt: skip


def result(number: int, size: int, **params: Any) -> dict[str, Any]:
    made_by = str(execution(number)["ID"])
    told = {"URL": f"http://127.0.0.1:9/results/{made_by}.tar.gz?token=t", "ExecutionID": made_by, "Size": size}
    more = {"PartitionIndex": number, "Digest": "sha256:0", "KeptUntil": "2126-09-02T10:00:00Z", "NodeID": NODE}
    return {"Type": "urlDownload", "Params": told | more | params}


COLLECTABLE = {
    "DryRun": True,
    "Complete": True,
    "Items": [
        {"Kind": "results", "Count": 12, "Bytes": 61_000_000, "Oldest": "2026-09-02T10:00:00Z"},
        {"Kind": "logs", "Count": 3, "Bytes": 6_200, "Oldest": "2026-09-03T10:00:00Z"},
        {"Kind": "jobs", "Count": 0, "Bytes": 0},
    ],
}
LISTED = [
    job("Completed", Name="words", State={"StateType": "Completed", "Details": {"ExitCode": "3"}}),
    job("Queued", Name=ID, Tasks=[{"Name": "main", "Engine": {"Type": "docker"}, "Publisher": {"Type": ""}}]),
    job("Running", Name='a, "b"', Type="service", Count=2),
]
NODES = [
    {
        "Info": {
            "NodeID": NODE,
            "NodeType": "Compute",
            "Labels": {"region": "eu", "name": "box"},
            "ComputeNodeInfo": {
                "ExecutionEngines": ["docker", "wasm"],
                "StorageSources": ["inline", "local"],
                "Publishers": ["skrei"],
                "MaxCapacity": {"CPU": 4, "Memory": 8 * 2**30, "Disk": 100 * 2**30},
                "AvailableCapacity": {"CPU": 3.5, "Memory": 6 * 2**30, "Disk": 90 * 2**30},
                "RunningExecutions": 1,
            },
            "BacalhauVersion": {"GitVersion": "v0.5.0", "GOARCH": "amd64", "GOOS": "linux"},
        },
        "Membership": "APPROVED",
        "Connection": "CONNECTED",
    }
]


NONE: dict[str, Any] = {"NextToken": "", "Items": []}


CHANGED = "j-changed"


def answers() -> dict[str, Any]:
    listed = {"NextToken": "", "Items": EXECUTIONS}
    told = {"NextToken": "", "Items": HISTORY}
    running = job("Running", count=2, State={"StateType": "Running"})
    return {
        f"GET {JOBS}": {"NextToken": "t0k", "Items": LISTED},
        f"GET {JOBS}/{ID}": {"Job": running, "Executions": listed, "History": told, "Endpoints": NONE},
        f"GET {JOBS}/{ID}/results": {
            "NextToken": "",
            "Items": [result(0, 900), result(1, 2**21, KeptUntil="2026-01-02T10:00:00Z")],
        },
        f"GET {JOBS}/web": {
            "Job": SERVICE,
            "Executions": {"NextToken": "", "Items": REPLICAS},
            "History": NONE,
            "Endpoints": {"NextToken": "", "Items": ENDPOINTS},
        },
        f"GET {JOBS}/everywhere": {"Job": job("Completed", ID="j-ops", Type="ops", Count=0)},
        f"GET {JOBS}/j-ops/results": {
            "NextToken": "",
            "Items": [
                result(0, 900, NodeName="box"),
                result(1, 901, NodeID="n-2", KeptUntil="", SourceSpec={"Bucket": "team", "Key": "tides/1.tar.gz"}),
            ],
        },
        f"GET {JOBS}/{ID}/executions": listed,
        f"GET {JOBS}/{ID}/history": told,
        f"GET {JOBS}/{CHANGED}": lambda asked: httpx2.Response(
            200,
            json={
                "Job": job(
                    ID=CHANGED, **({"Version": 2, "Count": 3} if not asked.url.params.get("job_version") else {})
                )
            },
        ),
        f"GET {JOBS}/{ID}/versions": {"NextToken": "", "Items": [job(Version=1), job(Version=2, Count=3)]},
        "GET /api/v1/orchestrator/nodes": {"NextToken": "", "Nodes": NODES},
        "POST /api/v1/orchestrator/gc": COLLECTABLE,
        "GET /api/v1/agent/version": {"GitVersion": "v0.5.0", "BuildDate": "2026-08-19T10:00:00Z", "GitCommit": "abc"},
        "GET /api/v1/agent/alive": {"Status": "OK"},
    }


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(FakeApi(answers())) as url:
        yield url


@pytest.fixture(autouse=True)
def environment(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "SKREI_API_URL": address,
        "XDG_STATE_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "TZ": "UTC",
        "COLUMNS": "100",
        "LINES": "30",
    }.items():
        monkeypatch.setenv(name, value)
    time.tzset()


def settled(text: str, address: str) -> str:
    text = re.sub(r"\b\d+[smhd] ago *", "N ago  ", text.replace(address, "API"))
    text = re.sub(r"CREATED {2,}", "CREATED  ", text)
    text = re.sub(r"(?<=  )\d+ s\b", "N s", text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def check(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8"), f"{file} says something else; GOLDEN=write writes it anew"


@pytest.mark.row(
    "7.2/tabular",
    "1.1/version-notify",
    "7.3/agent-version",
    "7.3/columns",
    "7.4/describe",
    "3.5/printed",
    "7.3/job-executions",
    "7.3/job-history",
    "7.3/job-versions",
    "7.2/object",
)
@pytest.mark.row("7.3/job-list")
@pytest.mark.row("7.3/job-describe")
@pytest.mark.row("7.3/node-list")
@pytest.mark.row("7.3/agent")
@pytest.mark.row("7.3/version")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("list.txt", "list"),
        ("list-wide.txt", "list --wide --hide-header"),
        ("list.csv", "job list --output csv"),
        ("list.json", "job list -o json"),
        ("list-one-line.json", "job list -o json --no-pretty"),
        ("list.yaml", "job list -o yaml"),
        ("describe.txt", f"describe {ID}"),
        ("describe-service.txt", "describe web"),
        ("results.txt", f"job results {ID}"),
        ("results-by-node.txt", "job results everywhere"),
        ("results-by-node.csv", "job results everywhere -o csv"),
        ("results-of-one-node.csv", "job results everywhere --node box -o csv"),
        ("executions.txt", f"job executions {ID}"),
        ("executions.csv", f"job executions {ID} -o csv"),
        ("history.csv", f"job history {ID} -o csv"),
        ("history.txt", f"job history {ID}"),
        ("versions.txt", f"job versions {ID}"),
        ("diff.txt", f"job diff {CHANGED}"),
        ("nodes.txt", "node list"),
        ("gc.txt", "admin gc --dry-run"),
        ("nodes-features.txt", "node list --show version,features"),
        ("version.txt", "version"),
        ("version.json", "version -o json"),
        ("agent-version.txt", "agent version"),
        ("agent-alive.yaml", "agent alive"),
        ("profiles.csv", "profile list -o csv"),
        ("help.txt", "--help"),
        ("help-job.txt", "job"),
        ("help-docker-run.txt", "docker run --help"),
        ("help-serve.txt", "serve --help"),
    ],
)
def test_what_is_printed_is_as_it_was(
    name: str, words: str, address: str, skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (skrei(*words.split()) == 0) == (words != "job")
    check(name, settled(capsys.readouterr().out, address))


def looks() -> dict[str, Any]:
    """A job that is placed, pulls its image, runs, and ends: what each look at it finds."""
    first = str(execution(1)["ID"])

    def at(state: int, **more: Any) -> dict[str, Any]:
        return {"NextToken": "", "Items": [execution(1, 0, state, NodeID=NODE, **more)]}

    pulling = {"ComputeState": {"StateType": 5, "Message": "pulling busybox: 10.0 of 40.0 MB"}}
    told = [event(1, "Job submitted"), event(2, "Requested execution on n-0a1b2c3d", first)]
    ends = [*told, event(3, "Running", first), event(4, "Completed successfully", first)]
    output = {"Stdout": "hello\n", "stderr": "", "ExitCode": 0}
    return {
        f"PUT {JOBS}": {"JobID": ID, "EvaluationID": "ev", "Warnings": None},
        f"GET {JOBS}/{ID}": [{"Job": job("Pending")}, {"Job": job()}, {"Job": job()}, {"Job": job("Completed")}],
        f"GET {JOBS}/{ID}/history": [
            {"NextToken": "t", "Items": told[:1]},
            {"NextToken": "t", "Items": told},
            {"NextToken": "t", "Items": told},
            {"NextToken": "", "Items": ends},
        ],
        f"GET {JOBS}/{ID}/executions": [
            {"NextToken": "", "Items": []},
            at(5, **pulling),
            at(6),
            at(9, RunOutput=output),
        ],
    }


@pytest.mark.row("7.4/poll")
@pytest.mark.parametrize(("name", "term", "more"), [("progress.tty", "xterm", {}), ("progress-plain.tty", "dumb", {}),
                                                    ("progress-no-color.tty", "xterm", {"NO_COLOR": "1"})])  # fmt: skip
def test_progress_on_a_terminal_is_a_line_for_each_stage(
    name: str, term: str, more: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "job.yml"
    file.write_text(
        "Name: hello\nType: batch\nTasks: [{Name: main, Engine: {Type: docker, Params: {Image: busybox}}}]\n"
    )
    with serving(FakeApi(looks())) as url:
        environment = os.environ | {"SKREI_API_URL": url, "TERM": term} | more
        with Terminal([SKREI, "job", "run", str(file)], environment) as terminal:
            assert terminal.end() == 0
            shown = terminal.text
    check(name, settled(shown, url))


def test_the_golden_files_are_those_that_are_checked() -> None:
    source = Path(__file__).read_text("utf-8")
    assert {file.name for file in GOLDEN.iterdir()} == set(re.findall(r'"([\w-]+\.(?:txt|csv|json|yaml|tty))"', source))
