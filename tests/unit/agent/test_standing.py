"""What an agent leaves for whoever started it, and what that reads of it."""

import json
import os
from pathlib import Path

from skrei_compute_agent.standing import FILE, Standing


def told(folder: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((folder / FILE).read_text())
    return document


def test_it_tells_the_last_state_with_its_reason(tmp_path: Path) -> None:
    standing = Standing(tmp_path)
    standing.waiting("NATS does not listen", "start it")
    assert told(tmp_path) == {
        "pid": os.getpid(),
        "state": "waiting",
        "reason": "NATS does not listen",
        "hint": "start it",
    }
    standing.greeted()
    assert told(tmp_path)["state"] == "greeted"
    standing.forget()
    assert not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    Standing(tmp_path / "not" / "there").greeted()
