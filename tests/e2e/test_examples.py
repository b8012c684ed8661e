"""What a stranger copies: every example and every line of docs/SDK.md, as they stand, over one stack."""

import doctest
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.environment import ROOT
from skrei import Client
from tests.support.docker_daemon import DockerDaemon, busybox_root, running_docker, why_no_docker
from tests.support.live_stack import LiveStack, live_stack

pytestmark = pytest.mark.timeout(180)
SKREI = str(Path(sys.executable).with_name("skrei"))


@dataclass(frozen=True, slots=True)
class Example:
    """What becomes of a job file: what its program says, or, of one that does not end, that it runs until stopped."""

    says: str
    docker: bool = False
    endless: bool = False


EXAMPLES = {
    "wordcount/job.yaml": Example("the"),
    "wasm/job.yaml": Example("Hello, from!\nHello, wasm!\n"),
    "docker/job.yaml": Example("partition 2 of 3 says hello", docker=True),
    "env/job.yaml": Example("GREETING=Good morning"),
    "results/job.yaml": Example("Hello, reader!"),
    "constraints/job.yaml": Example("Hello, chosen node!"),
    "templates/job.yaml": Example("Ahoy, sailor!"),
    "updates/first.yaml": Example("Hello, first version!"),
    "updates/second.yaml": Example("Hello, second version!"),
}
"""By file; in the order of this table, so that the second version follows the first."""
COMMAND = re.compile(r"^#   (skrei (?:job )?run .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerDaemon | None]:
    """A daemon with the image that the examples name: no registry is asked for what is there."""
    if why_no_docker():
        yield None
        return
    with running_docker() as daemon:
        daemon.cli("import", "--change", "ENV PATH=/bin", "-", "busybox:1.37", data=busybox_root())
        yield daemon


@pytest.fixture(scope="module")
def stack(docker: DockerDaemon | None) -> Iterator[LiveStack]:
    allowed = ROOT / "examples/wordcount/texts"
    words = ["--allow-local", str(allowed), "--allow-local", f"{allowed}/**"]
    with live_stack(*words, env={"DOCKER_HOST": docker.url if docker else "unix:///nowhere/docker.sock"}) as running:
        yield running


@pytest.fixture
def here(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root of the checkout, with the stack as the API of whoever asks."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SKREI_API_URL", stack.state()["api_url"])
    for name in ("SKREI_API_KEY", "SKREI_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("here")
def test_the_sdk_s_page_does_what_it_says() -> None:
    found = doctest.testfile(
        str(ROOT / "docs/SDK.md"),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE,
        encoding="utf-8",
    )
    assert found.attempted > 20
    assert found.failed == 0
    assert os.environ["SKREI_API_URL"]


def job_files() -> set[str]:
    files = [*(ROOT / "examples").rglob("*.yaml"), *(ROOT / "examples").rglob("*.yml")]
    return {str(file.relative_to(ROOT / "examples")) for file in files if "ci" not in file.parts}


def test_every_job_file_is_run() -> None:
    assert job_files() == set(EXAMPLES)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_with_the_command_in_its_own_words(name: str, docker: DockerDaemon | None) -> None:
    example = EXAMPLES[name]
    if example.docker and docker is None:
        pytest.skip(why_no_docker())
    command = COMMAND.search((ROOT / "examples" / name).read_text())
    words = shlex.split(command[1]) if command else ["skrei", "job", "run", f"examples/{name}"]
    done = subprocess.run(
        [SKREI, *words[1:], "--id-only"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    with Client() as client:
        job = client.jobs.get(done.stdout.strip())
        job.wait(timeout=60)
        assert (job.state, job.exit_code()) == ("Completed", 0), job.message
        assert example.says in "".join(one.stdout for one in job.executions())
