"""Go commands that `go install` refuses, because their module replaces or excludes others: built from a module of ours.

A folder with a go.mod that requires the command's module, and a file that imports its package, is all that Go wants.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BUILD_SECONDS = 1800  # two minutes on an idle machine, ten and more on one that is busy


@dataclass(frozen=True, slots=True)
class GoCommand:
    """A command, the module that holds it, and its package in there."""

    name: str
    module: str
    version: str
    package: str


COMMANDS = (
    # `docker compose` and the builder that it uses, as plugins of Docker's command line (Apache-2.0). Debian's are
    # years older; a newer buildx does not build.
    GoCommand("docker-compose", "github.com/docker/compose/v2", "v2.40.3", "cmd"),
    GoCommand("docker-buildx", "github.com/docker/buildx", "v0.29.1", "cmd/buildx"),
)

COMPARED = (
    # A parallel client of S3 (MIT), which benchmarks/data.py takes turns with; no test wants it. `go install` asks for
    # a list of all versions, which not every proxy gives.
    GoCommand("s5cmd", "github.com/peak/s5cmd/v2", "v2.3.0", ""),
)


def built(command: GoCommand, folder: Path) -> bool:
    """Whether it is there in the wanted version."""
    stamp = _stamp(command, folder)
    return (folder / command.name).exists() and stamp.exists() and stamp.read_text() == command.version


def build(command: GoCommand, go: str, folder: Path) -> bool:
    """Build one into a folder, and say so: it takes minutes. False, with a sentence on stderr, where that fails."""
    sys.stderr.write(f"Building {command.name} {command.version} into .cache/bin ...\n")
    environment = os.environ | {"GOTOOLCHAIN": "auto", "GOFLAGS": "-mod=mod -trimpath -buildvcs=false", "GOWORK": "off"}
    package = f"{command.module}/{command.package}".rstrip("/")
    with tempfile.TemporaryDirectory(prefix="skrei-go-") as work:
        at = Path(work)
        (at / "go.mod").write_text(
            f"module skrei.test/tools\n\ngo 1.24.0\n\nrequire {command.module} {command.version}\n"
        )
        (at / "tools.go").write_text(f'//go:build tools\n\npackage tools\n\nimport _ "{package}"\n')
        partial = folder / f"{command.name}.{os.getpid()}"
        try:
            done = subprocess.run(
                [go, "build", "-ldflags", "-s -w", "-o", str(partial), package],
                cwd=at,
                env=environment,
                check=False,
                timeout=BUILD_SECONDS,
            )
        except subprocess.TimeoutExpired:
            done = None
    if done is None or done.returncode != 0:
        partial.unlink(missing_ok=True)
        sys.stderr.write(f"{command.name} could not be built; tests that want it will skip.\n")
        return False
    partial.replace(folder / command.name)
    _stamp(command, folder).write_text(command.version)
    return True


def build_missing(folder: Path, commands: Sequence[GoCommand] = COMMANDS) -> int:
    """Build what is missing; 1 where that fails, or where no compiler is."""
    missing = [command for command in commands if not built(command, folder)]
    go = shutil.which("go")
    if missing and go is None:
        names = ", ".join(command.name for command in missing)
        sys.stderr.write(f"No `go` command here, so {names} cannot be built; tests that want it will skip.\n")
        return 1
    return max((0 if build(command, str(go), folder) else 1 for command in missing), default=0)


def _stamp(command: GoCommand, folder: Path) -> Path:
    return folder / f".{command.name}"
