"""A real Postgres of our own: initialised, started, stopped and started again in a folder below the data folder.

It is reached through a unix socket in a private folder, by the account that runs Skrei alone (`peer`), as the
database user `skrei`. It is durable as Postgres is by default. As root it runs under an unprivileged account.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from skrei_domain.errors import Invalid, Unavailable
from skrei_embedded.installs import PostgresInstall, find_postgres, readable_by
from skrei_embedded.processes import Account, Process, Spawner, command_of, end, run_as, unprivileged

DATABASE = USER = "skrei"
PORT = 5432  # only part of the socket's name
LONGEST_SOCKET = 107  # bytes that a socket's path may have
START_SECONDS = 60.0  # recovery after a crash on a slow disk is most of it
STOP_SECONDS = 4.0  # a fast stop writes one checkpoint; after it an immediate one, which is safe and recovered from
OLD_LOG_BYTES = 10_000_000
KEPT_BYTES = 512 * 1024
"""What a backend's C library keeps of memory that was given back. By itself it keeps ever more, up to twice the largest
piece that a statement has used once (measured after 10,000 jobs: 54 instead of 47 MB for seven of them)."""
ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C",
    "TZ": "UTC",
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
}

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket alone
    "max_connections": "100",  # a dozen by services; the rest for people and tests
    "shared_buffers": "12MB",  # what queue-like tables are at work on; the system's cache holds the rest
    "max_logical_replication_workers": "0",  # nobody replicates it; its launcher would be one more process
    "max_wal_size": "512MB",  # fewer checkpoints under a burst; bounded on disk
    "jit": "off",  # short statements only
    "autovacuum_naptime": "10s",  # queue-like tables turn over in seconds
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class PostgresFailed(Unavailable):
    """Postgres could not be initialised or started; its own words are in the message or its log."""

    code = "postgres-failed"


class Postgres:
    """One Postgres. `settings` override SETTINGS (tests give durability away, nobody else)."""

    def __init__(self, data_dir: Path, spawner: Spawner, *, settings: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir
        self._cluster = data_dir / "postgres"
        self._spawner = spawner
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = unprivileged()
        self._install: PostgresInstall | None = None
        self._sockets: Path | None = None
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """Where the record is, for clients that run as we do."""
        assert self._sockets is not None, "settled before"
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._sockets))}&port={PORT}"

    def settle(self) -> None:
        """Choose where its socket will be. Raises Invalid where the account cannot pass."""
        if self._account is not None:
            check_passable(self._data_dir, self._account)
        self._sockets = self._socket_folder()

    def prepare(self) -> None:
        """Find programs, make the database if there is none, and end what an earlier life left. It may take a second.

        Raises NotInstalled and PostgresFailed.
        """
        assert self._sockets is not None, "settled before"
        major = self._major()
        self._install = readable_by(find_postgres(major), self._account, self._data_dir)
        if major is None:
            self._initialise(self._install)
        self._end_predecessor()

    def spawn(self) -> Process:
        """Start the server and return at once. Call it from the main thread."""
        assert self._install is not None, "prepared before"
        log_path = self._data_dir / "logs" / "postgres.log"
        log_path.parent.mkdir(mode=0o700, exist_ok=True)
        if log_path.exists() and log_path.stat().st_size > OLD_LOG_BYTES:
            log_path.replace(log_path.with_suffix(".log.old"))
        server = [str(self._install.binaries / "postgres"), "-D", str(self._cluster)]
        options = [item for name, value in self._settings.items() for item in ("-c", f"{name}={value}")]
        with log_path.open("ab") as log:
            self.process = self._spawner.start(
                [*server, "-k", str(self._sockets), "-p", str(PORT), *options],
                environment=ENVIRONMENT,
                log=log,
                account=self._account,
                death_signal=signal.SIGINT,  # its word for a fast stop
            )
        return self.process

    def is_ready(self) -> bool:
        """Whether it takes connections. Raises PostgresFailed when it has ended instead."""
        assert self.process is not None, "spawned before"
        if self.process.poll() is not None:
            raise PostgresFailed(f"Postgres ended while it started; see {self._data_dir}/logs/postgres.log")
        lines = self._pid_file()
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def start(self) -> None:
        """Settle, prepare, spawn and wait until it takes connections."""
        self.settle()
        self.prepare()
        self.spawn()
        until = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > until:
                self.stop()
                raise PostgresFailed(f"Postgres did not start within {START_SECONDS:g} s")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it, fast or at once; both lose nothing that was committed."""
        if self.process is not None:
            stop_process(self.process)
        if self._sockets is not None and self._sockets.parent != self._data_dir:
            shutil.rmtree(self._sockets, ignore_errors=True)

    # ---------------------------------------------------------------- inside

    def _major(self) -> int | None:
        with contextlib.suppress(FileNotFoundError):
            return int((self._cluster / "PG_VERSION").read_text("ascii"))
        return None

    def _initialise(self, install: PostgresInstall) -> None:
        """Make the cluster beside its place and move it there whole: a crash leaves nothing half done.

        What is written is synced once, at the end, not after each step: a quarter of a second less.
        """
        half = self._data_dir / "postgres.new"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        self._give(half)
        options = ["-U", USER, "-E", "UTF8", "--locale=C.UTF-8", "--auth-local=peer", "--auth-host=reject"]
        initdb = [str(install.binaries / "initdb"), "-D", str(half)]
        self._checked([*initdb, "--no-instructions", "--no-sync", *options])
        me = pwd.getpwuid(os.geteuid()).pw_name
        (half / "pg_hba.conf").write_text(f"local all {USER} peer map={USER}\n", "ascii")
        (half / "pg_ident.conf").write_text(f'{USER} "{me}" {USER}\n', "utf-8")
        self._checked(
            [str(install.binaries / "postgres"), "--single", "-F", "-D", str(half), "postgres"],
            text=f"CREATE DATABASE {DATABASE};\n",
        )
        self._checked([*initdb, "--sync-only"])
        half.rename(self._cluster)

    def _checked(self, command: list[str], *, text: str | None = None) -> None:
        try:
            code, told = run_as(self._account, command, text=text)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostgresFailed(f"{command[0]} cannot be run: {error}") from error
        if code != 0 or "ERROR" in told or "FATAL" in told:
            raise PostgresFailed(f"{command[0]} failed with exit code {code}:\n{told}")

    def _socket_folder(self) -> Path:
        folder = self._data_dir / "run"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) <= LONGEST_SOCKET:
            folder.mkdir(mode=0o700, exist_ok=True)
        else:
            folder = Path(tempfile.mkdtemp(prefix="skrei-", dir="/tmp"))
        self._give(folder)
        return folder

    def _give(self, folder: Path) -> None:
        if self._account is not None:
            os.chown(folder, self._account.uid, self._account.gid)

    def _pid_file(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self._cluster / "postmaster.pid").read_text("utf-8", errors="replace").splitlines()
        return []

    def _end_predecessor(self) -> None:
        """End a server that outlived its supervisor; drop a pid file whose process is somebody else today."""
        lines = self._pid_file()
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        until = time.monotonic() + STOP_SECONDS
        while self._serves_us(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if time.monotonic() < until else signal.SIGQUIT)
            if time.monotonic() > 2 * STOP_SECONDS + until:
                raise PostgresFailed(f"an earlier Postgres (process {pid}) holds {self._cluster} and does not stop")
            time.sleep(0.05)
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _serves_us(self, pid: int) -> bool:
        return str(self._cluster) in command_of(pid)


def stop_process(process: Process) -> None:
    """Stop a Postgres: fast (open transactions are rolled back), then at once."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    end(process, wait_seconds=1.0, gently=signal.SIGQUIT)


def check_passable(data_dir: Path, account: Account) -> None:
    """Raise Invalid, naming the folder, unless the account can pass all folders down to `data_dir`."""
    for folder in (*reversed(data_dir.parents), data_dir):
        if not folder.exists():
            return  # ours to make, and passable then
        code, _ = run_as(account, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)])
        if code != 0:
            raise Invalid(
                f"the database user {account.name!r} cannot pass {folder}, on the way to --data-dir {data_dir}",
                hint="choose one that other users can pass, such as /var/lib/skrei, or open this one with chmod o+x",
            )
