"""What a node installs is there for 64-bit ARM too, as the package index says: boxes at the edge are mostly that.

Nothing is downloaded: the files that the lock names by their digests are looked up, for a machine that is not here.
"""

import os
import subprocess
from pathlib import Path

import pytest

from scripts import environment, pip_settings
from scripts.environment import ROOT
from scripts.sbom import pins

PURE = {"nkeys"}
"""Comes as source alone, Python without a compiler: built into a wheel on whatever machine."""


def look_up(folder: Path, lines: list[str]) -> subprocess.CompletedProcess[str]:
    (folder / "lock.txt").write_text("\n".join(lines))
    settings = pip_settings.read()
    words = environment.uv_environment(settings, os.environ)
    uv = environment.find_uv(settings, words)
    where = ["--dry-run", "--target", str(folder / "nowhere"), "--python-version", "3.13"]
    where += ["--python-platform", "aarch64-unknown-linux-gnu"]
    how = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(folder / "lock.txt")]
    return subprocess.run(
        [uv, "pip", "install", *where, *how], env=words, capture_output=True, text=True, timeout=100, check=False
    )


def locked() -> list[str]:
    """The lines of the agent's lock, without what is pure source."""
    lines: list[str] = []
    kept = True
    for line in (ROOT / "requirements/images/compute-agent.txt").read_text().splitlines():
        if not line.startswith((" ", "#")):
            kept = line.partition("==")[0] not in PURE
        if kept:
            lines.append(line)
    return lines


def test_every_locked_wheel_of_a_node_exists_for_arm64(tmp_path: Path) -> None:
    wanted = pins("\n".join(locked()))
    found = look_up(tmp_path, locked())
    if "error sending request" in found.stderr or "Network connectivity is disabled" in found.stderr:
        pytest.skip("the package index cannot be reached, which knows what there is for other machines")
    assert found.returncode == 0, found.stderr
    assert f"Would install {len(wanted)} packages" in found.stderr
    without = look_up(tmp_path, ["nkeys==0.2.1 --hash=sha256:" + "0" * 64])
    assert without.returncode != 0, "a wheel that is not there is noticed"
