"""The data folder: made with the right rights, held by one supervisor at a time, and telling who that is."""

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from skrei_domain.errors import Conflict, Invalid
from skrei_kit.secret_files import write_secret


class AlreadyRunning(Conflict):
    """Another supervisor holds the data folder; `details` says where it answers."""

    code = "already-running"


@dataclass(frozen=True)
class StackState:
    """What <data-dir>/stack.json tells: addresses, and pids with what tells them from later ones.

    `join_url` is the API as other machines reach it, empty where only this one does.
    """

    pid: int
    ready: bool = False
    api_url: str = ""
    publisher_url: str = ""
    nats_url: str = ""
    join_url: str = ""
    node_id: str = ""
    children: dict[str, int] = field(default_factory=dict)
    born: dict[str, str] = field(default_factory=dict)


def default_data_dir() -> Path:
    """Return /var/lib/skrei for root (a database user cannot pass /root), else ~/.skrei."""
    return Path("/var/lib/skrei") if os.geteuid() == 0 else Path.home() / ".skrei"


class Place:
    """A data folder. Open it, then `hold` it; it is let go when the process ends, whatever ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._lock: IO[bytes] | None = None

    def open(self) -> None:
        """Make the folder: as root passable by the database's user, else ours alone. Raises Invalid."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir()
                self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self._lock = (self.folder / "lock").open("ab")
        except OSError as error:
            raise Invalid(
                f"the data folder {self.folder} cannot be used: {error.strerror}", hint="choose another with --data-dir"
            ) from error

    def try_hold(self) -> bool:
        """Take the folder's lock if nobody has it."""
        assert self._lock is not None, "opened before"
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def let_go(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read(self) -> StackState | None:
        """Return what the last supervisor told; None when there is nothing to read."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return StackState(**json.loads((self.folder / "stack.json").read_text("utf-8")))
        return None

    def write(self, state: StackState) -> None:
        """Tell who runs here."""
        write_secret(self.folder / "stack.json", json.dumps(asdict(state), indent=1) + "\n")

    def forget(self) -> None:
        """Nobody runs here any more."""
        (self.folder / "stack.json").unlink(missing_ok=True)
