"""`make tools`: servers of others that some tests run against, built or installed below `.cache`.

What is written in Go comes from its module proxy, which keeps the digest of every version public (sum.golang.org), so a
version is always the same source; what is written in JavaScript comes from npm, in one version, without the scripts of
its parts being run. Each is made once; tests that miss one skip, saying that this is how to get it.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts import bare_debian, go_modules, kubernetes_schemas
from scripts.environment import ROOT, one_at_a_time

FOLDER = ROOT / ".cache/bin"
BUILD_SECONDS = 1800  # a minute on an idle machine, ten on one that is busy, and a compiler may have to be fetched
IPFS_FOLDER = ROOT / ".cache/ipfs"
IPFS = IPFS_FOLDER / "node_modules/.bin/jsipfs"
IPFS_VERSION = "0.66.1"  # a node in JavaScript (MIT, Apache-2.0): Go's own cannot be built from its module alone
NPM_SECONDS = 900  # a thousand small packages: three minutes


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
    # Renders and installs our chart (Apache-2.0); kubeconform holds what it renders against Kubernetes' own schemas.
    Tool("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    Tool("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0"),
)


PROMCHECK = FOLDER / "promcheck"
"""Reads alert rules and PromQL with Prometheus' own parsers: promtool cannot be installed from its module alone."""
_PROMCHECK_SOURCE = ROOT / "scripts/promcheck"


def main() -> int:
    """Make what is missing; 1 and a sentence on stderr where that fails, or where no compiler is.

    `--compared`: what benchmarks take turns with, and nothing else.
    """
    with one_at_a_time(ROOT / ".cache"):
        if sys.argv[1:] == ["--compared"]:
            FOLDER.mkdir(parents=True, exist_ok=True)
            return go_modules.build_missing(FOLDER, go_modules.COMPARED)
        return max(
            build_all(),
            build_promcheck(),
            go_modules.build_missing(FOLDER),
            install_ipfs(),
            kubernetes_schemas.main(),
            make_bare_debian(),
        )


def build_promcheck() -> int:
    """Build our few lines around Prometheus' parsers."""
    go, stamp = shutil.which("go"), FOLDER / ".promcheck"
    version = "".join((_PROMCHECK_SOURCE / name).read_text("utf-8") for name in ("main.go", "go.sum"))
    if PROMCHECK.exists() and stamp.exists() and stamp.read_text("utf-8") == version:
        return 0
    if go is None:
        sys.stderr.write("No `go` command here, so promcheck cannot be built; tests that want it will skip.\n")
        return 1
    sys.stderr.write("Building promcheck into .cache/bin ...\n")
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [go, "build", "-trimpath", "-o", str(PROMCHECK), "."]
    try:
        code = subprocess.run(command, cwd=_PROMCHECK_SOURCE, check=False, timeout=BUILD_SECONDS).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code != 0:
        sys.stderr.write("promcheck could not be built; tests that want it will skip.\n")
        return 1
    stamp.write_text(version, "utf-8")
    return 0


def build_all() -> int:
    """Build what is missing of what is written in Go."""
    FOLDER.mkdir(parents=True, exist_ok=True)
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


def make_bare_debian() -> int:
    """Make the Debians that a test sets Skrei up on, where that can be done; elsewhere it says what it needs."""
    if bare_debian.why_not():
        return 0
    try:
        for suite in bare_debian.SUITES:
            bare_debian.made(ROOT / ".cache", suite)
    except RuntimeError as error:
        sys.stderr.write(f"A bare Debian for tests/e2e/test_bootstrap.py could not be made: {error}\n")
        return 1
    return 0


def install_ipfs() -> int:
    """Install a node of IPFS, which is a program for Node.js."""
    stamp = IPFS_FOLDER / "version"
    if IPFS.exists() and stamp.exists() and stamp.read_text() == IPFS_VERSION:
        return 0
    npm = shutil.which("npm")
    if npm is None:
        sys.stderr.write("No `npm` command here, so js-ipfs cannot be installed; tests that want it will skip.\n")
        return 1
    sys.stderr.write(f"Installing js-ipfs {IPFS_VERSION} into .cache/ipfs ...\n")
    IPFS_FOLDER.mkdir(parents=True, exist_ok=True)
    quiet = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    safe = ("--omit=optional", "--ignore-scripts")
    command = [npm, "install", "--prefix", str(IPFS_FOLDER), *quiet, *safe, f"ipfs@{IPFS_VERSION}"]
    try:
        code = subprocess.run(command, check=False, timeout=NPM_SECONDS, stdin=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if code != 0 or not IPFS.exists():
        sys.stderr.write("js-ipfs could not be installed; tests that want it will skip.\n")
        return 1
    stamp.write_text(IPFS_VERSION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
