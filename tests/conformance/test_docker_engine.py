"""The docker engine against the contract of engines, on a real dockerd: files bound, and files through volumes."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from skrei_domain.resources import Resources
from skrei_plugin_api.engine import Engine, FailureCode, RunRequest
from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.registry import engines
from skrei_plugin_api.testing import Behaviour, EngineContract, Program
from tests.support.docker_daemon import BUSYBOX, DockerDaemon

ENOUGH_BYTES = 32 * 1024 * 1024


def script(behaviour: Behaviour) -> str:
    """A shell script that does it."""
    lines = ["trap 'exit 143' TERM"]
    if behaviour.say:
        lines.append(f"printf '%s' '{behaviour.say}'")
    if behaviour.say_error:
        lines.append(f"printf '%s' '{behaviour.say_error}' >&2")
    if behaviour.print_env:
        lines.append("cat /proc/1/environ")
    if behaviour.print_file:
        lines.append(f"cat '{behaviour.print_file}'")
    lines += [f"printf '%s' '{text}' > '/{path}'" for path, text in behaviour.write.items()]
    if behaviour.forever:
        lines.append("while true; do sleep 0.1; done")
    if behaviour.trap:
        lines.append("exec tail /dev/zero")  # wants all memory
    lines.append(f"exit {behaviour.exit_code}")
    return "\n".join(lines)


class DockerContract(EngineContract):
    """What every way of bringing files into containers has to do."""

    invalid: ClassVar[Mapping[str, Params]] = {
        "Image": {"Image": "Upper/Case"},
        "Entrypoint": {"Image": "a", "entrypoint": "no list"},
        "Parameters": {"Image": "a", "Parameters": [1]},
        "EnvironmentVariables[0]": {"Image": "a", "EnvironmentVariables": ["BACALHAU_X=1"]},
        "WorkingDirectory": {"Image": "a", "WorkingDirectory": "here"},
        "Pull": {"Image": "a", "Pull": "sometimes"},
    }
    trap_code = FailureCode.OUT_OF_MEMORY
    surroundings = frozenset({"PATH", "HOSTNAME", "HOME", "NVIDIA_VISIBLE_DEVICES"})  # the last says: no GPU
    staging: ClassVar[str]

    @pytest.fixture
    async def engine(self, tmp_path: Path, docker: DockerDaemon) -> AsyncIterator[Engine]:
        options = {"docker_host": docker.url, "docker_staging": self.staging, "docker_stop_grace_seconds": "5"}
        context = PluginContext(tmp_path / "state", options=options, node_id=f"n-{tmp_path.name}")
        engine = engines().load("docker")(context)
        yield engine
        await engine.sweep(lambda _: False)
        await engine.close()
        assert docker.left() == []

    def program(self, behaviour: Behaviour, folder: Path) -> Program:
        return Program({"Image": BUSYBOX, "Entrypoint": ["/bin/sh", "-c"], "Parameters": [script(behaviour)]})

    def words(self, behaviour: Behaviour) -> tuple[str, ...]:
        return ("sh", "-c", script(behaviour))

    def request(self, behaviour: Behaviour, folder: Path, name: str = "e-1", **given: object) -> RunRequest:
        if behaviour.trap:
            given["resources"] = Resources(memory_bytes=ENOUGH_BYTES)
        return super().request(behaviour, folder, name, **given)


class TestDockerWithBindMounts(DockerContract):
    staging = "auto"


class TestDockerThroughVolumes(DockerContract):
    staging = "volume"
