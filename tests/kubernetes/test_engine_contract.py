"""The Kubernetes engine against the contract of engines, in a namespace that admits restricted pods alone."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skrei_domain.resources import Resources
from skrei_plugin_api.engine import Engine, FailureCode, RunRequest
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import engines
from skrei_plugin_api.testing import Behaviour, EngineContract, Program
from tests.conformance.test_docker_engine import DockerContract, script
from tests.support.kubernetes_node import BUSYBOX, KubernetesNode

ENOUGH_BYTES = 32 * 1024 * 1024
SPACE = "skrei-runs"


@pytest.fixture(scope="session")
def space(cluster: KubernetesNode) -> str:
    marks = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": marks}})
    cluster.until("it has its account", lambda: bool(cluster.listed("serviceaccount", "-n", SPACE)))
    return SPACE


def make_engine(cluster: KubernetesNode, space: str, folder: Path, **options: str) -> Engine:
    given: dict[str, str] = {
        "config": str(cluster.config),
        "namespace": space,
        "helper_image": BUSYBOX,
        "stop_grace_seconds": "5",
        "start_seconds": "60",
    } | options
    context = PluginContext(
        folder / "state",
        options={f"kubernetes_{name}": value for name, value in given.items()},
        node_id=f"n-{folder.name}",
    )
    return engines().load("kubernetes")(context)


def left(cluster: KubernetesNode, space: str) -> list[Any]:
    return cluster.listed("pods", "-n", space)


class TestKubernetes(EngineContract):
    invalid: ClassVar[Mapping[str, Params]] = DockerContract.invalid
    trap_code = FailureCode.OUT_OF_MEMORY
    surroundings = frozenset(
        {"PATH", "HOSTNAME", "HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
         "KUBERNETES_SERVICE_PORT_HTTPS", "KUBERNETES_PORT", "KUBERNETES_PORT_443_TCP", "KUBERNETES_PORT_443_TCP_PROTO",
         "KUBERNETES_PORT_443_TCP_PORT", "KUBERNETES_PORT_443_TCP_ADDR"}
    )  # fmt: skip

    @pytest.fixture
    async def engine(self, tmp_path: Path, cluster: KubernetesNode, space: str) -> AsyncIterator[Engine]:
        engine = make_engine(cluster, space, tmp_path)
        yield engine
        await engine.sweep(lambda _: False)
        await engine.close()

    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        return Program({"Image": BUSYBOX, "Entrypoint": ["/bin/sh", "-c"], "Parameters": [script(behaviour)]})

    def words(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("sh", "-c", script(behaviour))

    def request(self, behaviour: Behaviour, folder: Path, name: str = "e-1", **given: object) -> RunRequest:
        if behaviour.trap:
            given["resources"] = Resources(memory_bytes=ENOUGH_BYTES)
        return super().request(behaviour, folder, name, **given)
