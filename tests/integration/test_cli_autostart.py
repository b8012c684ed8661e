"""The stack that a run starts by itself: met by another run, found without its address, stopped, and idle."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skrei_embedded.nats import free_port
from tests.support.servers import server_folder
from tests.support.terminal import Terminal
from tests.support.wasm_steps import Say, program

pytestmark = pytest.mark.timeout(150)
SKREI = str(Path(sys.executable).with_name("skrei"))
END_SECONDS = 60.0


@pytest.fixture
def place() -> Iterator[Path]:
    with server_folder() as folder:
        (folder / "hello.wasm").write_bytes(program(Say(b"hello\n")))
        yield folder


@pytest.fixture
def environment(place: Path) -> Iterator[dict[str, str]]:
    ports = {name: str(free_port()) for name in ("SKREI_API_PORT", "SKREI_PUBLISHER_PORT", "SKREI_NATS_PORT")}
    named = {"SKREI_API_URL", "BACALHAU_API_HOST", "BACALHAU_API_PORT"}
    kept = {name: value for name, value in os.environ.items() if name not in named}
    made = kept | ports | {"SKREI_DATA_DIR": str(place / "data"), "XDG_STATE_HOME": str(place / "state")}
    yield made
    skrei(made, "down")


def skrei(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SKREI, *words], capture_output=True, text=True, check=False, env=environment, timeout=100)


def test_two_runs_start_one_stack_which_is_found_without_its_address_and_stopped(
    environment: dict[str, str], place: Path
) -> None:
    wanting = environment | {"SKREI_AUTOSTART": "1"}
    command = [SKREI, "wasm", "run", str(place / "hello.wasm")]
    runs = [
        subprocess.Popen(command, env=wanting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [run.communicate(timeout=100) for run in runs]
    assert [(run.returncode, out) for run, (out, _) in zip(runs, told, strict=True)] == [(0, "hello\n")] * 2, told
    assert all("It stops after 30 idle minutes; now: skrei down" in err for _, err in told)
    state = json.loads((place / "data" / "stack.json").read_text())
    assert state["api_url"].endswith(environment["SKREI_API_PORT"])
    assert skrei(environment, "list").stdout.count("Completed") == 2
    assert skrei(environment, "down").stdout == f"Stopped the stack in {place / 'data'}.\n"
    assert not (place / "data" / "stack.json").exists()
    assert skrei(environment, "down").stdout.startswith("Nothing to stop")


def test_a_run_at_a_terminal_starts_the_stack_and_it_ends_when_nobody_uses_it(
    environment: dict[str, str], place: Path
) -> None:
    # Nobody is let in without a token: the supervisor and the command line show the owner's by themselves.
    impatient = environment | {"SKREI_IDLE_MINUTES": "0.03", "TERM": "xterm", "SKREI_TRUST_LOOPBACK": "false"}
    with Terminal([SKREI, "wasm", "run", str(place / "hello.wasm")], impatient) as terminal:
        terminal.until("hello", seconds=90)
        assert terminal.end() == 0
        assert "Starting Skrei on this machine" in terminal.text
    end = time.monotonic() + END_SECONDS
    while (place / "data" / "stack.json").exists():
        assert time.monotonic() < end, (place / "state" / "skrei" / "serve.log").read_text()
        time.sleep(0.05)  # another process is awaited: there is nothing in this one to wait for
    assert '"event": "stack_idle"' in (place / "state" / "skrei" / "serve.log").read_text()


def test_without_a_terminal_nothing_is_started_unasked(environment: dict[str, str], place: Path) -> None:
    done = skrei(environment, "wasm", "run", str(place / "hello.wasm"))
    assert (done.returncode, done.stdout) == (125, "")
    assert "SKREI_AUTOSTART=1" in done.stderr
    assert not (place / "data").exists()
