"""A stack is brought back from a backup while its node holds what is newer: nothing of it is lost or done twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.live_stack import LiveStack, live_stack, sleeper_job

pytestmark = pytest.mark.faults


def skrei(*words: str | Path) -> str:
    """Run the command; return what it said."""
    command = [str(Path(sys.executable).with_name("skrei")), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"NO_COLOR": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_node_from_the_future_of_a_restored_record_is_heard_and_stopped(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    with live_stack() as stack:
        first = stack.submit(sleeper_job(0))
        assert stack.wait_for([first], 30) == {first: "Completed"}
        assert "1 jobs" in skrei("admin", "backup", saved, "--data-dir", stack.folder / "data")
        newer = stack.submit(sleeper_job(0))
        stack.wait_for([newer], 30)
        running = stack.submit(sleeper_job(600))
        stack.wait_until(lambda: stack.state_of(running) == "Running", 20, "it runs")
        old = stack.folder / "data"
        stack.stop()
        restored = stack.folder / "restored"
        restored.mkdir(mode=0o711)
        told = skrei("admin", "restore", saved, "--data-dir", restored / "data")
        assert "timeline 2" in told
        shutil.move(old / "agent", restored / "data" / "agent")  # its journal is of a time that the record has not seen
        again = LiveStack(restored)
        try:
            _goes_on(again, first, newer, running)
        finally:
            again.stop()


def _goes_on(stack: LiveStack, first: str, newer: str, running: str) -> None:
    assert stack.state_of(first) == "Completed"
    stack.check_once(first)
    for unknown in (newer, running):
        assert stack.client.get(f"/jobs/{unknown}").status_code == 404

    def greeted() -> bool:
        """In the new timeline its log begins anew."""
        lines = [line for line in stack.log.read_text().splitlines() if '"event": "greeted"' in line]
        return any('"timeline": 2' in line and '"incarnation": 2' in line for line in lines)

    stack.wait_until(greeted, 20, "the record knows its node again")
    after = stack.submit(sleeper_job(0, cpu="1"))
    assert stack.wait_for([after], 30) == {after: "Completed"}
    stack.check_once(after)

    def free() -> bool:
        (node,) = stack.call("GET", "/nodes")["Nodes"]
        compute = node["Info"]["ComputeNodeInfo"]
        return bool(compute["AvailableCapacity"] == compute["MaxCapacity"])

    stack.wait_until(free, 30, "what the record does not know was stopped, and holds nothing of the node")
