"""A real stack whose machine changes: what waits for an engine or a path starts when it comes, without a restart."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import visitor
from tests.support.live_stack import LiveStack, live_stack

pytestmark = pytest.mark.timeout(120)
WITHIN_SECONDS = 20.0  # a machine that builds something else beside may take long


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("machine")
    env = visitor.install(folder / "packages")
    tools = folder / "bin"
    tools.mkdir()
    return env | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SKREI_ALLOW_LOCAL": f"{folder}/late/**",
        "SKREI_PROBE_SECONDS": "1",
    }


@pytest.fixture(scope="module")
def stack(machine: dict[str, str]) -> Iterator[LiveStack]:
    with live_stack(env=machine) as made:
        yield made


def job(*, gpus: int = 0, path: str = "", data: str = "") -> dict[str, Any]:
    task: dict[str, Any] = {
        "Name": "main",
        "Engine": {"Type": "visitor", "Params": {}},
        "Resources": {"CPU": "100m", "Memory": "10Mb", "GPU": str(gpus)},
        "Timeouts": {"QueueTimeout": 60},
    }
    if path:
        task["InputSources"] = [{"Source": {"Type": "local", "Params": {"SourcePath": path}}, "Target": "/in"}]
    if data:
        task["InputSources"] = [{"Source": {"Type": "data", "Params": {"Name": data}}, "Target": "/in"}]
    return {"Job": {"Type": "batch", "Count": 1, "Tasks": [task]}}


def node(stack: LiveStack) -> dict[str, Any]:
    (listed,) = stack.call("GET", "/nodes")["Nodes"]
    found: dict[str, Any] = stack.call("GET", f"/nodes/{listed['Info']['NodeID']}")["Node"]
    return found


def test_a_job_starts_when_the_engine_path_data_and_device_that_it_waits_for_come(
    stack: LiveStack, machine: dict[str, str]
) -> None:
    late = Path(machine["SKREI_ALLOW_LOCAL"].removesuffix("/**"))
    jobs = (job(), job(path=f"{late}"), job(gpus=1), job(data="books"))
    plain, reading, counting, naming = (stack.submit(one) for one in jobs)
    assert {stack.state_of(one) for one in (plain, reading, counting, naming)} <= {"Pending", "Queued"}

    visitor.comes(machine)
    assert stack.wait_for([plain], WITHIN_SECONDS) == {plain: "Completed"}
    assert {stack.state_of(one) for one in (reading, counting, naming)} == {"Queued"}

    late.mkdir()
    assert stack.wait_for([reading], WITHIN_SECONDS) == {reading: "Completed"}

    (late / "cod.txt").write_text("the cod")
    say = [sys.executable, "-m", "skrei.cli.main", "node", "data", "--data-dir", str(stack.keys.parent)]
    subprocess.run([*say[:5], "add", "books", str(late), *say[5:]], check=True, capture_output=True)
    assert stack.wait_for([naming], WITHIN_SECONDS) == {naming: "Completed"}
    (execution,) = stack.call("GET", f"/jobs/{naming}/executions")["Items"]
    assert execution["DataRead"] == {"Local": 7, "Moved": 0, "Cached": 0, "CacheHits": 0, "AtLeast": False}
    (books,) = node(stack)["Info"]["ComputeNodeInfo"]["DataSets"]
    assert books == {"Name": "books", "ReadWrite": False, "Size": 7, "AtLeast": False}

    tool = Path(machine["PATH"].partition(":")[0]) / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aaaa, 00000000:00:1E.0, 15360, Tesla T4'\n")
    tool.chmod(0o755)
    assert stack.wait_for([counting], WITHIN_SECONDS) == {counting: "Completed"}
    (execution,) = stack.call("GET", f"/jobs/{counting}/executions")["Items"]
    assert execution["RunOutput"]["Stdout"] == "NVIDIA 0 GPU-aaaa\n"

    visitor.goes(machine)
    stack.wait_until(
        lambda: any("visitor is gone" in event["Message"] for event in node(stack)["Events"]),
        WITHIN_SECONDS,
        "the node tells that its engine is gone",
    )
    told = [event["Message"] for event in reversed(node(stack)["Events"])]
    assert told[0].startswith("joined with engines")
    assert told[1:] == [
        "engine visitor is here (0.7)",
        f"path {machine['SKREI_ALLOW_LOCAL'].removesuffix('/**')} is here",
        "data set books is here",
        "GPU 0 is here (Tesla T4)",
        "engine visitor is gone: sign is not there",
    ]
    missing = {each["Name"]: each["Reason"] for each in node(stack)["Info"]["Plugins"] if not each["Available"]}
    assert missing["visitor"] == "sign is not there"
