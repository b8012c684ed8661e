"""The Kubernetes engine against the contract of engines, in a namespace that admits restricted pods alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skrei_domain.resources import Resources
from skrei_plugin_api.engine import CommandRequest, Engine, FailureCode, RunRequest
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import engines
from skrei_plugin_api.testing import Behaviour, EngineContract, Program, Running, eventually
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
        words = script(behaviour).replace("/proc/1/", "/proc/$$/")  # the first process is our runner
        return Program({"Image": BUSYBOX, "Entrypoint": ["/bin/sh", "-c"], "Parameters": [words]})

    def words(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("sh", "-c", script(behaviour))

    def request(self, behaviour: Behaviour, folder: Path, name: str = "e-1", **given: object) -> RunRequest:
        if behaviour.trap:
            given["resources"] = Resources(memory_bytes=ENOUGH_BYTES)
        return super().request(behaviour, folder, name, **given)

    @pytest.mark.parametrize(("network", "code"), [("None", 1), ("Bridge", 0)])
    async def test_a_command_beside_a_program_has_no_network_where_the_program_has_none(
        self, engine: Engine, tmp_path: Path, network: str, code: int
    ) -> None:
        request = self.request(Behaviour(say="live\n", forever=True), tmp_path, network=network)
        run = asyncio.ensure_future(engine.run(request, Running()))
        try:
            await eventually(lambda: (request.workdir / "stdout").exists() and bool(_said(request)))
            calls = ("sh", "-c", 'nc -w 3 "$KUBERNETES_SERVICE_HOST" 443 < /dev/null')
            outcome = await engine.command(CommandRequest(request.execution_id, 1, calls, 20.0))
            assert outcome.exit_code == code, outcome
            assert (b"unreachable" in outcome.output) == (network == "None"), outcome
        finally:
            run.cancel()
            await asyncio.wait([run])

    async def test_a_run_whose_pod_is_deleted_by_hand_is_lost_and_did_not_end_by_itself(
        self, engine: Engine, tmp_path: Path, cluster: KubernetesNode, space: str
    ) -> None:
        request = self.request(Behaviour(say="live\n", forever=True), tmp_path)
        run = asyncio.ensure_future(engine.run(request, Running()))
        await eventually(lambda: (request.workdir / "stdout").exists() and bool(_said(request)))
        cluster.kubectl("delete", "pods", "-n", space, "-l", f"skrei.node=n-{tmp_path.name}", "--wait=false")
        outcome = await run
        assert outcome.failure is not None
        assert outcome.failure.code is FailureCode.ENGINE_LOST

    async def test_a_program_that_fills_its_containers_disk_is_ended_as_that(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        words = ["dd if=/dev/zero of=/tmp/much bs=1M count=64; sleep 120"]
        params = {"Image": BUSYBOX, "Entrypoint": ["/bin/sh", "-c"], "Parameters": words}
        asked = self.request(Behaviour(), tmp_path, resources=Resources(disk_bytes=16 * 1024 * 1024))
        outcome = await engine.run(replace(asked, params=params), Running())
        assert outcome.failure is not None
        assert outcome.failure.code is FailureCode.DISK_LIMIT_EXCEEDED


def _said(request: RunRequest) -> bytes:
    return (request.workdir / "stdout").read_bytes()
