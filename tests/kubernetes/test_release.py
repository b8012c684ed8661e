"""The chart on a real cluster: installed from zero, used, upgraded while a leader goes, and gone without a trace.

SKREI_TEST_IMAGES names a folder with the images of deploy/Dockerfile (tag `local`), Postgres and NATS, as `docker save`
writes them, `*.tar`.
"""

import base64
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.environment import ROOT
from scripts.tools import FOLDER
from tests.support.kubernetes_node import BUSYBOX, PROGRAMS, KubernetesNode

IMAGES = os.environ.get("SKREI_TEST_IMAGES", "")
SPACE, JOBS, PORT = "release", "release-jobs", 31_234
NO_VOLUMES = {"persistence": {"enabled": False}}
VALUES = {
    "image": {"tag": "local", "pullPolicy": "Never"},
    "publisher": NO_VOLUMES,
    "postgres": NO_VOLUMES,
    "nats": NO_VOLUMES,
    "agents": {"kubernetes": NO_VOLUMES | {"pods": {"helperImage": BUSYBOX}}, "wasm": NO_VOLUMES},
}

pytestmark = [
    pytest.mark.skipif(not IMAGES, reason="SKREI_TEST_IMAGES names no folder with images"),
    pytest.mark.skipif(not (FOLDER / "helm").exists(), reason="no helm here: `make tools` builds it"),
    pytest.mark.timeout(1200),
]


def job(engine: str = "docker") -> str:
    params = {"Image": BUSYBOX, "Entrypoint": ["/bin/sh", "-c"], "Parameters": ["cat /in/x; echo made > /out/made"]}
    source = {"Source": {"Type": "inline", "Params": {"URL": "data:;base64,aGVsbG8K"}}, "Target": "/in/x"}
    task = {
        "Name": "main",
        "Engine": {"Type": engine, "Params": params},
        "Resources": {"CPU": "0.1", "Memory": "64Mi"},
        "InputSources": [source],
        "ResultPaths": [{"Name": "out", "Path": "/out"}],
    }
    return yaml.safe_dump({"Type": "batch", "Count": 1, "Tasks": [task]})


def spaces(cluster: KubernetesNode) -> list[str]:
    return cluster.kubectl("get", "namespaces", "-o", "name").split()


class Release:
    """The installed chart, and the command line at its API."""

    def __init__(self, cluster: KubernetesNode, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        (folder / "values.yaml").write_text(yaml.safe_dump(VALUES))

    def helm(self, *words: str) -> str:
        command = [str(FOLDER / "helm"), "--kubeconfig", str(self.cluster.kubeconfig), "--namespace", SPACE, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.cluster.kubectl("get", "pods", "-A"))
        return done.stdout

    def put(self, verb: str, *words: str) -> str:
        values = str(self.folder / "values.yaml")
        return self.helm(verb, "skrei", str(ROOT / "helm/skrei"), "-f", values, "--wait", "--timeout", "8m", *words)

    def skrei(self, *words: str, data: str = "") -> str:
        secret = ("get", "secret", "skrei-keys-orchestrator-api", "-n", SPACE)
        token = base64.b64decode(self.cluster.kubectl(*secret, "-o", r"jsonpath={.data.owner\.token}")).decode()
        told = os.environ | {"SKREI_API_KEY": token, "SKREI_API_URL": f"http://127.0.0.1:{PORT}"}
        command = [sys.executable, "-m", "skrei.cli.main", *words]
        done = subprocess.run(
            command, input=data, capture_output=True, text=True, check=False, timeout=240,
            env=told | {"HOME": str(self.folder)},
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[None]:
        command = [str(PROGRAMS / "kubectl"), "--kubeconfig", str(self.cluster.kubeconfig), "-n", SPACE]
        with subprocess.Popen(
            [*command, "port-forward", "svc/skrei-api", f"{PORT}:1234"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert "Forwarding" in process.stdout.readline()
            yield
            process.terminate()


@pytest.mark.row("1.1/compute-nodes")
def test_it_is_installed_used_upgraded_and_gone(cluster: KubernetesNode, tmp_path: Path) -> None:
    for image in sorted(Path(IMAGES).glob("*.tar")):
        cluster.load(image.name, image)
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace",
         "metadata": {"name": SPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    )  # fmt: skip
    release = Release(cluster, tmp_path)
    before = set(cluster.kubectl("get", "secrets,roles,serviceaccounts", "-n", SPACE, "-o", "name").split())
    release.put("install")
    release.helm("test", "skrei")
    with release.forwarded():
        assert "hello" in release.skrei("job", "run", "-", data=job())
        assert "hello" in release.skrei("job", "run", "-", data=job("kubernetes"))
        leader = ("-l", "app.kubernetes.io/component=scheduler", "--wait=false")
        cluster.kubectl("delete", "pods", "-n", SPACE, *leader)
        assert "hello" in release.skrei("job", "run", "-", data=job())
    release.put("upgrade", "--set", "scheduler.replicas=1")
    with release.forwarded():
        assert "hello" in release.skrei("job", "run", "-", data=job())
    agent = f"system:serviceaccount:{SPACE}:skrei-agent-kubernetes"
    may = ("auth", "can-i", "create", "pods", "--as", agent, "--quiet", "-n")
    cluster.kubectl(*may, JOBS)
    with pytest.raises(AssertionError):  # beside the keys of the cluster
        cluster.kubectl(*may, SPACE)
    release.helm("uninstall", "skrei", "--wait")
    cluster.until("jobs' namespace is gone", lambda: f"namespace/{JOBS}" not in spaces(cluster))
    kinds = "pods,statefulsets,deployments,jobs,services,persistentvolumeclaims,networkpolicies,configmaps"
    cluster.until(
        "nothing is left",
        lambda: set(cluster.kubectl("get", kinds, "-n", SPACE, "-o", "name").split()) <= {"configmap/kube-root-ca.crt"},
    )
    left = set(cluster.kubectl("get", "secrets,roles,serviceaccounts", "-n", SPACE, "-o", "name").split())
    assert left - before - {"serviceaccount/default"} == set()
