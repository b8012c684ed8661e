"""Agents that share a disk: each has a folder of its own, and a later one goes on with what a former left."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skrei_compute_agent import slots

TAKE = """
import sys
from pathlib import Path
from skrei_compute_agent import slots
print(slots.take(Path(sys.argv[1]), 2).name, flush=True)
sys.stdin.read()
"""


@contextmanager
def another(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """An agent that took its folder; yields which, and itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with process:
            yield process.stdout.readline().strip(), process
    finally:
        process.kill()


def test_each_has_a_folder_of_its_own_and_one_too_many_is_told_so(tmp_path: Path) -> None:
    with another(tmp_path) as (first, killed), another(tmp_path) as (second, _):
        assert (first, second) == ("1", "2")
        with pytest.raises(slots.NoSlot, match="all 2 data folders below") as told:
            slots.take(tmp_path, 2)
        assert "SKREI_DATA_SLOTS" in told.value.hint
        killed.kill()
        killed.wait(10)
        assert slots.take(tmp_path, 2).name == "1"
