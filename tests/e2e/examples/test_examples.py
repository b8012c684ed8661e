"""What a stranger copies first: every example, with the command in its own words."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from scripts.environment import ROOT
from skrei import Client, JobHandle
from tests.support.docker_daemon import DockerDaemon, why_no_docker

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
    "wordcount/books.yaml": Example("adding /parts/0/words.txt"),
    "wasm/job.yaml": Example("Hello, from!\nHello, wasm!\n"),
    "docker/job.yaml": Example("partition 2 of 3 says hello", docker=True),
    "env/job.yaml": Example("GREETING=Good morning"),
    "results/job.yaml": Example("Hello, reader!"),
    "constraints/job.yaml": Example("Hello, chosen node!"),
    "ops/job.yaml": Example("Hello, every node!"),
    "daemon/job.yaml": Example("Hello, node!", endless=True),
    "service/job.yaml": Example("", docker=True, endless=True),
    "ports/job.yaml": Example("inside 8080, outside ", docker=True, endless=True),
    "templates/job.yaml": Example("Ahoy, sailor!"),
    "multi-task/job.yaml": Example("Hello, reader!\nHello, reader!\nHello, sea!\nHello, everybody!\n"),
    "updates/first.yaml": Example("Hello, first version!"),
    "updates/second.yaml": Example("Hello, second version!"),
}
"""By file; in the order of this table, so that the second version follows the first."""
ELSEWHERE = {"s3/job.yaml"}
"""What wants a server beside the stack runs where one is: test_s3_stack."""
COMMAND = re.compile(r"^#   (skrei (?:job )?run .*)$", re.MULTILINE)


def job_files() -> set[str]:
    root = ROOT / "examples"
    files = [file.relative_to(root) for pattern in ("*.yaml", "*.yml") for file in root.rglob(pattern)]
    return {str(file) for file in files if file.parts[0] != "ci"}


def test_every_job_file_is_run() -> None:
    assert job_files() == set(EXAMPLES) | ELSEWHERE


def runs_until_it_is_stopped(job: JobHandle, says: str) -> None:
    if not says:  # it has a check instead
        job.wait_ready(timeout=60)
    for look in job.follow():
        if [one for one in look.executions if one.state == "Running"]:
            break
    said = ""
    for line in job.logs(follow=True) if says else ():
        said += line.text
        if says in said:
            break
    assert says in said
    assert job.refresh().state == "Running"
    for one in job.executions():
        for address in one.addresses.values():
            assert httpx2.get(f"http://{address}/").text.startswith("hello")
    assert job.stop().wait(timeout=30).state == "Stopped"


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
        if example.endless:
            runs_until_it_is_stopped(job, example.says)
            return
        job.wait(timeout=60)
        assert (job.state, job.exit_code()) == ("Completed", 0), job.message
        assert example.says in "".join(one.stdout for one in job.executions())
