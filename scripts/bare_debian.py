"""Bare Debians below `.cache`, with git, make and python3 alone: what tests/e2e/test_bootstrap.py copies for itself.

`make tools` makes them where they can be made (root, debootstrap), since they are downloaded: that takes what time it
takes.
"""

import os
import shutil
import subprocess
from pathlib import Path

SUITES = ("bookworm", "trixie")  # Debian 12, whose Python is the oldest that Skrei supports (3.11), and 13 (3.13)
PACKAGES = ("git", "make", "python3")


def why_not() -> str:
    """Return why a bare Debian cannot be made here; empty when it can."""
    if os.geteuid() != 0:
        return "needs root: it makes a Debian root with debootstrap and changes into it"
    missing = [tool for tool in ("debootstrap", "unshare", "chroot") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def made(cache: Path, suite: str) -> Path:
    """Return the folder of a bare Debian, made if it is not there. Raises RuntimeError with debootstrap's words."""
    kept = cache / f"debian-{suite}"
    if not kept.exists():
        partial = cache / f"debian-{suite}.{os.getpid()}"
        partial.mkdir(parents=True)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(partial)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"debootstrap failed:\n{done.stdout[-4000:]}")
        partial.rename(kept)
    return kept
