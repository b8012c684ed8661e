"""The chart on a real cluster: installed from zero, used, upgraded while a leader goes, and gone without a trace."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.environment import ROOT
from tests.support.kubernetes_node import CLASS, KubernetesNode
from tests.support.release import HELPER, Release

SPACE, JOBS = "release", "release-jobs"
VOLUMES = {"data-0": "20Gi", "data-1": "10Gi", "data-2": "10Gi", "data-3": "6Gi", "data-4": "5Gi"}
"""As many and as large as the chart asks for."""
KEPT: dict[str, Any] = {"persistence": {"storageClass": CLASS}}
VALUES = {
    "publisher": KEPT,
    "postgres": KEPT,
    "nats": KEPT,
    "agents": {"kubernetes": KEPT, "wasm": KEPT},
}
UNDER_LOAD = 6
STATEFUL = ("postgres", "nats", "publisher", "agent-kubernetes", "agent-wasm")
HOLDER = "psql -h /run/postgresql -U skrei -d skrei -Atc \"select holder from leases where name='scheduler'\""

pytestmark = pytest.mark.timeout(1500)


def job(engine: str = "docker", script: str = "cat /in/x; echo made > /out/made") -> str:
    params = {"Image": HELPER, "Entrypoint": ["/bin/sh", "-c"], "Parameters": [script]}
    source = {"Source": {"Type": "inline", "Params": {"URL": "data:;base64,aGVsbG8K"}}, "Target": "/in/x"}
    task = {
        "Name": "main",
        "Engine": {"Type": engine, "Params": params},
        "Resources": {"CPU": "0.1", "Memory": "64Mi", "Disk": "16Mi"},
        "InputSources": [source],
        "ResultPaths": [{"Name": "out", "Path": "/out"}],
    }
    return yaml.safe_dump({"Type": "batch", "Count": 1, "Tasks": [task]})


def spaces(cluster: KubernetesNode) -> list[str]:
    return cluster.kubectl("get", "namespaces", "-o", "name").split()


def leader(release: Release) -> str:
    """The pod of the scheduler that leads."""
    return release.kubectl("exec", "skrei-postgres-0", "--", "sh", "-c", HOLDER).partition("/")[0].strip()


def nodes(release: Release) -> list[dict[str, Any]]:
    """The nodes, as the API tells them."""
    return list(json.loads(release.skrei("node", "list", "--output", "json"))["Nodes"])


def connections(release: Release) -> dict[str, str]:
    """How each node is connected."""
    return {one["Info"]["NodeID"]: one["Connection"] for one in nodes(release)}


def block(notes: str, after: str) -> str:
    """The command that NOTES.txt prints below a line that begins so."""
    lines = notes.partition(after)[2].partition("\n\n")[2].splitlines()
    return "\n".join(lines[: lines.index("")])


@pytest.fixture(scope="module")
def release(stocked: KubernetesNode, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A namespace, and what is asked of the chart. The tests of this file go on where the one before ended."""
    for name, size in VOLUMES.items():
        stocked.volume(name, size)
    return Release(stocked, tmp_path_factory.mktemp("release"), SPACE, VALUES)


@pytest.fixture
def doors(release: Release) -> Iterator[None]:
    with release.forwarded():
        yield


def test_it_is_installed_from_zero_and_used_as_its_notes_say(release: Release, record: Callable[[str], None]) -> None:
    began = time.monotonic()
    notes = release.put("install")
    installed = time.monotonic()
    with release.forwarded():
        release.shell(block(notes, "The command line finds it after this:"))
        assert "hello" in release.skrei("job", "run", "-", data=job())
        first = time.monotonic()
        listed = release.skrei("node", "list")
    assert "agent-kubernetes-0" in listed
    assert "agent-wasm-0" in listed
    record(f"from zero: installed in {installed - began:.1f} s, its first job {first - installed:.1f} s later")


def test_helm_test_says_that_it_is_well(release: Release) -> None:
    release.helm("test", "skrei")


@pytest.mark.row("1.1/compute-nodes")
def test_jobs_for_docker_for_kubernetes_and_for_wasm_run_in_it(release: Release, doors: None, tmp_path: Path) -> None:
    assert "hello" in release.skrei("job", "run", "-", data=job("kubernetes"))
    assert "hello" in release.skrei("job", "run", "--name", "kept", "-", data=job())
    release.skrei("job", "get", "kept", "--output-dir", str(tmp_path / "got"))
    assert (tmp_path / "got/out/made").read_text() == "made\n"
    assert "Hello, wasm!" in release.skrei("job", "run", str(ROOT / "examples/wasm/job.yaml"))


def test_a_leader_that_is_deleted_under_load_costs_no_job(release: Release, doors: None) -> None:
    lasting = job(script="cat /in/x; sleep 4; echo made > /out/made")
    load = [release.submits(lasting) for _ in range(UNDER_LOAD)]
    pods = ("get", "pods", "-n", JOBS, "--field-selector=status.phase=Running", "-o", "name")
    release.cluster.until("jobs run", lambda: bool(release.kubectl(*pods).split()))
    led = leader(release)
    release.kubectl("delete", "pod", led, "--wait=false")
    told = [(one.communicate(timeout=240)[0], one.returncode) for one in load]
    assert [code for _, code in told] == [0] * UNDER_LOAD, told
    assert all("hello" in out for out, _ in told)
    assert leader(release) != led


def test_what_lies_on_volumes_is_there_after_all_its_pods_were_deleted(release: Release, tmp_path: Path) -> None:
    with release.forwarded():
        before = set(connections(release))
    release.kubectl("delete", "pod", *(f"skrei-{name}-0" for name in STATEFUL), seconds=180)
    for name in STATEFUL:
        release.kubectl("rollout", "status", f"statefulset/skrei-{name}", "--timeout=120s", seconds=130)
    with release.forwarded():
        release.skrei("job", "get", "kept", "--output-dir", str(tmp_path / "got"))
        assert (tmp_path / "got/out/made").read_text() == "made\n"
        assert "hello" in release.skrei("job", "run", "-", data=job())
        assert set(connections(release)) == before


def test_what_the_owner_is_told_changes_the_join_token_of_all(release: Release, doors: None) -> None:
    told = release.shell("skrei node join-line --rotate 2>&1 || true")
    assert "the join token cannot be changed here" in told
    before = release.secret("skrei-keys-orchestrator-api", "join.token")
    command = re.search(r"(token=.*; done);", told)
    assert command is not None, told
    release.shell(command[1])
    after = release.secret("skrei-keys-orchestrator-api", "join.token")
    assert after != before
    assert release.secret("skrei-keys-compute-agent", "join.token") == after
    release.cluster.until("the API follows", lambda: after in release.skrei("node", "join-line"))


def test_it_is_upgraded_and_goes_on_without_the_node_that_was_revoked(release: Release) -> None:
    with release.forwarded():
        (wasm,) = (one["Info"]["NodeID"] for one in nodes(release) if "wasm" in one["Info"]["Labels"]["name"])
        told = release.shell(f"skrei node revoke {wasm} 2>&1")
        assert "Its key is refused from now on." in told
        assert "kubectl" not in told
        release.cluster.until("it is out", lambda: connections(release)[wasm] == "DISCONNECTED")
    # Its pod is never ready again, and an upgrade would wait for it.
    release.put("upgrade", "--set", "scheduler.replicas=1,logLevel=debug,agents.wasm.enabled=false")
    release.kubectl("delete", "pod", "skrei-nats-0", seconds=120)  # it starts with what it was founded with
    release.kubectl("rollout", "status", "statefulset/skrei-nats", "--timeout=120s", seconds=130)
    release.helm("test", "skrei")
    with release.forwarded():
        assert "hello" in release.skrei("job", "run", "-", data=job())
        release.cluster.until("the revoked one is out", lambda: connections(release)[wasm] == "DISCONNECTED")
        assert set(connections(release).values()) == {"DISCONNECTED", "CONNECTED"}


def test_an_agent_may_make_pods_where_jobs_are_and_not_beside_the_keys(release: Release) -> None:
    agent = f"system:serviceaccount:{SPACE}:skrei-agent-kubernetes"
    may = ("auth", "can-i", "create", "pods", "--as", agent, "--quiet", "-n")
    release.cluster.kubectl(*may, JOBS)
    with pytest.raises(AssertionError):  # beside the keys of the cluster
        release.cluster.kubectl(*may, SPACE)


def test_it_is_uninstalled_and_nothing_is_left(release: Release) -> None:
    release.helm("uninstall", "skrei", "--wait", "--timeout", "5m")
    release.cluster.until("jobs' namespace is gone", lambda: f"namespace/{JOBS}" not in spaces(release.cluster))
    release.cluster.until("nothing is left", lambda: not release.left())
    cluster_wide = release.cluster.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    assert "skrei" not in cluster_wide
