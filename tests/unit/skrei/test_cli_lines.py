"""Lines beside the output come from several threads: each stands whole, with its own end."""

import io
import sys
from pathlib import Path
from threading import Barrier, Thread

import pytest

from skrei.cli import render

LINES = 2_000
"""Of each thread: where a line and its end were two writes, a tenth of so many stood joined."""
TEXT = "node n-1 does not answer"


def test_lines_of_several_threads_stand_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(2)

    def tell(label: int) -> None:
        for _ in range(LINES):
            together.wait()
            render.note(f"[{label}] {TEXT}")

    # As PYTHONUNBUFFERED makes it, which containers often set.
    with (tmp_path / "err").open("wb", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as err:
        monkeypatch.setattr(sys, "stderr", err)
        threads = [Thread(target=tell, args=(label,)) for label in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said = (tmp_path / "err").read_text().splitlines()
    assert sorted(said) == sorted([f"[0] {TEXT}", f"[1] {TEXT}"] * LINES)


def test_who_has_closed_standard_error_is_told_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python starts with `2>&-`
    render.note(TEXT)
    assert capsys.readouterr().out == f"{TEXT}\n"
