"""`make tools`: servers of others that some tests run against, built into `.cache/bin` where a Go compiler is.

They come from Go's module proxy, which keeps the digest of every version public (sum.golang.org), so a version is
always the same source. Built once; tests that miss one skip, saying that this is how to get it.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.environment import ROOT, one_at_a_time

FOLDER = ROOT / ".cache/bin"
BUILD_SECONDS = 900  # a minute on an idle machine; a slow one that also fetches a compiler needs some


@dataclass(frozen=True, slots=True)
class Tool:
    """A command and the Go package that it is built of."""

    name: str
    package: str
    version: str

    @property
    def stamp(self) -> Path:
        return FOLDER / f".{self.name}"


TOOLS = (
    # An S3 server that checks signatures, digests and conditions as Amazon's does (Apache-2.0).
    Tool("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"),
)


def main() -> int:
    """Build what is missing; 1 and a sentence on stderr where that fails, or where no compiler is."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(ROOT / ".cache"):
        missing = [tool for tool in TOOLS if not built(tool)]
        go = shutil.which("go")
        if missing and go is None:
            names = ", ".join(tool.name for tool in missing)
            sys.stderr.write(f"No `go` command here, so {names} cannot be built; tests that want it will skip.\n")
            return 1
        return max((build(tool, str(go)) for tool in missing), default=0)


def built(tool: Tool) -> bool:
    """Whether a tool is there in the wanted version."""
    return (FOLDER / tool.name).exists() and tool.stamp.exists() and tool.stamp.read_text() == tool.version


def build(tool: Tool, go: str) -> int:
    """Build one, and say so: it takes a minute."""
    sys.stderr.write(f"Building {tool.name} {tool.version} into .cache/bin ...\n")
    environment = os.environ | {"GOBIN": str(FOLDER), "GOTOOLCHAIN": "auto", "GOFLAGS": "-trimpath"}
    command = [go, "install", f"{tool.package}@{tool.version}"]
    try:
        code = subprocess.run(command, env=environment, check=False, timeout=BUILD_SECONDS).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code != 0:
        sys.stderr.write(f"{tool.name} could not be built; tests that want it will skip.\n")
        return 1
    tool.stamp.write_text(tool.version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
