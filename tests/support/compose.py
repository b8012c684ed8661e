"""Our images and our composed cluster, on a dockerd of the tests' own whose images stay in `.cache`."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts import go_modules
from scripts.environment import ROOT
from scripts.images import IMAGES
from scripts.tools import FOLDER
from tests.support import base_images
from tests.support.docker_daemon import DockerDaemon, running_docker, why_no_docker

DATA = ROOT / ".cache/docker"
BUILD_SECONDS = 900.0
UP_SECONDS = 400.0
SKREI = str(ROOT / ".venv/bin/skrei")


def why_not() -> str:
    """Why our images cannot be built here; empty when they can."""
    missing = [each.name for each in go_modules.COMMANDS if not (FOLDER / each.name).exists()]
    return (
        why_no_docker() or base_images.why_not() or (f"not built: {', '.join(missing)} (`make tools`)" * bool(missing))
    )


@contextmanager
def docker_with_images(*, addresses: str = "10.214.0.0/16") -> Iterator[DockerDaemon]:
    """Run a daemon that has the base images and ours, built of what lies here; others in this checkout wait."""
    DATA.parent.mkdir(exist_ok=True)
    with (DATA.parent / "docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with running_docker("--default-address-pool", f"base={addresses},size=24", data=DATA) as docker:
            docker.plug_in(FOLDER, "docker-compose", "docker-buildx")
            base_images.make(docker)
            for target in IMAGES:
                build(docker, target)
            yield docker


def build(docker: DockerDaemon, target: str) -> None:
    """Build one image as the README says, on the machine's network: the bridges of these tests lead nowhere."""
    words = ("build", "--quiet", "--network", "host", "--file", str(ROOT / "deploy/Dockerfile"), "--target", target)
    docker.cli(*words, "--tag", f"skrei/{target}:local", str(ROOT), seconds=BUILD_SECONDS)


@dataclass
class Composed:
    """A cluster, as a user has it: the compose file of this checkout under a name of its own, and the command line."""

    docker: DockerDaemon
    name: str
    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {"COMPOSE_PROJECT_NAME": self.name, "DOCKER_SOCKET": str(self.docker.socket), "HOME": str(self.home)}
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        return {**self.docker.environment, **own, "PATH": path, **self.settings}

    def run(
        self, script: str, *, seconds: float = UP_SECONDS, told: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a line of a shell in the checkout."""
        environment, command = self.environment | dict(told or {}), ["sh", "-c", script]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=seconds
        )

    def says(self, script: str, *, seconds: float = UP_SECONDS, told: Mapping[str, str] | None = None) -> str:
        """Run a line that has to go well, and return what it says."""
        done = self.run(script, seconds=seconds, told=told)
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}\n{self._logs()}"
        return done.stdout

    def asks(self, script: str) -> object:
        """Run a line that answers in JSON."""
        return json.loads(self.says(script))

    def until(self, script: str, wanted: str, *, seconds: float = 60.0) -> str:
        """Run a line until it says something; returns all that it said."""
        ends = time.monotonic() + seconds
        while True:
            done = self.run(script)
            if wanted in done.stdout:
                return done.stdout
            assert time.monotonic() < ends, (
                f"{script} does not say {wanted}:\n{done.stdout}\n{done.stderr}\n{self._logs()}"
            )
            time.sleep(0.3)  # another program: there is nothing here to wait for

    def containers(self, service: str) -> list[str]:
        """The containers of a service that run."""
        return self.says(f"docker compose ps -q {service}").split()

    def process_of(self, container: str) -> int:
        """The process of a container, as this machine sees it."""
        return int(self.says(f"docker inspect -f '{{{{.State.Pid}}}}' {container}"))

    def left(self) -> list[str]:
        """Whatever of it is still there."""
        kinds = {"ps --all": "{{.Names}}", "volume ls": "volume/{{.Name}}", "network ls": "{{.Name}}"}
        label = f"label=com.docker.compose.project={self.name}"
        return [
            line
            for words, shown in kinds.items()
            for line in self.says(f"docker {words} --filter {label} --format '{shown}'").split()
        ]

    def end(self) -> None:
        """Take everything away."""
        self.run("docker compose --profile regions --profile edge --profile cli down -v --remove-orphans --timeout 5")

    def _logs(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.run("docker compose logs --no-color --tail 15", seconds=20).stdout[-12_000:]
        return ""


if __name__ == "__main__":  # `make images`: what the tests would do first, before their time counts
    if why := why_not():
        sys.stderr.write(f"The images are not built: {why}\n")
        sys.exit(1)
    with docker_with_images() as ready:
        sys.stdout.write(ready.cli("image", "ls", "skrei/*"))
