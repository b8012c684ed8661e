"""The result store: one tar.gz for each execution, written by one process, durable once told.

What was uploaded lies in sharded folders, a file each, which is verified and on disk before it gets its name; its
modification time is when it was stored. What came with a fact is small and lies on the shelf (`shelf.py`).
"""

import fcntl
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from skrei_domain.errors import Invalid, SkreiError
from skrei_plugin_api.upload_folder import check_id, sync_folder
from skrei_publisher.shelf import Item, Shelf

SUFFIX = ".tar.gz"
SHARD_LETTERS = 2
KNOWN_DIGESTS = 10_000
"""Digests of results that this process stored itself: a command that comes twice need not read a gigabyte again."""
SHELF = "small.db"


class StoreBusy(SkreiError):
    """Another process writes this store."""

    code: ClassVar[str] = "store-busy"


class ResultStore:
    """A directory of results. Open it once per machine: the lock refuses a second writer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.used_bytes = 0
        self._counting = threading.Lock()
        self._shelf = Shelf(root / SHELF)
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
        """Take the lock, and count what is there. Raises StoreBusy."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise StoreBusy(f"Another publisher writes {self.root}.", hint="Give each its own data folder.") from error
        self._lock = lock
        self._shelf.open()
        self.used_bytes = sum(size for _, size, _ in self.entries())

    def close(self) -> None:
        """Give the lock back; closing twice is fine."""
        self._shelf.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def path(self, execution_id: str) -> Path:
        """Return where the file of an execution lies, or would. Raises Invalid for what is no id."""
        check_id(execution_id)
        shard = hashlib.sha256(execution_id.encode()).hexdigest()[:SHARD_LETTERS]
        return self.root / shard / f"{execution_id}{SUFFIX}"

    def find(self, execution_id: str) -> Path | bytes | None:
        """Return the stored result of an execution: its file, or where it is small itself. Raises Invalid for no id."""
        path = self.path(execution_id)
        return path if path.is_file() else self._shelf.find(execution_id)

    def has(self, execution_id: str) -> bool:
        """Return whether there is a stored result. Raises Invalid for what is no id."""
        return self.path(execution_id).is_file() or self._shelf.has(execution_id)

    def holds(self, execution_id: str, digest: str) -> bool:
        """Return whether exactly this result is stored; reads it, so that a damaged one is stored anew."""
        found = self.find(execution_id)
        if found is None:
            return False
        if isinstance(found, bytes):
            return digest_of(found) == digest
        if self._known.get(execution_id) == digest:
            return True
        with found.open("rb") as file:
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
        self._count(size - before)
        self._remember(execution_id, digest)
        for folder in folders:
            sync_folder(folder)
        self._count(-self._shelf.drop([execution_id]))

    def _count(self, more: int) -> None:
        """Count bytes that came, or went: threads do both side by side."""
        with self._counting:
            self.used_bytes += more

    def _remember(self, execution_id: str, digest: str) -> None:
        self._known[execution_id] = digest
        if len(self._known) > KNOWN_DIGESTS:
            self._known.popitem(last=False)

    def put(self, items: Sequence[Item]) -> None:
        """Store small results durably, each replacing what its execution had. When it returns they survive a power
        cut. Raises Invalid for what is no id or not its digest, OSError where the disk refuses; then none is stored.
        """
        for item in items:
            self.path(item.execution_id)
            if digest_of(item.content) != item.digest:
                raise Invalid(f"The result of {item.execution_id} does not have the digest {item.digest}.")
        self._count(self._shelf.put(items))
        self._unlink(item.execution_id for item in items)

    def drop(self, execution_ids: Sequence[str]) -> None:
        """Delete results; those that are not there are gone already."""
        self._unlink(execution_ids)
        self._count(-self._shelf.drop(execution_ids))

    def _unlink(self, execution_ids: Iterable[str]) -> None:
        folders: set[Path] = set()
        for execution_id in execution_ids:
            path = self.path(execution_id)
            if path.is_file():
                size = path.stat().st_size
                path.unlink()
                self._known.pop(execution_id, None)
                self._count(-size)
                folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)

    def entries(self) -> Iterator[tuple[str, int, float]]:
        """Yield execution id, size in bytes and when it was stored (seconds since the epoch), in no order."""
        yield from self._shelf.entries()
        for shard in sorted(self.root.iterdir()):
            if len(shard.name) != SHARD_LETTERS or not shard.is_dir():
                continue
            with os.scandir(shard) as found:
                for entry in found:
                    if entry.name.endswith(SUFFIX):
                        facts = entry.stat()
                        yield entry.name.removesuffix(SUFFIX), facts.st_size, facts.st_mtime


def digest_of(content: bytes) -> str:
    """Return the digest by which everybody names these bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
