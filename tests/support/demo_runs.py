"""`make demo` run in a folder of its own, and what it may leave there."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.servers import server_folder

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 60
STOP_SECONDS = 30


@contextmanager
def a_place() -> Iterator[Path]:
    """A folder of our own with the example in it, so that results and broken examples disturb nobody."""
    with server_folder() as folder:
        shutil.copytree(ROOT / "examples", folder / "examples")
        yield folder


def start(place: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "skrei.cli.demo"],
        cwd=place,
        env=os.environ | {"TMPDIR": str(place)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place: Path, **environment: str) -> tuple[int, str, str]:
    with start(place, **environment) as demo:
        out, err = demo.communicate(timeout=2 * LONGEST_SECONDS)
        return demo.returncode, out, err


def left_behind(place: Path) -> list[str]:
    """Processes that have something to do with the folder: in their arguments, their environment or as their place."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join([*process.cmdline(), *process.environ().values(), process.cwd()])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(place) in told and process.pid != os.getpid():
            found.append(" ".join(process.cmdline()))
    return found


def nothing_is_left(place: Path) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while left_behind(place) and time.monotonic() < deadline:
        time.sleep(0.1)  # other processes are awaited: there is nothing in this one to wait for
    return left_behind(place) == []
