"""Small results side by side in one SQLite file: a batch of them is one commit and one sync, not a file for each.

A file system makes, names, syncs and deletes each file by itself, and what the record beside it commits waits for that;
most results are smaller than the block that a file takes at least. Durable once `put` returns (WAL, synchronous=FULL).
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FREE_PAGES = 256
"""Given back to the file system after a deletion: a megabyte, so that shrinking after a large one takes its time."""
READ_ROWS = 1_000
"""Rows in hand while all are listed, which may be a million."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    execution_id TEXT PRIMARY KEY, stored REAL NOT NULL, size INTEGER NOT NULL, content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS results_by_time ON results (execution_id, size, stored);
"""


@dataclass(frozen=True, slots=True)
class Item:
    """A result about to be stored: `digest` is `sha256:<hex>` of `content`."""

    execution_id: str
    digest: str
    content: bytes


class Shelf:
    """One writer at a time, any thread; `open` before everything else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or make the file, readable by its owner alone."""
        self._path.touch(0o600)
        self._db = db = sqlite3.connect(self._path, check_same_thread=False)
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # only says something to a file that is new
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with self._turn:
            if self._db is not None:
                self._db.close()
                self._db = None

    def put(self, items: Sequence[Item]) -> int:
        """Store all of them durably, each replacing itself; return by how many bytes what is stored grew.

        Raises OSError where the disk refuses; then none of them is stored.
        """
        now = time.time()
        rows = {item.execution_id: (item.execution_id, now, len(item.content), item.content) for item in items}
        with self._commit() as db:
            before = sum(self._size(db, name) for name in rows)
            db.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", list(rows.values()))
        return sum(row[2] for row in rows.values()) - before

    def find(self, execution_id: str) -> bytes | None:
        """Return a result, if it is here."""
        found = self._read("SELECT content FROM results WHERE execution_id = ?", execution_id)
        return bytes(found[0][0]) if found else None

    def has(self, execution_id: str) -> bool:
        """Return whether a result is here."""
        return bool(self._read("SELECT 1 FROM results WHERE execution_id = ?", execution_id))

    def drop(self, execution_ids: Iterable[str]) -> int:
        """Delete results; return how many bytes that freed. What is not here is gone already. Raises OSError."""
        names = list(dict.fromkeys(execution_ids))
        with self._commit() as db:
            freed = sum(self._size(db, name) for name in names)
            db.executemany("DELETE FROM results WHERE execution_id = ?", [(name,) for name in names])
        if freed:
            with self._turn:  # a script, since it steps once for each page, and yields nothing
                self._open().executescript(f"PRAGMA incremental_vacuum({FREE_PAGES})")
        return freed

    def entries(self) -> Iterator[tuple[str, int, float]]:
        """Yield execution id, size in bytes and when it was stored (seconds since the epoch), by id."""
        last = ""
        while rows := self._read(
            "SELECT execution_id, size, stored FROM results INDEXED BY results_by_time"
            f" WHERE execution_id > ? ORDER BY execution_id LIMIT {READ_ROWS}",
            last,
        ):
            yield from rows
            last = rows[-1][0]

    def _read(self, statement: str, *values: str) -> list[Any]:
        with self._turn:
            return self._open().execute(statement, values).fetchall()

    @contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        """A transaction. What the disk refuses is an OSError, as it is for a file."""
        with self._turn:
            db = self._open()
            try:
                with db:
                    yield db
            except sqlite3.Error as error:
                raise OSError(f"the result store cannot be written: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise OSError("the result store is closed")
        return self._db

    @staticmethod
    def _size(db: sqlite3.Connection, execution_id: str) -> int:
        row = db.execute("SELECT size FROM results WHERE execution_id = ?", (execution_id,)).fetchone()
        return 0 if row is None else int(row[0])
