"""Bacalhau's own command line, as it is published, over a real stack; skipped unless `make bacalhau` has built it.

What it sends and how it reads is checked without it too: `test_go_client`.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.bacalhau import COMMAND, VERSION
from tests.support.docker_daemon import BUSYBOX, why_no_docker
from tests.support.live_stack import LiveStack, sleeper_job

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not COMMAND.exists(), reason=f"not built: bacalhau {VERSION} (make bacalhau)"),
]
SECONDS = 60
ROOT = Path(__file__).resolve().parents[2]
COUNT_WORDS = ROOT / "examples/wordcount/wordcount.wasm"
STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
JOB_ID = re.compile(r"Job ID: (j-[0-9a-f-]{36})")
SHORT_ID = re.compile(r"\bj-[0-9a-f]{8}")
"""How a list names a job."""


class Told(str):
    """What the command printed on both streams, without colours."""

    code: int

    @property
    def job_id(self) -> str:
        """The id in the first line of a run."""
        found = JOB_ID.search(self)
        assert found, self
        return found[1]


Bacalhau = Callable[..., Told]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bacalhau")


@pytest.fixture(scope="module")
def bacalhau(stack: LiveStack, folder: Path) -> Bacalhau:
    """Run `bacalhau WORDS…`; fails where it ends with another code than `code`."""
    home = folder / "home"
    home.mkdir()
    url = stack.state()["api_url"]
    words = os.environ | {"HOME": str(home), "BACALHAU_DIR": str(home / "repo"), "BACALHAU_API_HOST": url}
    words |= {"BACALHAU_UPDATECONFIG_INTERVAL": "0", "BACALHAU_DISABLEANALYTICS": "true"}

    def run(*asked: str, code: int = 0) -> Told:
        done = subprocess.run(
            [COMMAND, *asked], cwd=folder, env=words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        told = Told(STYLE.sub("", done.stdout))
        assert done.returncode == code, (asked, told)
        return told

    return run


def a_file(folder: Path, **more: Any) -> str:
    job = sleeper_job(0)["Job"] | more
    path = folder / "job.yaml"
    path.write_text(json.dumps(job))  # which is YAML too
    return str(path)


@pytest.fixture(scope="module")
def counted(bacalhau: Bacalhau) -> str:
    """A job of a module that the command carries, whose results it can fetch."""
    told = bacalhau("wasm", "run", "--publisher", "local", "-o", "counts:/counts", str(COUNT_WORDS), "/", "/counts")
    assert "Completed successfully" in told
    assert "bacalhau job describe" in told
    assert "bacalhau job get" in told
    return told.job_id


@pytest.mark.row("1.9/go-command", "1.1/version-headers", "1.2/version", "1.2/config")
def test_it_knows_whom_it_speaks_to(bacalhau: Bacalhau) -> None:
    assert bacalhau("agent", "alive").strip().endswith("Status: OK")
    assert "Bacalhau v0." in bacalhau("agent", "version")
    assert "NodeType: Requester" in bacalhau("agent", "node")
    assert "ClientKey" in bacalhau("agent", "config")
    assert "Server does not support SSO login" in bacalhau("auth", "info")
    (node,) = json.loads(bacalhau("node", "list", "--output", "json"))
    assert (node["Connection"], node["Membership"]) == ("CONNECTED", "APPROVED")
    assert "wasm" in bacalhau("node", "describe", node["Info"]["NodeID"][:10])
    assert "already" in bacalhau("node", "approve", node["Info"]["NodeID"], code=1)


@pytest.mark.row("1.9/go-command", "1.11/progress-printer", "1.3/cli-sequence", "7.3/wasm-run")
def test_a_run_is_told_to_its_end_and_read_in_every_way(bacalhau: Bacalhau, counted: str, folder: Path) -> None:
    described = bacalhau("job", "describe", counted[:10])
    assert re.search(r"State\s+= Completed", described)
    assert "Standard Output" in described
    (execution,) = json.loads(bacalhau("job", "executions", counted, "--output", "json"))
    assert (execution["ComputeState"]["StateType"], execution["DesiredState"]["StateType"]) == (9, 2)
    told = [item["Event"]["Message"] for item in json.loads(bacalhau("job", "history", counted, "--output", "json"))]
    assert told[0] == "Job submitted"
    assert told[-1] == "Completed"
    assert bacalhau("job", "logs", counted), "what it said is there after its end"
    got = folder / "got"
    got.mkdir()
    bacalhau("job", "get", counted, "--output-dir", str(got))
    assert {"stdout", "stderr", "exitCode", "counts"} <= {path.name for path in got.iterdir()}
    assert "Job is already in a terminal state." in bacalhau("job", "stop", counted, code=1)


@pytest.mark.row("1.9/go-command", "7.3/job-run", "7.3/job-rerun", "7.3/no-diff")
def test_a_file_becomes_a_job_its_next_version_and_runs_again(bacalhau: Bacalhau, folder: Path) -> None:
    path = a_file(folder, Name="go-{{.who}}", Labels={"from": "go"})
    first = bacalhau("job", "run", path, "-V", "who=file").job_id
    refused = bacalhau("job", "run", path, "-V", "who=file", code=1)
    assert "no changes detected for new job spec" in refused
    assert "Hint:  Use the --force flag" in refused
    assert "No diff detected." in bacalhau("job", "run", path, "-V", "who=file", "--dry-run")
    path = a_file(folder, Name="go-{{.who}}", Labels={"from": "go", "now": "other"})
    assert "other" in bacalhau("job", "run", path, "-V", "who=file", "--dry-run")
    assert bacalhau("job", "run", path, "-V", "who=file").job_id == first
    assert bacalhau("job", "rerun", "go-file").job_id == first
    versions = json.loads(bacalhau("job", "versions", "go-file", "--output", "json"))
    assert [each["Version"] for each in versions] == [1, 2, 3]
    listed = bacalhau("job", "list", "--labels", "now=other", "--output", "csv")
    assert first in listed


@pytest.mark.row("1.9/go-command", "1.5/jobs-token")
def test_its_lists_come_in_pages(bacalhau: Bacalhau, counted: str, stack: LiveStack) -> None:
    stack.submit(sleeper_job(0))  # a second one, whichever tests were before this
    first = bacalhau("job", "list", "--limit", "1", "--order-by", "created_at")
    found = re.search(r"--next-token (\S+)", first)
    assert found, first
    second = bacalhau("job", "list", "--limit", "1", "--order-by", "created_at", "--next-token", found[1])
    on_first, on_second = (set(SHORT_ID.findall(told.partition("--next-token")[0])) for told in (first, second))
    assert (len(on_first), len(on_second), len(on_first | on_second)) == (1, 1, 2), (first, second)


@pytest.mark.row("1.9/go-command", "7.3/job-stop", "7.4/endless", "1.4/stop-reason")
def test_what_goes_on_is_left_running_and_stopped(bacalhau: Bacalhau, folder: Path, stack: LiveStack) -> None:
    job = sleeper_job(600)["Job"] | {"Name": "go-serves", "Type": "service"}
    (folder / "serves.yaml").write_text(json.dumps(job))
    job_id = bacalhau("job", "run", "serves.yaml").job_id
    assert "Job stop successfully submitted with evaluation ID:" in bacalhau("job", "stop", "go-serves")
    stack.wait_until(lambda: stack.state_of(job_id) == "Stopped", SECONDS, "it is stopped")
    assert "Stopped" in bacalhau("job", "describe", job_id)


@pytest.mark.row("1.9/go-command", "7.4/failed")
def test_a_job_that_fails_and_one_that_is_none_are_told(bacalhau: Bacalhau) -> None:
    told = bacalhau("wasm", "run", "--entry-point", "no_such", str(COUNT_WORDS))
    assert "unable to find the entrypoint 'no_such'" in told.replace("\n", " ")
    assert "Error: job failed" in told
    assert "job not found: j-none" in bacalhau("job", "describe", "j-none", code=1)


@pytest.mark.row("1.9/go-command", "7.3/docker-run")
@pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker())
def test_containers_are_run_and_followed(bacalhau: Bacalhau) -> None:
    script = 'echo part $BACALHAU_PARTITION_INDEX; echo "$A" >&2'
    asked = ("-e", "A=b", "--cpu", "0.1", "--memory", "20mb", "--network", "none", "--constraints", "os_type=linux")
    told = bacalhau("docker", "run", "-f", *asked, BUSYBOX, "--", "/bin/sh", "-c", script)
    assert "part 0" in told
    assert "b" in told.splitlines()
    assert bacalhau("docker", "run", "--id-only", BUSYBOX, "/bin/true").startswith("j-")
