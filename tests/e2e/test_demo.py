"""`make demo` as a newcomer runs it: real processes, from nothing to results and back to nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.servers import server_folder

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 60
STOP_SECONDS = 30
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place() -> Iterator[Path]:
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


def results(place: Path) -> Iterator[Path]:
    yield from (place / "demo-results").rglob("words.txt")


def read(out: str) -> dict[str, str]:
    """What each place is told to have read in place."""
    return dict(re.findall(r"^  count +(\w+) .*: (\S+ MB) read in place$", out, re.MULTILINE))


def test_two_demos_side_by_side_each_go_to_their_data_and_leave_nothing_but_results(place: Path) -> None:
    began = time.monotonic()
    with start(place) as first, start(place) as second:
        told = [demo.communicate(timeout=2 * LONGEST_SECONDS) for demo in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert time.monotonic() - began < LONGEST_SECONDS
    assert len(list(results(place))) == 2 * 4
    for out, _ in told:
        it_went_to_the_data(out)
    assert nothing_is_left(place)
    assert list(place.glob("skrei-demo-*")) == []


def it_went_to_the_data(out: str) -> None:
    assert read(out) == {"oslo": "24 MB", "lisbon": "20 MB", "ship": "17 MB"}, "each part ran where its books are"
    moved = re.search(r"^read in place 61 MB · moved ([\d.]+) KB$", out, re.MULTILINE)
    assert moved, "what lay there, and what of it travelled"
    assert float(moved[1]) < 100
    assert re.search(r"^  merge .* has room: \S+ KB moved to it, the counts of 3 parts$", out, re.MULTILINE)
    assert re.search(r"^  the +[\d,]+  #+$", out, re.MULTILINE)
    assert "State     = Completed" in out
    assert (
        len(re.findall(r"^  \S.*skrei'? (?:docker run|serve|doctor) .*$", out.split("Try next:")[1], re.MULTILINE)) == 3
    )


def test_a_demo_that_fails_shows_why_and_stops_everything(place: Path) -> None:
    module = next((place / "examples" / "wordcount").glob("*.wasm"))
    module.write_bytes(b"this is no module")
    code, out, err = run(place)
    assert code == 1
    assert "Error: The job ended as Failed." in err
    assert "--- the end of" in err
    assert "Why" in out
    assert nothing_is_left(place)


def test_a_demo_that_is_interrupted_stops_everything(place: Path) -> None:
    with start(place) as demo:
        assert demo.stdout is not None
        assert any(line.startswith("Submitting") for line in demo.stdout)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=STOP_SECONDS)
    assert demo.returncode == 130
    assert nothing_is_left(place)


def test_a_demo_that_is_killed_takes_its_stack_with_it(place: Path) -> None:
    with start(place) as demo:
        assert demo.stdout is not None
        assert any(line.startswith("Submitting") for line in demo.stdout)
        demo.kill()
        demo.communicate(timeout=STOP_SECONDS)
    assert nothing_is_left(place)


def test_keep_leaves_a_stack_that_the_printed_command_stops(place: Path) -> None:
    code, out, err = run(place, KEEP="1")
    assert code == 0, err + out
    stop = re.search(r"Stop it with: kill (\d+) (\d+) (\d+); rm -r (\S+)", out)
    assert stop
    api = re.search(r"Still running at (\S+)\.", out)
    assert api
    skrei = [sys.executable, "-m", "skrei.cli.main", "job", "list", "--api", api[1]]
    assert "Completed" in subprocess.run(skrei, capture_output=True, text=True, check=True).stdout
    assert left_behind(place), "what looks for what is left must see what is there"
    for pid in stop.groups()[:3]:
        os.kill(int(pid), signal.SIGTERM)
    assert nothing_is_left(place)
