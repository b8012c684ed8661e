"""The command line in this process, as a person types it."""

import sys
from collections.abc import Callable

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
