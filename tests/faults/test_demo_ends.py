"""A demo that does not go to its end, or is told to stay: it stops what it started, or says how to."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo_runs import STOP_SECONDS, a_place, left_behind, nothing_is_left, run, start

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place() -> Iterator[Path]:
    with a_place() as folder:
        yield folder


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
