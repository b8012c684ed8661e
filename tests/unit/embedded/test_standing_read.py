"""What a supervisor makes of an agent's standing, and of credentials that were named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skrei_domain.errors import Unavailable
from skrei_embedded.probe import NodeStanding, read_standing
from skrei_embedded.whereabouts import StackOptions, Whereabouts


def write(folder: Path, **changes: object) -> None:
    told = {"pid": os.getpid(), "state": "greeted", "reason": "", "hint": ""} | changes
    (folder / "standing.json").write_text(json.dumps(told))


def test_a_living_agent_that_was_greeted_is(tmp_path: Path) -> None:
    write(tmp_path)
    assert read_standing(tmp_path).state == "greeted"


def test_an_agent_that_has_ended_greets_nobody_but_leaves_its_last_word(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write(tmp_path, pid=gone.pid)
    assert read_standing(tmp_path) == NodeStanding()
    write(tmp_path, pid=gone.pid, state="waiting", reason="its id is held", hint="stop the other")
    assert read_standing(tmp_path) == NodeStanding("waiting", "its id is held", "stop the other")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x"}'])
def test_rubbish_is_no_standing(tmp_path: Path, text: str) -> None:
    (tmp_path / "standing.json").write_text(text)
    assert read_standing(tmp_path) == NodeStanding()


def test_credentials_are_checked_whoever_named_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Whereabouts(StackOptions()).check_creds()
    with pytest.raises(Unavailable, match=r"/nope \(--nats-creds\) cannot be read: No such file"):
        Whereabouts(StackOptions(nats_creds=Path("/nope"))).check_creds()
    text = tmp_path / "text"
    text.write_text("hello")
    monkeypatch.setenv("SKREI_NATS_CREDS", str(text))
    with pytest.raises(Unavailable, match=r"text \(SKREI_NATS_CREDS\) is no credentials file"):
        Whereabouts(StackOptions()).check_creds()
    monkeypatch.delenv("SKREI_NATS_CREDS")
    config = tmp_path / "config.yaml"
    config.write_text(f"nats_creds: {tmp_path}/gone\n")
    with pytest.raises(Unavailable, match=r"gone \(the config file\) cannot be read"):
        Whereabouts(StackOptions(config=config)).check_creds()
