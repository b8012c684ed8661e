"""`skrei serve` with real children: up, kept up, met by a second start, stopped, and gone with its supervisor."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from skrei_embedded.nats import free_port
from skrei_kit.cluster_keys import load_or_make, node_creds
from tests.support.servers import server_folder

pytestmark = pytest.mark.timeout(120)
START_SECONDS = 60
SERVE = "import sys; from skrei.cli.main import main; main()"
CONTROL_PLANE = {"postgres", "nats", "api", "publisher", "scheduler"}


class Served:
    """A `skrei serve --orchestrator` (or another role) in its own process."""

    def __init__(self, folder: Path, *options: str, role: str = "--orchestrator") -> None:
        folder.mkdir(mode=0o711, exist_ok=True)
        self.data = folder / "data"
        self.log = folder / "serve.log"
        self.ports = [free_port() for _ in range(3)]
        named = [
            f"--{name}={port}" for name, port in zip(("port", "publisher-port", "nats-port"), self.ports, strict=True)
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE, "serve", role, f"--data-dir={self.data}", *named, *options],
                stdout=log,
                stderr=log,
            )

    def state(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            document: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
            return document
        return {}

    def until(self, reached: Callable[[], object]) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not reached():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.05)

    def ready(self) -> "Served":
        def up() -> bool:
            told = self.state()  # read once: one that a killed stack left goes meanwhile
            return bool(told.get("ready")) and told.get("pid") == self.process.pid

        self.until(up)
        return self

    def child(self, name: str) -> int:
        return int(self.state().get("children", {}).get(name, 0))

    def alive(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with (
            contextlib.suppress(OSError),
            opener.open(f"{self.state()['api_url']}/api/v1/agent/alive", timeout=2) as got,
        ):
            return bool(got.status == 200)
        return False

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def family(served: Served) -> list[psutil.Process]:
    return psutil.Process(served.process.pid).children(recursive=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    running = Served(folder)
    yield running
    if running.process.poll() is None:
        running.end()


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    """One that is up, for tests that leave it so."""
    with server_folder() as made:
        stack = Served(made).ready()
        yield stack
        stack.end()


def test_everything_starts_and_stops_in_order_within_ten_seconds(served: Served) -> None:
    served.ready()
    assert set(served.state()["children"]) >= CONTROL_PLANE - {"scheduler"}
    assert served.alive()
    children = family(served)
    began = time.monotonic()
    assert served.end() == 0
    assert time.monotonic() - began < 10
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert served.state() == {}


@pytest.mark.parametrize("name", ["api", "publisher", "nats", "postgres"])
def test_a_killed_child_is_back(running: Served, name: str) -> None:
    running.until(running.alive)
    before = running.child(name)
    os.kill(before, signal.SIGKILL)
    running.until(lambda: running.child(name) not in (0, before) and running.alive())


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_is_clean(served: Served, folder: Path) -> None:
    served.ready()
    children = family(served)
    assert len(children) >= 4
    served.end(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    again = Served(folder)
    try:
        again.ready()
    finally:
        assert again.end() == 0


def test_of_two_starts_at_once_one_runs_and_the_other_says_where_it_is(served: Served, folder: Path) -> None:
    second = Served(folder)
    try:
        give_up = time.monotonic() + START_SECONDS
        while served.process.poll() is None and second.process.poll() is None:
            assert time.monotonic() < give_up, served.log.read_text()
            time.sleep(0.05)
        # Either may have been the first to take the folder.
        loser, winner = (served, second) if served.process.poll() is not None else (second, served)
        assert loser.process.returncode == 1
        assert winner.process.poll() is None
        state = winner.state()
        assert (state["ready"], state["pid"]) == (True, winner.process.pid)
        assert f"already running at {state['api_url']}" in served.log.read_text()
    finally:
        if second.process.poll() is None:
            second.end()


def test_a_port_that_is_taken_is_named_with_its_flag(running: Served, folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other").chmod(0o711)
    ports = [f"--port={running.ports[0]}", f"--publisher-port={free_port()}", f"--nats-port={free_port()}"]
    other = subprocess.run(
        [sys.executable, "-c", SERVE, "serve", "--orchestrator", f"--data-dir={folder / 'other' / 'data'}", *ports],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert other.returncode == 1
    assert f"127.0.0.1:{running.ports[0]} cannot be listened on" in other.stderr
    assert "--port" in other.stderr


def test_no_secret_is_an_argument(running: Served) -> None:
    told = " ".join(" ".join(child.cmdline()) for child in family(running))
    keys = running.data / "keys"
    assert (keys / "internal.token").read_text() not in told
    assert "postgresql://" not in told


def test_a_node_alone_must_be_told_where_the_control_plane_is(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, "serve", "--compute", f"--data-dir={folder / 'data'}"],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "--nats-url" in done.stderr


def test_a_node_alone_says_what_it_waits_for(folder: Path) -> None:
    alone = Served(folder, f"--nats-url=nats://127.0.0.1:{free_port()}", role="--compute")
    try:
        alone.until(lambda: "node_waits" in alone.log.read_text())
        assert "NATS does not listen" in alone.log.read_text()
        assert not alone.state().get("ready")
    finally:
        assert alone.end() == 0


def test_a_node_alone_is_ready_when_it_was_greeted(running: Served, folder: Path) -> None:
    running.until(running.alive)
    creds = folder / "node.creds"
    creds.write_text(node_creds(load_or_make(running.data), "n-alone"))
    alone = Served(folder, f"--nats-url={running.state()['nats_url']}", f"--nats-creds={creds}", role="--compute")
    try:
        alone.ready()
        assert "greeted" in alone.log.read_text()
    finally:
        assert alone.end() == 0
