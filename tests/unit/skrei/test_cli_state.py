import json
import os
from pathlib import Path

import pytest

from skrei import credentials, state
from skrei.cli.references import job_named
from skrei.errors import Rejected

HERE = "http://127.0.0.1:1234"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SKREI_API_KEY", raising=False)
    return tmp_path


def stack(folder: Path, url: str, pid: int, token: str = "secret") -> Path:
    (folder / "keys").mkdir(parents=True)
    (folder / "stack.json").write_text(json.dumps({"pid": pid, "api_url": url}))
    (folder / "keys" / "owner.token").write_text(f"{token}\n")
    state.remember_folder(folder)
    return folder


def test_the_last_job_is_one_of_each_api() -> None:
    state.remember_job(HERE, "j-1")
    state.remember_job("http://other:1", "j-2")
    state.remember_job(HERE, "j-3")
    assert (job_named("-", HERE), job_named("-", "http://other:1")) == ("j-3", "j-2")
    assert job_named("wordcount", HERE) == "wordcount"
    with pytest.raises(Rejected, match="`-` is the last job, and none"):
        job_named("-", "http://third:1")


def test_only_the_latest_are_remembered_and_an_unreadable_file_costs_nothing() -> None:
    for number in range(state.MOST_REMEMBERED + 5):
        state.remember_job(f"http://h:{number}", f"j-{number}")
    assert state.last_job("http://h:0") == ""
    (state.folder() / "last-jobs.json").write_text("{")
    assert state.last_job("http://h:9") == ""
    state.remember_job(HERE, "j-9")
    assert state.last_job(HERE) == "j-9"


def test_the_owner_s_token_is_sent_to_the_own_stack_alone(home: Path) -> None:
    stack(home / "data", HERE, os.getpid())
    assert credentials.headers_for(HERE) == {"Authorization": "Bearer secret"}
    assert credentials.headers_for("http://localhost:1234") == {"Authorization": "Bearer secret"}
    assert credentials.headers_for("http://127.0.0.1:9999") == {}
    assert credentials.headers_for("http://h.example:1234") == {}


def test_the_token_of_a_stack_that_ended_is_not_sent(home: Path) -> None:
    ended = 2**22 + 1  # above the highest pid
    stack(home / "data", HERE, ended)
    assert credentials.headers_for(HERE) == {}


def test_a_given_token_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(home / "data", HERE, os.getpid())
    monkeypatch.setenv("SKREI_API_KEY", " given ")
    assert credentials.headers_for(HERE) == {"Authorization": "Bearer given"}
    assert credentials.headers_for("https://h.example") == {"Authorization": "Bearer given"}
