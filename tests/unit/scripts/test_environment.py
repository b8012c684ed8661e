"""How the bootstrap chooses uv, tells it where to look, and keeps two set-ups apart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environment, fetch_uv
from scripts.environment import ROOT
from scripts.pip_settings import PipSettings


def fake_uv(folder: Path, version: str) -> Path:
    folder.mkdir()
    uv = folder / "uv"
    uv.write_text(f"#!/bin/sh\necho 'uv {version} (somewhere)'\n")
    uv.chmod(0o755)
    return uv


def test_a_recent_uv_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = fake_uv(tmp_path / "bin", "0.99.0")
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)
    assert environment.find_uv(PipSettings(), {}) == str(uv)


def test_an_old_uv_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = fake_uv(tmp_path / "bin", "0.4.30")
    monkeypatch.setenv("PATH", str(uv.parent), prepend=os.pathsep)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    pinned = tmp_path / f".cache/uv-{fetch_uv.VERSION}/uv"
    pinned.parent.mkdir(parents=True)
    pinned.touch()
    assert environment.find_uv(PipSettings(), {}) == str(pinned)


@pytest.mark.parametrize(
    ("text", "version"), [("uv 0.13.8 (x86_64-unknown-linux-gnu)\n", (0, 13, 8)), ("", ()), ("what?", ())]
)
def test_a_version_is_read_from_what_uv_says(text: str, version: tuple[int, ...]) -> None:
    assert environment.parse_version(text) == version


def test_what_the_user_told_uv_stands_above_what_pip_was_told() -> None:
    settings = PipSettings(index_url="https://pip.example/simple", certificates="/pip.pem")
    told = environment.uv_environment(settings, {"UV_DEFAULT_INDEX": "https://uv.example/simple", "UV_CACHE_DIR": "/c"})
    assert told["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
    assert told["SSL_CERT_FILE"] == "/pip.pem"
    assert told["UV_PYTHON_DOWNLOADS"] == "never"


def test_a_home_that_cannot_hold_a_cache_gets_one_in_the_checkout() -> None:
    told = environment.uv_environment(PipSettings(), {"HOME": "/dev/null/nowhere"})
    assert told["UV_CACHE_DIR"] == str(ROOT / ".cache/uv")


def test_a_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from scripts.environment import one_at_a_time\n"
        "with one_at_a_time(pathlib.Path(sys.argv[1])): print('in', flush=True)"
    )
    with environment.one_at_a_time(tmp_path):
        second = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert "waiting" in second.stderr.readline()
        assert second.poll() is None
    out, _ = second.communicate(timeout=30)
    assert out == "in\n"


def test_the_workspace_lists_its_packages() -> None:
    names = {str(folder.relative_to(ROOT)) for folder in environment.members(ROOT)}
    assert {"libs/domain", "libs/plugins/wasm", "services/scheduler"} <= names
    assert "libs/plugins" not in names


def test_a_python_that_is_newer_than_all_that_was_run_is_named_where_the_set_up_fails() -> None:
    assert environment.too_new(environment.NEWEST) == ""
    told = environment.too_new((3, 15))
    assert "for 3.15" in told
    assert told.endswith("make demo PYTHON=python3.14\n")
