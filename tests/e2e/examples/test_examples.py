"""What a stranger copies first: every example, with the command in its own words."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from scripts.environment import ROOT
from skrei import Client, JobHandle
from tests.support.docker_daemon import DockerDaemon, why_no_docker
from tests.support.duckdb_image import duckdb
from tests.support.installed_plugin import install_plugin
from tests.support.s3_server import S3Server, needs_s3_server

pytestmark = pytest.mark.timeout(180)
SKREI = str(Path(sys.executable).with_name("skrei"))


@dataclass(frozen=True, slots=True)
class Example:
    """What becomes of a job file: what its program says, or, of one that does not end, that it runs until stopped."""

    says: str
    docker: bool = False
    endless: bool = False
    path: str = "/"
    answers: str = "hello"
    """What begins the answer of a service to a GET of `path`."""
    code: int = 0


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
    "logs/job.yaml": Example("1 parts\n1000 requests, 2 lines that are none"),
    "kmers/job.yaml": Example("each base was read about 1"),
    "molecules/job.yaml": Example("16 simulations of 108 molecules"),
    "risk/job.yaml": Example("1000000 futures of 10 days, in 8 parts"),
    "thumbnails/job.yaml": Example("sea-2.png: 480 x 320, now 96 x 64"),
    "onnx/job.yaml": Example("model.onnx has 7577 bytes"),
    "onnx/runtime.yaml": Example("with ONNX Runtime 1."),
    "federated/job.yaml": Example("the average of 1 models, of 500 rows"),
    "fleet/job.yaml": Example("1 of 4 packages are to be updated", code=1),
    "sensors/job.yaml": Example("over 4.", endless=True),
    "serving/job.yaml": Example(
        "",
        docker=True,
        endless=True,
        path="/cgi-bin/predict?1,-1,1,0",
        answers='{"chance": 1.000, "model": "rows 3000"}',
    ),
    "templates/job.yaml": Example("Ahoy, sailor!"),
    "multi-task/job.yaml": Example("Hello, reader!\nHello, reader!\nHello, sea!\nHello, everybody!\n"),
    "updates/first.yaml": Example("Hello, first version!"),
    "updates/second.yaml": Example("Hello, second version!"),
}
"""By file; in the order of this table, so that the second version follows the first."""
ELSEWHERE = {"s3/job.yaml", "s3/merged.yaml", "s3/results.yaml", "regions/job.yaml"}
"""What wants a server beside the stack runs where one is: test_s3_stack, and test_compose for regions."""
SHOP, ETL = "etl/shop.yaml", "etl/job.yaml"
CHECKPOINT, GPU, MATRIX = "checkpoint/job.yaml", "gpu/job.yaml", "gpu/matrix.yaml"
COMMAND = re.compile(r"^#   (skrei (?:job )?run .*)$", re.MULTILINE)


def job_files() -> set[str]:
    root = ROOT / "examples"
    files = [file.relative_to(root) for pattern in ("*.yaml", "*.yml") for file in root.rglob(pattern)]
    return {str(file) for file in files if file.parts[0] != "ci"}


def test_every_job_file_is_run() -> None:
    assert job_files() == set(EXAMPLES) | ELSEWHERE | {SHOP, ETL, CHECKPOINT, GPU, MATRIX}


def test_the_index_has_every_example() -> None:
    index = (ROOT / "examples/README.md").read_text("utf-8")
    assert {name for name in job_files() if f"({name})" not in index} == set()


def heard(job: JobHandle, says: str) -> str:
    """Hear what the job says until it has said this."""
    said = ""
    for line in job.logs(follow=True):
        said += line.text
        if says in said:
            return said
    raise AssertionError(said)


def runs_until_it_is_stopped(job: JobHandle, example: Example) -> None:
    says = example.says
    if not says:  # it has a check instead
        job.wait_ready(timeout=60)
    for look in job.follow():
        if [one for one in look.executions if one.state == "Running"]:
            break
    if says:
        heard(job, says)
    assert job.refresh().state == "Running"
    for one in job.executions():
        for address in one.addresses.values():
            assert httpx2.get(f"http://{address}{example.path}").text.startswith(example.answers)
    assert job.stop().wait(timeout=30).state == "Stopped"


def submitted(name: str, *more: str) -> str:
    """Run an example with the command in its own words, and `more`; return the job's id."""
    command = COMMAND.search((ROOT / "examples" / name).read_text())
    words = shlex.split(command[1]) if command else ["skrei", "job", "run", f"examples/{name}"]
    done = subprocess.run(
        [SKREI, *words[1:], *more, "--id-only"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_with_the_command_in_its_own_words(name: str, docker: DockerDaemon | None) -> None:
    example = EXAMPLES[name]
    if example.docker and docker is None:
        pytest.skip(why_no_docker())
    with Client() as client:
        job = client.jobs.get(submitted(name))
        if example.endless:
            runs_until_it_is_stopped(job, example)
            return
        job.wait(timeout=60)
        assert (job.state, job.exit_code()) == ("Completed", example.code), job.message
        assert example.says in "".join(one.stdout for one in job.executions())


@pytest.mark.usefixtures("here")
def test_a_training_that_is_stopped_goes_on_when_it_is_run_again() -> None:
    with Client() as client:
        job = client.jobs.get(submitted(CHECKPOINT))
        assert heard(job, "step 10000:").startswith("begins from nothing")
        assert job.stop().wait(timeout=30).state == "Stopped"
        job.rerun()
        said = heard(job, "0: error")
        assert re.match(r"goes on after step \d+00\n", said), said
        assert job.stop().wait(timeout=30).state == "Stopped"


SAID_IN_SQL = "SELECT sum(cents) / 100 FROM orders WHERE state = 'paid' AND ordered_at >= TIMESTAMP '2026-03-09'"


@pytest.mark.usefixtures("here")
def test_what_a_database_of_the_node_says_is_summed_up_and_put_into_a_bucket(
    docker: DockerDaemon | None, objects: S3Server | None, shop: Path
) -> None:
    if docker is None:
        pytest.skip(why_no_docker())
    if objects is None:
        needs_s3_server()
        return
    asyncio.run(objects.make_bucket("sales"))
    with Client() as client:
        filled = client.jobs.get(submitted(SHOP)).wait(timeout=60)
        assert filled.exit_code() == 0, "".join(one.stderr for one in filled.executions())
        job = client.jobs.get(submitted(ETL, "-V", f"endpoint={objects.url}")).wait(timeout=60)
        said = {one.task: one.stdout + one.stderr for one in job.executions()}
        assert (job.state, job.exit_code()) == ("Completed", 0), job.message + str(said)
    assert said["extract"] == "75360 orders extracted\n"
    told = subprocess.run(
        [duckdb(), "-readonly", "-list", "-noheader", shop / "shop.duckdb", SAID_IN_SQL],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert said["transform"] == f"7 days of 4 countries, {float(told):.2f} in all\n"
    loaded = objects.folder / "data/sales/sales" / job.id / "sales"
    assert sorted(path.name for path in loaded.iterdir()) == [
        "country=Japan", "country=Norway", "country=Peru", "country=Portugal", "days.csv",
    ]  # fmt: skip
    rows = [line.split(",") for line in (loaded / "days.csv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == [f"2026-03-{day:02}" for day in range(9, 16)]
    assert sum(float(amount) for row in rows[1:] for amount in row[1:]) == pytest.approx(float(told))


@pytest.mark.usefixtures("here")
def test_a_gpu_is_named_or_its_lack_is(docker: DockerDaemon | None) -> None:
    if docker is None:
        pytest.skip(why_no_docker())
    with Client() as client:
        job = client.jobs.get(submitted(GPU)).wait(timeout=120)
        if "gpu" in job.message.lower() and job.state == "Failed":
            pytest.skip(f"no node with a GPU, and the job says so: {job.message.splitlines()[-1]}")
        assert (job.state, job.exit_code()) == ("Completed", 0), job.message
        assert "driver_version" in "".join(one.stdout for one in job.executions())


@pytest.mark.usefixtures("here")
def test_a_script_that_wants_a_gpu_is_told_that_there_is_none() -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU: the next test looks")
    with Client() as client:
        job = client.jobs.get(submitted(MATRIX)).wait(timeout=60)
        assert job.state == "Failed"
        assert "GPU" in job.message


def test_two_scripts_have_the_gpu_of_this_machine_one_after_the_other(tmp_path: Path) -> None:
    tried = subprocess.run(
        [sys.executable, ROOT / "examples/gpu/try_it.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        env=os.environ | {"PYTHONPATH": str(install_plugin("python", tmp_path))},
    )
    if tried.returncode == 77:
        pytest.skip(tried.stdout.strip())
    assert tried.returncode == 0, tried.stdout + tried.stderr
