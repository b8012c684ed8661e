"""A Debian with git, make and python3 alone, in a folder: where a newcomer's first commands are tried."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"  # Debian 12, whose Python is 3.11: the oldest that Skrei supports
PACKAGES = ("git", "make", "python3")
USER = "ada"

# What tells a machine how to reach a package index; a newcomer's machine would have its own.
INHERITED = ("PIP_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


def why_not() -> str:
    """Return why a bare Debian cannot be made here; empty when it can."""
    if os.geteuid() != 0:
        return "needs root: it makes a Debian root with debootstrap and changes into it"
    missing = [tool for tool in ("debootstrap", "unshare", "chroot") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""


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


def make(cache: Path, root: Path) -> BareDebian:
    """Return a fresh Debian in `root`, copied from the one that the first call leaves in `cache`."""
    kept = cache / f"debian-{SUITE}"
    if not kept.exists():
        partial = cache / f"debian-{SUITE}.{os.getpid()}"
        partial.mkdir(parents=True)
        check(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(partial)])
        partial.rename(kept)
    check(["cp", "-a", "--reflink=auto", f"{kept}/.", str(root)])
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
