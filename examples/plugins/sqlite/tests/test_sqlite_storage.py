"""The storage by the contract of all storages, and what it alone promises."""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from skrei_plugin_api.plugin import Params, PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem, Storage
from skrei_plugin_api.testing import NoBlobs, StorageContract, apart
from skrei_storage_sqlite import storage as module
from skrei_storage_sqlite.storage import SqliteStorage


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "sales.db"
    with closing(sqlite3.connect(path)) as link, link:
        link.execute("CREATE TABLE sale (id INTEGER, city TEXT)")
        link.executemany("INSERT INTO sale VALUES (?, ?)", [(1, "Oslo"), (2, "Lisbon"), (3, "Oslo"), (4, None)])
    return path


@pytest.fixture
def storage(database: Path, tmp_path: Path) -> Storage:
    return SqliteStorage(PluginContext(tmp_path / "state", options={"sqlite_databases": f"{database} /srv/other.db"}))


class TestSqlite(StorageContract):
    """What every storage does."""

    files: ClassVar[Mapping[str, bytes]] = {"rows.csv": b"id,city\n1,Oslo\n3,Oslo\n"}
    invalid: ClassVar[Mapping[str, Params]] = {
        "Database": {"Database": "../sales.db", "Query": "SELECT 1"},
        "Query": {"Database": "sales.db"},
    }

    def source(self, files: Mapping[str, bytes], folder: Path) -> SourceSpec:
        return rows("SELECT * FROM sale WHERE city = 'Oslo'")

    def unavailable(self, folder: Path) -> tuple[SourceSpec, StageProblem]:
        return SourceSpec("sqlite", {"Database": "hr.db", "Query": "SELECT 1"}, "/in"), StageProblem.DENIED


def rows(query: str, partition: int = 0, partitions: int = 1) -> SourceSpec:
    params = {"Database": "sales.db", "Query": query}
    return SourceSpec("sqlite", params, "/in", partition=partition, partitions=partitions)


def staged(storage: Storage, source: SourceSpec, folder: Path, limits: StageLimits | None = None) -> str:
    mount = asyncio.run(storage.stage(source, folder / "staged", limits or StageLimits(), NoBlobs(folder)))
    return (mount.source / "rows.csv").read_text()


def test_every_row_goes_to_one_partition(storage: Storage, tmp_path: Path) -> None:
    found = []
    for partition in range(3):
        (tmp_path / str(partition)).mkdir()
        text = staged(storage, rows("SELECT id FROM sale", partition, 3), tmp_path / str(partition))
        found.append(text.split()[1:])
    assert found == [["1", "4"], ["2"], ["3"]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("DELETE FROM sale", "sales.db answers: not authorized"),
        ("ATTACH '/etc/passwd' AS other", "sales.db answers: not authorized"),
        ("PRAGMA user_version", "sales.db answers: not authorized"),
        ("SELECT * FROM gone", "sales.db answers: no such table: gone"),
        ("SELECT 1; SELECT 2", "sales.db answers: You can only execute one statement at a time."),
    ],
)
def test_a_query_reads_and_does_nothing_else(storage: Storage, tmp_path: Path, query: str, told: str) -> None:
    with pytest.raises(StageFailed) as raised:
        staged(storage, rows(query), tmp_path)
    assert (raised.value.code, raised.value.message) == (StageProblem.INVALID, told)


def test_an_endless_query_ends(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERY_SECONDS", 0.01)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(StageFailed, match=r"sales\.db answers: interrupted"):
        staged(storage, rows(endless), tmp_path)


def test_more_than_a_node_takes_is_refused(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="more than the 8 bytes"):
        staged(storage, rows("SELECT * FROM sale"), tmp_path, StageLimits(max_bytes=8))


def test_a_node_says_which_databases_it_misses(storage: Storage, database: Path, tmp_path: Path) -> None:
    info = asyncio.run(apart(storage.describe))
    assert (info.available, info.missing_paths) == (True, ("/srv/other.db",))
    database.unlink()
    assert not asyncio.run(apart(storage.describe)).available
    none = asyncio.run(apart(SqliteStorage(PluginContext(tmp_path)).describe))
    assert (none.available, none.reason) == (False, "its owner names no databases (sqlite_databases)")
