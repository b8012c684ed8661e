"""The chart on a real cluster: helm, the command line at the API that it brought, and what is left of it."""

import base64
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.environment import ROOT
from scripts.images import IMAGES
from scripts.tools import FOLDER
from skrei_embedded.nats import free_port
from tests.support import base_images
from tests.support.compose import docker_with_images
from tests.support.docker_daemon import busybox_root
from tests.support.kubernetes_node import PROGRAMS, KubernetesNode, archive

CHART = ROOT / "helm/skrei"
HELPER = "busybox:1.37"
"""The image that the chart names for helpers in pods of jobs, and for jobs here: a stand-in under its name."""
SAVE_SECONDS = 300.0
HELM_SECONDS = 700.0
SKREI = str(ROOT / ".venv/bin/skrei")
KINDS = "pods,statefulsets,deployments,daemonsets,jobs,services,persistentvolumeclaims,networkpolicies,configmaps"
MORE_KINDS = "secrets,roles,rolebindings,serviceaccounts,horizontalpodautoscalers,poddisruptionbudgets,ingresses"


def bring_images(cluster: KubernetesNode, folder: Path) -> None:
    """Build our images of what lies here, and give them to the cluster with those of others that the chart names."""
    packed = folder / "images.tar"
    with docker_with_images() as docker:
        names = [f"skrei/{target}:local" for target in IMAGES]
        words = ("save", "--output", str(packed), *names, base_images.POSTGRES, base_images.NATS)
        docker.cli(*words, seconds=SAVE_SECONDS)
    cluster.load("images", packed)
    packed.unlink()
    cluster.load(HELPER, archive(busybox_root(), {"Env": ["PATH=/bin"]}, HELPER))


@dataclass
class Release:
    """A release in a namespace of its own, which admits restricted pods alone; and a user's command line."""

    cluster: KubernetesNode
    folder: Path
    space: str
    values: Mapping[str, Any]
    api_port: int = field(default_factory=free_port)
    results_port: int = field(default_factory=free_port)
    before: Sequence[str] = ()
    """What stands before the words of the command line, where it is run elsewhere."""

    def __post_init__(self) -> None:
        """Write down what is asked of the chart, and make the namespace."""
        doors = {"url": f"http://127.0.0.1:{self.api_port}", "resultsUrl": f"http://127.0.0.1:{self.results_port}"}
        given = dict(self.values) | {"image": {"tag": "local", "pullPolicy": "Never"}}
        given["api"] = {**doors, **given.get("api", {})}
        (self.folder / "values.yaml").write_text(yaml.safe_dump(given))
        marks = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.space, "labels": marks}})
        self.cluster.until("it has its account", lambda: bool(self.cluster.listed("serviceaccount", "-n", self.space)))

    @property
    def environment(self) -> dict[str, str]:
        """What a user's shell has: kubectl, helm and skrei, the cluster and the namespace, a home of its own."""
        path = f"{PROGRAMS}:{FOLDER}:{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        told = {"PATH": path, "HOME": str(self.folder), "KUBECONFIG": str(self.cluster.kubeconfig)}
        return {name: value for name, value in os.environ.items() if not name.startswith("SKREI_")} | told

    def helm(self, *words: str) -> str:
        """Run helm in the release's namespace; returns what it says."""
        done = self._run(str(FOLDER / "helm"), "--namespace", self.space, *words, seconds=HELM_SECONDS)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.looks())
        return done.stdout

    def put(self, verb: str, *words: str, wait: bool = True) -> str:
        """Install or upgrade it."""
        waiting = ("--wait", "--timeout", "10m") if wait else ()
        return self.helm(verb, "skrei", str(CHART), "-f", str(self.folder / "values.yaml"), *waiting, *words)

    def kubectl(self, *words: str, seconds: float = 60) -> str:
        """Run kubectl in the release's namespace."""
        return self.cluster.kubectl("-n", self.space, *words, seconds=seconds)

    def shell(self, script: str) -> str:
        """Run lines that a user was told to run."""
        done = self._run("sh", "-c", script)
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def skrei(self, *words: str, data: str = "") -> str:
        """Run the command line; returns what it says."""
        done = self._run(*self.before, SKREI, *words, data=data)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.looks())
        return done.stdout

    def submits(self, job: str) -> "subprocess.Popen[str]":
        """Submit a job and stay with it, in a process of its own."""
        path = self.folder / f"job-{time.monotonic_ns()}.yaml"
        path.write_text(job)
        return subprocess.Popen(
            [SKREI, "job", "run", str(path)], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def secret(self, name: str, key: str) -> str:
        """Return what a Secret holds under a name."""
        quoted = key.replace(".", r"\.")
        return base64.b64decode(self.kubectl("get", "secret", name, "-o", f"jsonpath={{.data.{quoted}}}")).decode()

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[None]:
        """The API and the door of results on this machine, as NOTES.txt says."""
        command = [str(PROGRAMS / "kubectl"), "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.space]
        doors = (("svc/skrei-api", f"{self.api_port}:1234"), ("svc/skrei-publisher", f"{self.results_port}:1235"))
        with contextlib.ExitStack() as both:
            for door in doors:
                process = both.enter_context(
                    subprocess.Popen([*command, "port-forward", *door], stdout=subprocess.PIPE, text=True)
                )
                both.callback(process.terminate)
                assert process.stdout is not None
                assert "Forwarding" in process.stdout.readline()
            yield

    def left(self) -> set[str]:
        """Whatever is in its namespace, beside what every namespace has."""
        names = set(self.kubectl("get", f"{KINDS},{MORE_KINDS}", "-o", "name").split())
        return names - {"configmap/kube-root-ca.crt", "serviceaccount/default"}

    def looks(self) -> str:
        """How its pods are, and what those said last that are not well."""
        told = self.cluster.kubectl("get", "pods", "-A", "-o", "wide")
        for pod in self.cluster.listed("pods", "-n", self.space):
            name = pod["metadata"]["name"]
            states = pod.get("status", {}).get("containerStatuses", [])
            if not states or not all(one.get("ready") for one in states):
                with contextlib.suppress(AssertionError):
                    told += self.kubectl("logs", name, "--all-containers", "--tail=20", "--prefix")
                with contextlib.suppress(AssertionError):
                    told += "\n".join(self.kubectl("describe", "pod", name).splitlines()[-15:])
        return told

    def _run(self, *command: str, data: str = "", seconds: float = 300) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, input=data, capture_output=True, text=True, check=False, timeout=seconds, env=self.environment
        )
