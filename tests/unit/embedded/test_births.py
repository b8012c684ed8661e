"""What the nursery forks is a child like any other: ours, told what we say, ended and reaped by us."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from skrei_embedded.births import Birth, Forked, Nursery
from skrei_embedded.processes import Gate
from skrei_kit.supervisor import GATE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us adopt what a child forked")

PROGRAM = """
import json, os, sys

def main():
    told = {
        "parent": os.getppid(),
        "session": os.getsid(0),
        "environment": dict(os.environ),
        "command": open("/proc/self/cmdline").read().rstrip(chr(0)).split(chr(0)),
        "piped": os.read(int(os.environ["A_PIPE"]), 10).decode(),
        "input": sys.stdin.read(),
        "shared": "skrei_kit.supervisor" in sys.modules,
    }
    with open(os.environ["TELL"], "w") as file:
        json.dump(told, file)
    if "SLEEP" in os.environ:
        os.read(int(os.environ["A_PIPE"]), 10)
    sys.exit(7)
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    """One that knows the package `born`, and whose own environment holds a secret."""
    (tmp_path / "born").mkdir()
    (tmp_path / "born" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "unborn").mkdir()
    (tmp_path / "unborn" / "__main__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SKREI_JOIN_TOKEN", "nobody's business")
    made = Nursery()
    yield made
    made.close()


def births(tmp_path: Path, pipe: tuple[int, int], *names: str, **more: str) -> list[Birth]:
    return [Birth("born.__main__", {"TELL": str(tmp_path / name)} | more, {"A_PIPE": pipe[0]}) for name in names]


def test_each_is_our_child_and_is_told_what_we_say_alone(
    nursery: Nursery, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    first, second = nursery.bear(births(tmp_path, pipe, "first", "second"))
    os.write(pipe[1], b"x")
    os.write(pipe[1], b"y" * 10)
    assert (first.wait(20), second.wait(20)) == (7, 7)
    told = json.loads((tmp_path / "first").read_text())
    assert told["parent"] == os.getpid()
    assert told["session"] == first.pid
    assert told["command"] == [sys.executable, "-P", "-m", "born"]
    assert set(told["environment"]) == {"TELL", "A_PIPE"}
    assert told["input"] == ""
    assert told["shared"]
    assert json.loads((tmp_path / "second").read_text())["session"] == second.pid


def test_it_is_signalled_and_reaped_as_any_other(nursery: Nursery, tmp_path: Path, pipe: tuple[int, int]) -> None:
    (child,) = nursery.bear(births(tmp_path, pipe, "one", SLEEP="yes"))
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL
    child.send_signal(signal.SIGKILL)  # nobody is hit: its number may be another's by now
    assert child.poll() == child.returncode == -signal.SIGKILL


PLAIN = """
import os, pathlib

def main():
    pathlib.Path(os.environ["TELL"]).write_text(str(os.getppid()))
"""


def test_a_program_that_knows_no_gate_is_held(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    told = tmp_path / "told"
    gate = Gate()
    assert gate.held is not None
    (child,) = nursery.bear([Birth("plain", {"TELL": str(told)}, {GATE: gate.held}, held=True)])
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.1)
    assert not told.exists()
    gate.open()
    assert child.wait(20) == 0
    assert told.read_text() == str(os.getpid())


def test_one_that_cannot_import_ends_alone(nursery: Nursery, tmp_path: Path, pipe: tuple[int, int]) -> None:
    broken, whole = nursery.bear([Birth("unborn.__main__", {}, {}), *births(tmp_path, pipe, "whole")])
    assert broken.wait(20) == 1
    os.write(pipe[1], b"x")
    assert whole.wait(20) == 7


def test_a_nursery_that_cannot_begin_is_an_error_not_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError, match=r"has ended|[Bb]roken pipe|reset|not connected"):
        Nursery().bear([Birth("born.__main__", {}, {})])


def test_nobody_lives_on_when_not_all_are_born(nursery: Nursery, tmp_path: Path, pipe: tuple[int, int]) -> None:
    closed = os.dup(pipe[0])
    os.close(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        nursery.bear([*births(tmp_path, pipe, "one", "two"), Birth("born.__main__", {}, {"A_PIPE": closed})])
    assert not [child for child in psutil.Process().children() if "born" in child.cmdline()]


def test_one_that_is_not_needed_ends_when_it_is_closed(nursery: Nursery) -> None:
    nursery.close()
    nursery.close()
    with pytest.raises(OSError, match=r"."):
        nursery.bear([Birth("born.__main__", {}, {})])


def test_orphans_are_no_longer_ours_afterwards(nursery: Nursery, tmp_path: Path, pipe: tuple[int, int]) -> None:
    """Else what a killed agent leaves would stay a zombie: nobody here waits for it."""
    (child,) = nursery.bear(births(tmp_path, pipe, "one"))
    os.write(pipe[1], b"x")
    child.wait(20)
    script = "import os, subprocess, sys; print(subprocess.Popen(['/bin/sleep', '0']).pid)"
    orphan = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    with pytest.raises(ChildProcessError):
        os.waitpid(orphan, 0)


def test_one_that_somebody_else_reaped_has_ended() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert Forked(process.pid).wait(1) == 255
