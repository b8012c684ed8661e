"""The journal's file: how it is opened, and its tables, which only ever gain columns (`user_version` counts them)."""

import sqlite3
from pathlib import Path

from skrei_domain.errors import SkreiError

VERSION = 5
BUSY_SECONDS = 5.0
"""How long to wait for another reader of the file (a backup): the folder's lock keeps other agents away."""
CHECKPOINT_PAGES = 1_000
"""The log is folded into the file after 4 MB: a millisecond or two for every few hundred executions."""

TABLES = """
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    node_id TEXT NOT NULL,
    timeline INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    confirmed_by TEXT NOT NULL
) STRICT;
CREATE TABLE executions (
    execution_id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    want TEXT NOT NULL,
    state TEXT NOT NULL,
    starts INTEGER NOT NULL,
    told INTEGER NOT NULL,
    run TEXT,
    forgotten INTEGER NOT NULL,
    changed_at TEXT,
    devices TEXT,
    ended TEXT,
    ports TEXT,
    falls INTEGER NOT NULL DEFAULT 0,
    fell_at TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE facts (
    sequence INTEGER PRIMARY KEY,
    fact TEXT NOT NULL,
    writer TEXT NOT NULL
) STRICT;
"""
LIFTS = {
    1: "ALTER TABLE executions ADD COLUMN devices TEXT;",
    2: "ALTER TABLE executions ADD COLUMN ended TEXT;",
    3: "ALTER TABLE executions ADD COLUMN ports TEXT;",
    4: "ALTER TABLE executions ADD COLUMN falls INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE executions ADD COLUMN fell_at TEXT;",
}
"""What a journal of that version needs to become the next one."""


class JournalTooNew(SkreiError):
    """The journal was written by a later version than this one."""

    code = "journal-too-new"


def open_database(path: Path) -> sqlite3.Connection:
    """Open the journal, creating or lifting its tables. Raises JournalTooNew."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA temp_store=MEMORY")  # else it wants a folder for that, which a read-only root has not
        database.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise JournalTooNew(
                f"{path} was written by a later version of Skrei (journal {version}, this one knows {VERSION})",
                hint="start the later version, or give this node a new data folder",
            )
        if version == 0:
            database.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={VERSION}; COMMIT;")
        for old in range(version or VERSION, VERSION):
            database.executescript(f"BEGIN IMMEDIATE; {LIFTS[old]} PRAGMA user_version={old + 1}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def grow_log(database: sqlite3.Connection) -> None:
    """Let the log take its full size on disk now: a commit that overwrites syncs in two thirds of the time (measured:
    164 against 251 µs) of one that makes the file longer."""
    page_bytes = 4_096
    database.execute("BEGIN IMMEDIATE")
    database.execute("CREATE TABLE filler (bytes BLOB)")
    database.execute("INSERT INTO filler VALUES (zeroblob(?))", (CHECKPOINT_PAGES * page_bytes,))
    database.execute("DROP TABLE filler")
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(RESTART)")
