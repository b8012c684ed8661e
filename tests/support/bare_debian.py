"""A Debian with git, make and python3 alone, in a folder: where a newcomer's first commands are tried."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.bare_debian import made, why_not

__all__ = ["BareDebian", "make", "why_not"]

USER = "ada"

# What tells a machine how to reach a package index; a newcomer's machine would have its own.
INHERITED = ("PIP_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class BareDebian:
    """A root folder with an ordinary user, who has no sudo. Nothing of the host can be written from inside."""

    root: Path

    def run(self, script: str, *, cwd: str, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a shell script as the user, in namespaces of its own: whatever it leaves running ends with it."""
        inside = (
            'mount -t tmpfs tmpfs "$0/dev/shm" && mount -t devpts devpts "$0/dev/pts" && '
            'chroot --userspec="$1:$1" "$0" /bin/sh -c "$2"'
        )
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root}/proc"]
        command += ["/bin/sh", "-c", inside, str(self.root), USER, f'cd "{cwd}" && {script}']
        return subprocess.run(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def give_to_user(self, path: str) -> None:
        """Make the user the owner of what lies at a path of the root."""
        check(["chroot", str(self.root), "chown", "-R", f"{USER}:{USER}", f"/{path}"])

    def _environment(self) -> Mapping[str, str]:
        told = {key: value for key, value in os.environ.items() if key.startswith(INHERITED)}
        own = {"HOME": f"/home/{USER}", "USER": USER, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        return told | own | {"LANG": "C.UTF-8", "TERM": "dumb"}


def make(cache: Path, root: Path, suite: str) -> BareDebian:
    """Return a fresh Debian in `root`, copied from the one that `make tools` or the first call leaves in `cache`."""
    check(["cp", "-a", "--reflink=auto", f"{made(cache, suite)}/.", str(root)])
    root.chmod(0o755)
    for name in (*FILES, *filter(None, map(os.environ.get, ("PIP_CERT", "SSL_CERT_FILE", "PIP_CONFIG_FILE")))):
        if Path(name).is_file():
            target = root / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, target)
    check(["chroot", str(root), "useradd", "--create-home", USER])
    return BareDebian(root)


def check(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-4000:]}"
