"""The result store: one tar.gz for each execution in sharded folders, written by one process, durable once told.

A file appears under its name only whole and on disk (written aside, fsync, rename, fsync of the folder), so whoever
finds it may serve it. Its modification time is when it was stored.
"""

import fcntl
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from skrei_domain.errors import Invalid, SkreiError

SUFFIX = ".tar.gz"
SHARD_LETTERS = 2
KNOWN_DIGESTS = 10_000
"""Digests of results that this process stored itself: a command that comes twice need not read a gigabyte again."""
SYNCS_AT_ONCE = 16
"""Files and folders of a batch are synced side by side: a file system commits them together, so that 64 results take
20 ms instead of 450, and the disk is left to the record, which commits on it too."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class StoreBusy(SkreiError):
    """Another process writes this store."""

    code: ClassVar[str] = "store-busy"


@dataclass(frozen=True, slots=True)
class Item:
    """A result about to be stored: `digest` is `sha256:<hex>` of `content`."""

    execution_id: str
    digest: str
    content: bytes


class ResultStore:
    """A directory of results. Open it once per machine: the lock refuses a second writer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.used_bytes = 0
        self._aside = root / "aside"
        self._lock = -1
        self._known: OrderedDict[str, str] = OrderedDict()  # execution -> digest of what this process stored

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take the lock, clear what a crash left half written, and count what is there. Raises StoreBusy."""
        self._aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreBusy(f"Another publisher writes {self.root}.", hint="Give each its own data folder.") from error
        for left in self._aside.iterdir():
            left.unlink()
        self.used_bytes = sum(size for _, size, _ in self.entries())

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    def path(self, execution_id: str) -> Path:
        """Return where the result of an execution lies, or would. Raises Invalid for what is no id."""
        if not _ID.fullmatch(execution_id):
            raise Invalid("That is not the id of an execution.")
        shard = hashlib.sha256(execution_id.encode()).hexdigest()[:SHARD_LETTERS]
        return self.root / shard / f"{execution_id}{SUFFIX}"

    def find(self, execution_id: str) -> Path | None:
        """Return the stored result of an execution, if there is one."""
        path = self.path(execution_id)
        return path if path.is_file() else None

    def holds(self, execution_id: str, digest: str) -> bool:
        """Return whether exactly this result is stored; reads it, so that a damaged one is stored anew."""
        path = self.find(execution_id)
        if path is None:
            return False
        if self._known.get(execution_id) == digest:
            return True
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest

    def adopt(self, execution_id: str, digest: str, content: Path) -> None:
        """Make a verified, durable file of the same file system the result of an execution, durably."""
        place = self.path(execution_id)
        folders = {place.parent}
        if not place.parent.is_dir():
            place.parent.mkdir(mode=0o700)
            folders.add(self.root)
        before = place.stat().st_size if place.exists() else 0
        size = content.stat().st_size
        os.utime(content)  # its modification time is when it was stored
        content.rename(place)
        self.used_bytes += size - before
        self._remember(execution_id, digest)
        for folder in folders:
            sync_folder(folder)

    def _remember(self, execution_id: str, digest: str) -> None:
        self._known[execution_id] = digest
        if len(self._known) > KNOWN_DIGESTS:
            self._known.popitem(last=False)

    def put(self, items: Sequence[Item]) -> None:
        """Store all items durably, each at most replacing itself. When this returns they survive a power cut."""
        written = [(self._write_aside(item), self.path(item.execution_id), len(item.content)) for item in items]
        _sync_all(aside for aside, _, _ in written)
        folders: set[Path] = set()
        for aside, place, size in written:
            if not place.parent.is_dir():
                place.parent.mkdir(mode=0o700)
                folders.add(self.root)
            before = place.stat().st_size if place.exists() else 0
            aside.rename(place)
            self.used_bytes += size - before
            folders.add(place.parent)
        _sync_all(folders)

    def drop(self, execution_ids: Iterable[str]) -> None:
        """Delete results; those that are not there are gone already."""
        folders: set[Path] = set()
        for execution_id in execution_ids:
            path = self.find(execution_id)
            if path is not None:
                size = path.stat().st_size
                path.unlink()
                self._known.pop(execution_id, None)
                self.used_bytes -= size
                folders.add(path.parent)
        _sync_all(folders)

    def entries(self) -> Iterator[tuple[str, int, float]]:
        """Yield execution id, size in bytes and when it was stored (seconds since the epoch), in no order."""
        for shard in sorted(self.root.iterdir()):
            if len(shard.name) != SHARD_LETTERS or not shard.is_dir():
                continue
            with os.scandir(shard) as found:
                for entry in found:
                    if entry.name.endswith(SUFFIX):
                        facts = entry.stat()
                        yield entry.name.removesuffix(SUFFIX), facts.st_size, facts.st_mtime

    def _write_aside(self, item: Item) -> Path:
        self.path(item.execution_id)
        if digest_of(item.content) != item.digest:
            raise Invalid(f"The result of {item.execution_id} does not have the digest {item.digest}.")
        aside = self._aside / f"{item.execution_id}{SUFFIX}"
        aside.write_bytes(item.content)
        return aside


def digest_of(content: bytes) -> str:
    """Return the digest by which everybody names these bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def sync_folder(folder: Path) -> None:
    """Make what was named or renamed in a folder durable."""
    _sync(folder)


def _sync_all(paths: Iterable[Path]) -> None:
    with ThreadPoolExecutor(SYNCS_AT_ONCE) as threads:
        for _ in threads.map(_sync, paths):
            pass


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
