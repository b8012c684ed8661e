"""The command line in this process, as a person types it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skrei.cli.main import main


@pytest.fixture
def skrei(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `skrei` with these words; returns its exit code."""

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["skrei", *words])
        try:
            main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return run


@pytest.fixture
def own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of this user's node, in whose usual place everything is looked for."""
    monkeypatch.setenv("SKREI_DATA_DIR", str(tmp_path / "stack"))
    monkeypatch.delenv("SKREI_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "stack" / "agent"
    (folder / "journal").mkdir(parents=True)
    return folder


@pytest.fixture
def printed(skrei: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `skrei` with these words; returns its exit code and what it printed."""

    def run(*words: str) -> tuple[int, str, str]:
        code = skrei(*words)
        return code, *capsys.readouterr()

    return run
