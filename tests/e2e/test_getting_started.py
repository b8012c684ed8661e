"""docs/GETTING_STARTED.md, run as it is written: two machines, real containers, nothing installed before."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scripts.environment import ROOT
from tests.support.docker_daemon import DockerDaemon, docker_with_ubuntu
from tests.support.netns import Host, hosts
from tests.support.newcomer import Newcomer, newcomers

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
PAGE = (ROOT / "docs/GETTING_STARTED.md").read_text()
BLOCK = re.compile(r"^```sh(?P<where>[^\n]*)\n(?P<script>.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISED = re.compile(r"^(?P<command>[^#\n]+?) +# (?P<output>\d+)$", re.MULTILINE)
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Block:
    script: str
    elsewhere: bool

    @property
    def stays(self) -> bool:
        """Whether it serves until it is told to stop."""
        return "skrei serve" in self.script.strip().splitlines()[-1]


def blocks() -> list[Block]:
    return [Block(found["script"], "second" in found["where"]) for found in BLOCK.finditer(PAGE)]


@dataclass(slots=True)
class Machine:
    """A newcomer's machine: a home, an address, and what was left running there."""

    newcomer: Newcomer
    host: Host
    served: list[subprocess.Popen[bytes]]

    def run(self, script: str, **words: str) -> str:
        """Run a block of the page; its output, once it has ended well."""
        own = {"PATH": f"{self.newcomer.home}/.local/bin:{self.newcomer.words['PATH']}"} | words
        done = self.newcomer.run(*self.host.inside("sh", "-euc", script), **own)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def serve(self, script: str, **words: str) -> None:
        """Run a block that stays, in the background."""
        own = {"PATH": f"{self.newcomer.home}/.local/bin:{self.newcomer.words['PATH']}"} | words
        log = (self.newcomer.home / "serve.log").open("wb")
        with log:
            self.served.append(
                subprocess.Popen(
                    self.host.inside("sh", "-euc", script),
                    cwd=self.newcomer.home,
                    env=self.newcomer.words | own,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def stop(self) -> None:
        for process in self.served:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_SECONDS)


@pytest.fixture
def docker() -> Iterator[DockerDaemon]:
    with docker_with_ubuntu() as daemon:
        yield daemon


@pytest.fixture
def machines(docker: DockerDaemon) -> Iterator[tuple[Machine, Machine]]:
    with newcomers("here", "there") as (here, there), hosts(2) as (first, second):
        made = Machine(here, first, []), Machine(there, second, [])
        for machine in made:
            machine.newcomer.words |= {"SKREI_AUTOSTART": "1", "DOCKER_HOST": docker.url}
            machine.newcomer.words |= {"SKREI_DATA_DIR": str(machine.newcomer.home / "skrei")}
            shutil.copy(machine.newcomer.wheels / "install.sh", machine.newcomer.home)
            machine.newcomer.words |= {"SKREI_WHEELS": str(machine.newcomer.wheels)}
        try:
            yield made
        finally:
            for machine in made:
                machine.stop()
                machine.newcomer.run(*machine.host.inside(machine.newcomer.skrei, "down"))


def test_the_page_does_what_it_says(machines: tuple[Machine, Machine]) -> None:
    here, there = machines
    there.run("sh install.sh")
    for block in blocks():
        machine = there if block.elsewhere else here
        script = block.script.replace("10.0.0.1", here.host.address)
        if block.elsewhere:
            line = here.run("skrei node join-line").strip()
            assert line.split(" --token ")[0] == script.strip().split(" --token ")[0]
            script = line
        if block.stays:
            *before, last = script.strip().splitlines()
            machine.run("\n".join(before) or "true")
            machine.serve(f"exec {last}")
            _until_connected(here, 2 if block.elsewhere else 1)
        else:
            machine.run(script)
            for promise in PROMISED.finditer(script):
                assert machine.run(promise["command"]).split() == [promise["output"]]
    assert "skrei down" in blocks()[-1].script


def _connected(machine: Machine) -> int:
    done = machine.newcomer.run(*machine.host.inside(machine.newcomer.skrei, "node", "list"))
    return done.stdout.count(" CONNECTED")


def _until_connected(machine: Machine, nodes: int) -> None:
    end = time.monotonic() + START_SECONDS
    while _connected(machine) != nodes:
        assert time.monotonic() < end, f"not {nodes} nodes within a minute"
        time.sleep(0.2)  # other processes are awaited
