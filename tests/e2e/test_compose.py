"""A cluster of containers as the README tells it: images, up, the first job, scale, kills, an upgrade, down."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.environment import ROOT
from scripts.images import IMAGES
from tests.support import base_images, compose
from tests.support.compose import Composed
from tests.support.docker_daemon import DockerDaemon, busybox_root
from tests.support.servers import free_port

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),  # the images may have to be made first: `make images` does it before
    pytest.mark.skipif(bool(compose.why_not()), reason=compose.why_not() or "can run"),
]
MOST_OVER_PYTHON = 150_000_000
FIRST_JOB_SECONDS = 120.0
LOOK_INSIDE = """
import asyncio, importlib.util, json, os, shutil, ssl, sys
from importlib.metadata import distributions

def named(name, version):
    return f"{name.lower().replace('_', '-')} {version}"

parts = json.load(open("/opt/skrei/sbom.cdx.json"))["components"]
listed = {named(each["name"], each["version"]) for each in parts if each["purl"].startswith("pkg:pypi/")}
own = [one for one in distributions() if one.locate_file("").is_relative_to("/opt/skrei")]
held = {named(one.metadata["Name"], one.version) for one in own}
sources = [each.__spec__ for each in list(sys.modules.values()) if getattr(each, "__spec__", None)]
looked_for = ("sqlalchemy", "asyncpg", "fastapi", "starlette", "hatchling", "setuptools")
try:
    open("/opt/skrei/x", "w")
    writable = True
except OSError:
    writable = False
print(json.dumps({
    "uid": os.getuid(),
    "writable": writable,
    "differs": sorted(held ^ listed),
    "parts": len(parts),
    "held": len(held),
    "compilers": [each for each in ("cc", "gcc", "c++", "make", "ld") if shutil.which(each)],
    "to compile": [each.name for each in sources if each.cached and not os.path.exists(each.cached)],
    "modules": [each for each in looked_for if importlib.util.find_spec(each)],
}))
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[DockerDaemon]:
    with compose.docker_with_images() as daemon:
        daemon.cli("import", "--change", "ENV PATH=/bin", "-", "ubuntu:latest", data=busybox_root())
        yield daemon


@pytest.fixture(scope="module")
def cluster(docker: DockerDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """A cluster that is up. Its tests run in the order of this file, as a user would go on."""
    made = Composed(docker, "skrei-e2e", tmp_path_factory.mktemp("home"))
    made.settings = {"SKREI_API_PORT": str(free_port()), "SKREI_PUBLISHER_PORT": str(free_port())}
    try:
        yield made
    finally:
        made.end()


def readme() -> list[str]:
    """The commands of the section."""
    section = re.search(r"^## A cluster of containers$.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert section is not None
    return [line.split("  #")[0].strip() for line in section[1].splitlines()]


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_holds_what_its_list_says_and_nothing_that_compiles(docker: DockerDaemon, target: str) -> None:
    run = ("run", "--rm", "--read-only", "--network", "none", "--entrypoint", "python", f"skrei/{target}:local")
    inside = json.loads(docker.cli(*run, "-P", "-c", LOOK_INSIDE))
    assert (inside["uid"], inside["writable"], inside["differs"], inside["compilers"]) == (10001, False, [], [])
    assert inside["to compile"] == []
    assert inside["parts"] > inside["held"] > 5
    record, web = ["sqlalchemy", "asyncpg"], ["starlette"]
    wanted = {"scheduler": record, "orchestrator-api": record + web, "tools": record}
    assert inside["modules"] == wanted.get(target, [])


def test_the_agent_with_all_its_engines_is_small(docker: DockerDaemon) -> None:
    sizes = {
        image: int(docker.cli("image", "inspect", "--format", "{{.Size}}", image))
        for image in ("skrei/compute-agent:local", base_images.PYTHON)
    }
    assert sizes["skrei/compute-agent:local"] - sizes[base_images.PYTHON] < MOST_OVER_PYTHON


def test_beyond_loopback_nothing_is_published_while_nobody_has_to_log_in(cluster: Composed) -> None:
    done = cluster.run("docker compose up init", told={"SKREI_PUBLISH": "0.0.0.0"})
    said = done.stdout + done.stderr
    assert "SKREI_PUBLISH=0.0.0.0 is refused as long as no user authentication is configured" in said
    refused = cluster.run("docker compose up -d", told={"SKREI_PUBLISH": "0.0.0.0"})
    assert refused.returncode != 0
    assert cluster.says("docker compose ps -q --status running") == ""


def test_a_taken_port_is_told_by_the_name_of_its_variable(cluster: Composed) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(cluster.settings["SKREI_PUBLISHER_PORT"])))
        taken.listen()
        taken.settimeout(1)
        done = cluster.run("docker compose up init")
    said = done.stdout + done.stderr
    assert f"port {cluster.settings['SKREI_PUBLISHER_PORT']} of 127.0.0.1 cannot be had for results" in said
    assert "SKREI_PUBLISHER_PORT=" in said


def test_what_the_readme_says_works_from_zero(cluster: Composed) -> None:
    up, logs, save, first, second, *_ = readme()
    began = time.monotonic()
    cluster.says(up)
    told = next(
        line.strip() for line in cluster.says(f"{logs} --no-log-prefix").splitlines() if "skrei profile" in line
    )
    assert told.replace(cluster.settings["SKREI_API_PORT"], "1234") == save
    cluster.says(told)
    assert cluster.says(first) == "hello\n"
    print(f"from zero to the first job: {time.monotonic() - began:.1f} s")  # noqa: T201
    assert "Hello" in cluster.says(second)
    assert "wasm-1" in cluster.says("docker compose run --rm -T cli node list")


def test_the_doors_are_on_loopback_alone(cluster: Composed) -> None:
    shown = cluster.says("docker compose ps --format '{{.Ports}}'")
    assert "0.0.0.0" not in shown
    assert shown.count("127.0.0.1:") == 2


def test_objects_of_the_s3_server_are_inputs_and_results(cluster: Composed) -> None:
    job = (
        "skrei docker run --publisher s3://skrei/out/{jobID} -o made:/made ubuntu sh -c 'echo forty-two > /made/answer'"
    )
    cluster.says(job)
    read = "skrei docker run -i 's3://skrei/out/*:/in' ubuntu sh -c 'ls -R /in'"
    assert ".tar.gz" in cluster.says(read)


def test_one_job_reads_in_three_regions_and_little_goes_between_them(cluster: Composed) -> None:
    """What docs/MULTI_REGION.md walks through. The ship's line would take a minute and more for its books alone."""
    cluster.says("docker compose --profile regions up -d --wait")
    cluster.until("skrei node list", "ship-1")
    ends = {"eu": ("agent-eu", "default"), "us": ("agent-us", "default"), "ship": ("uplink", "ship")}
    before = {region: passed(cluster, *end) for region, end in ends.items()}
    inside = passed(cluster, "agent-eu", "eu")
    cluster.says("skrei run examples/regions/job.yaml")
    moved = {region: passed(cluster, *end) - before[region] for region, end in ends.items()}
    read_in_eu = passed(cluster, "agent-eu", "eu") - inside
    print(f"between networks: {moved} bytes; read from the S3 server of eu: {read_in_eu} bytes")  # noqa: T201
    assert read_in_eu > BOOKS
    assert all(0 < count < BETWEEN for count in moved.values()), moved
    told = cluster.asks("skrei describe regions -o json")
    assert "Completed" in json.dumps(told)
    most = cluster.says("skrei job cat regions merged/words.txt --task merge | head -1")
    assert "the" in most
    cluster.says("docker compose --profile regions stop s3-eu s3-us agent-eu agent-us agent-ship nats-ship uplink")


def passed(cluster: Composed, service: str, network: str) -> int:
    """The bytes that a service has sent and been sent in one of its networks."""
    (container,) = cluster.containers(service)
    template = f'{{{{(index .NetworkSettings.Networks "{cluster.name}_{network}").MacAddress}}}}'
    mac = cluster.says(f"docker inspect -f '{template}' {container}").strip()
    counts = cluster.says(f"docker exec {container} python -P -c '{COUNT_BYTES}' {mac}")
    return int(counts)


COUNT_BYTES = """
import pathlib, sys
for each in pathlib.Path("/sys/class/net").iterdir():
    if (each / "address").read_text().strip() == sys.argv[1]:
        print(sum(int((each / "statistics" / f"{way}_bytes").read_text()) for way in ("rx", "tx")))
"""
BOOKS = 10_000_000
"""What each region has, at least."""
BETWEEN = 2_000_000
"""What may go between two networks: programs, orders, counts and heartbeats."""


def test_more_replicas_are_nodes_of_their_own_and_a_standby_takes_over(cluster: Composed) -> None:
    cluster.says(f"{readme()[5].replace('compute-agent=5', 'compute-agent=3')} --wait")
    listed = cluster.until("skrei node list", "wasm-3")
    assert [f"wasm-{number}" in listed for number in (1, 2, 3)] == [True] * 3
    assert len(cluster.containers("scheduler")) == 2
    job = cluster.says("skrei docker run --id-only ubuntu sh -c 'sleep 4; echo done'").strip()
    leading = [
        one
        for one in cluster.containers("scheduler")
        if "skrei_leader 1" in cluster.says(f'docker exec {one} python -c "{METRICS}"')
    ]
    for each in leading or cluster.containers("scheduler")[:1]:
        os.kill(cluster.process_of(each), signal.SIGKILL)
    cluster.until(f"skrei describe {job}", "Completed")


METRICS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:1236/metrics').read().decode())"


def test_an_agent_that_is_killed_is_back_as_the_node_that_it_was(cluster: Composed) -> None:
    before = nodes(cluster)
    victim = cluster.containers("compute-agent-docker")[0]
    job = cluster.says("skrei docker run --id-only ubuntu sh -c 'sleep 3; echo survived'").strip()
    cluster.until(f"skrei describe {job}", "Running")
    os.kill(cluster.process_of(victim), signal.SIGKILL)
    cluster.until(f"skrei logs {job}", "survived")
    cluster.until(f"skrei describe {job}", "Completed")
    assert nodes(cluster) == before


def nodes(cluster: Composed) -> set[str]:
    told = cluster.asks("skrei node list -o json")
    assert isinstance(told, dict)
    return {each["Info"]["NodeID"] for each in told["Nodes"]}


def test_an_upgrade_loses_no_job_and_no_node(cluster: Composed, tmp_path: Path) -> None:
    before = nodes(cluster)
    job = cluster.says("skrei docker run --id-only ubuntu sh -c 'sleep 12; echo through it all'").strip()
    cluster.until(f"skrei describe {job}", "Running")
    for target in IMAGES:  # another image, as a build of other sources makes it
        (tmp_path / "Dockerfile").write_text(f"FROM skrei/{target}:local\nLABEL next=yes\n")
        cluster.docker.cli("build", "--quiet", "--tag", f"skrei/{target}:next", str(tmp_path))
    cluster.settings["SKREI_TAG"] = "next"
    cluster.says("docker compose up -d --wait --scale compute-agent=3")
    cluster.until(f"skrei logs {job}", "through it all")
    cluster.until(f"skrei describe {job}", "Completed")
    assert nodes(cluster) == before
    assert cluster.says(readme()[3]) == "hello\n"


def test_down_leaves_nothing(cluster: Composed) -> None:
    down = readme()[6].replace("compose", "compose --profile regions --profile edge")
    cluster.says(down)
    left = cluster.left()
    assert left
    assert all(each.startswith("volume/") for each in left)  # what a cluster knows outlives it
    cluster.says(f"{down} -v")
    assert cluster.left() == []
    assert cluster.docker.named() == []
