"""Programs start where Python keeps no docstrings (`PYTHONOPTIMIZE=2`), though what they say of themselves is one."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["skrei_store.migrate", "skrei_store.backup"])
def test_a_program_without_docstrings_tells_its_usage(module: str) -> None:
    command = [sys.executable, "-OO", "-B", "-m", module, "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.startswith(f"usage: {module}")
