"""The node's memory on disk: every row that `NodeSide` writes, durable before what it allows is done.

One thread owns the database. It commits whatever has gathered while its last commit ran, at most `GROUP_ROWS`
rows, and never waits for company; groups are committed in the order of `submit`, and called back in that order. What
nobody waits for (that a confirmed fact may go) is kept back, for a moment or until somebody waits for what follows.
"""

import asyncio
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from skrei_compute_agent.journal_rows import Tables, load_memory
from skrei_compute_agent.journal_schema import grow_log, open_database
from skrei_domain.errors import SkreiError
from skrei_domain.sync import JournalRow, NodeMemory

GROUP_ROWS = 64
"""Rows of one commit: about a millisecond of work, so that a flood never delays what comes after it by much."""

PATIENCE_SECONDS = 0.5
"""How long what nobody waits for is kept back: a crash within it has the leader confirm once more."""


class JournalInUse(SkreiError):
    """Another process holds this journal: two would each believe to be the node."""

    code = "journal-in-use"


class JournalBroken(SkreiError):
    """The journal could not be written: nothing may be promised any more, so the process has to end."""

    code = "journal-broken"


class _Group(NamedTuple):
    rows: Sequence[JournalRow]
    done: Callable[[], None]


class Journal:
    """A locked folder with one SQLite file in WAL mode, `synchronous=FULL`.

    `done` callbacks run on the event loop that called `start`. After a failed write nothing is called back any
    more, and `broken` is called once with the cause.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: IO[str] | None = None
        self._thread: threading.Thread | None = None
        self._groups: queue.SimpleQueue[list[_Group] | None] = queue.SimpleQueue()
        self._kept_back: list[_Group] = []
        self._patience: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: Callable[[JournalBroken], None] = _ignore
        self.commits = 0
        self.rows = 0

    def load(self, node_id: str, make_id: Callable[[], str]) -> NodeMemory:
        """Lock the folder and return what the journal holds; a new one gets `node_id`, or a made one.

        Raises JournalInUse when another process has it, and JournalBroken for a journal of another node id or of
        a later version.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self._folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise JournalInUse(
                f"another process uses the journal in {self._folder}",
                hint="stop it, or give this node its own data folder",
            ) from error
        self._lock = lock
        try:
            return self._load(node_id, make_id)
        except BaseException:
            self.close()
            raise

    def start(self, broken: Callable[[JournalBroken], None]) -> None:
        """Start the writer; `broken` is called on the running loop if it can write no more."""
        self._loop = asyncio.get_running_loop()
        self._broken = broken
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[JournalRow], done: Callable[[], None], *, patient: bool = False) -> None:
        """Make `rows` durable together, then call `done`; no rows only keep their place in the order.

        `patient`: nobody waits for them, so they go with the next that somebody waits for, or soon.
        """
        self._kept_back.append(_Group(rows, done))
        if not patient or self._loop is None or len(self._kept_back) >= GROUP_ROWS:
            self._hand_over()
        elif self._patience is None:
            self._patience = self._loop.call_later(PATIENCE_SECONDS, self._hand_over)

    def close(self) -> None:
        """Write what was submitted, end the writer and give the folder back. Safe twice, and when never started."""
        if self._thread is not None:
            self._hand_over()
            self._groups.put(None)
            self._thread.join()
            self._thread = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _hand_over(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._kept_back:
            self._groups.put(self._kept_back)  # as one, or the writer would begin with what can wait
            self._kept_back = []

    def _load(self, node_id: str, make_id: Callable[[], str]) -> NodeMemory:
        database = self._open()
        try:
            memory = load_memory(database, node_id, make_id)
        finally:
            database.close()
        if node_id and memory.meta.node_id != node_id:
            raise JournalBroken(
                f"the journal in {self._folder} belongs to {memory.meta.node_id}, not to {node_id}",
                hint="a node keeps its id as long as its data folder",
            )
        return memory

    # ------------------------------------------------------------ the writer's thread

    def _open(self) -> sqlite3.Connection:
        return open_database(self._folder / "journal.sqlite")

    def _write(self) -> None:
        try:
            database = self._open()
            try:
                grow_log(database)
                self._write_groups(database, Tables(database))
            finally:
                database.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not outlive its journal
            broken = JournalBroken(f"the journal in {self._folder} cannot be written: {error}")
            broken.__cause__ = error
            self._call(self._broken, broken)

    def _write_groups(self, database: sqlite3.Connection, tables: Tables) -> None:
        ended = False
        while not ended:
            groups, ended = self._gather()
            rows = [row for group in groups for row in group.rows]
            if rows:
                database.execute("BEGIN IMMEDIATE")
                tables.apply(rows)
                database.execute("COMMIT")
                self.commits += 1
                self.rows += len(rows)
            if groups:
                self._call(_done, [group.done for group in groups])

    def _gather(self) -> tuple[list[_Group], bool]:
        """Wait for something, then take what else is there."""
        groups: list[_Group] = []
        count = 0
        item = self._groups.get()
        while True:
            if item is None:
                return groups, True
            groups += item
            count += sum(len(group.rows) for group in item)
            if count >= GROUP_ROWS:
                return groups, False
            try:
                item = self._groups.get_nowait()
            except queue.Empty:
                return groups, False

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def _done(callbacks: Iterable[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()


def _ignore(_: JournalBroken) -> None:
    """Nobody listens before `start`."""
