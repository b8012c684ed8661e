"""Installing as a newcomer does, from a folder of wheels, far away from any checkout, with no index to ask."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import environment, pip_settings
from scripts.environment import ROOT
from skrei_plugin_api.testing import Behaviour
from tests.support.newcomer import Newcomer, newcomers
from tests.support.wat import behaving

pytestmark = pytest.mark.timeout(180)
START_SECONDS = 60
STOP_SECONDS = 20


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    with newcomers("home") as (made,):
        yield made


def test_one_script_installs_everything_and_tells_how_to_undo_it(newcomer: Newcomer) -> None:
    installed = newcomer.install()
    assert installed.returncode == 0, installed.stderr + installed.stdout
    assert newcomer.skrei in installed.stdout
    assert "is not on your PATH" in installed.stdout
    place = newcomer.run(str(newcomer.home / ".local/share/uv/tools/skrei/bin/python"), "-c", WHERE)
    assert place.returncode == 0, place.stderr
    assert place.stdout.split()
    assert str(ROOT) not in place.stdout

    _a_day_with_it(newcomer)

    again = newcomer.install(SKREI_PLUGINS=str(_wheel_of_a_plugin(newcomer)))
    assert again.returncode == 0, again.stderr
    engines = newcomer.run(str(newcomer.home / ".local/share/uv/tools/skrei/bin/python"), "-c", ENGINES)
    assert "python" in engines.stdout.split(), engines.stderr
    undo = re.search(r"^Undo it with: (.*)$", installed.stdout, re.MULTILINE)
    assert undo, installed.stdout
    undone = newcomer.run("sh", "-c", undo[1])
    assert undone.returncode == 0, undone.stderr
    assert not Path(newcomer.skrei).exists()
    assert not (newcomer.home / ".local/share/uv/tools/skrei").exists()


ENGINES = "from importlib.metadata import entry_points; print(*entry_points(group='skrei.engines').names)"
WHERE = """
import importlib, pkgutil
for module in pkgutil.iter_modules():
    if module.name.startswith("skrei"):
        print(importlib.import_module(module.name).__file__)
"""


def _wheel_of_a_plugin(newcomer: Newcomer) -> Path:
    """Build the engine of the examples, with what this checkout builds its own wheels with."""
    words = environment.uv_environment(pip_settings.read(), os.environ) | {"VIRTUAL_ENV": str(ROOT / ".venv")}
    uv = environment.find_uv(pip_settings.read(), words)
    build = [uv, "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", str(newcomer.home)]
    subprocess.run([*build, str(ROOT / "examples/plugins/python")], env=words, check=True, capture_output=True)
    (wheel,) = newcomer.home.glob("skrei_engine_python-*.whl")
    return wheel


def _a_day_with_it(newcomer: Newcomer) -> None:
    """Serve, run a module of one's own, fetch what it said."""
    program = newcomer.home / "hello.wasm"
    program.write_bytes(behaving(Behaviour(say="hello\n")))
    data = newcomer.home / "data"
    ports = ("--port", "0", "--publisher-port", "0", "--nats-port", "0")
    with (newcomer.home / "serve.log").open("wb") as log:
        stack = subprocess.Popen(
            [newcomer.skrei, "serve", "--data-dir", str(data), *ports],
            cwd=newcomer.home,
            env=newcomer.words,
            stdout=log,
            stderr=log,
        )
    try:
        api = _ready(data / "stack.json", stack)
        ran = newcomer.run(newcomer.skrei, "wasm", "run", "--name", "hello", str(program), SKREI_API_URL=api)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        got = newcomer.run(newcomer.skrei, "job", "get", "hello", "--output-dir", "hello", SKREI_API_URL=api)
        assert got.returncode == 0, got.stderr
        told = [path.read_text() for path in (newcomer.home / "hello").rglob("stdout")]
        assert told == ["hello\n"]
    finally:
        stack.terminate()
        assert stack.wait(STOP_SECONDS) == 0


def _ready(state: Path, stack: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and stack.poll() is None:
        if state.exists() and (told := json.loads(state.read_text() or "{}")).get("ready"):
            return str(told["api_url"])
        time.sleep(0.1)
    raise AssertionError(f"not ready: {(state.parents[1] / 'serve.log').read_text()}")


def test_wheels_that_are_not_there_are_told_of_with_what_to_do(newcomer: Newcomer) -> None:
    failed = newcomer.install(SKREI_WHEELS=str(newcomer.home / "nowhere"))
    assert failed.returncode == 1
    assert "uv could not install skrei[serve]" in failed.stderr
    assert "SKREI_WHEELS" in failed.stderr
