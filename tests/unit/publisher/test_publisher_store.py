import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from skrei_domain.errors import Invalid
from skrei_publisher.shelf import Item
from skrei_publisher.store import ResultStore, StoreBusy, digest_of


def item(name: str, content: bytes = b"result") -> Item:
    return Item(name, digest_of(content), content)


def test_what_was_put_is_found_by_the_next_process(tmp_path: Path) -> None:
    with ResultStore(tmp_path) as store:
        store.put([item("e-1"), item("e-2", b"other")])
    with ResultStore(tmp_path) as store:
        assert store.holds("e-1", digest_of(b"result"))
        assert not store.holds("e-2", digest_of(b"result"))
        assert store.used_bytes == len(b"result" + b"other")
        assert sorted(name for name, _, _ in store.entries()) == ["e-1", "e-2"]


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with ResultStore(tmp_path), pytest.raises(StoreBusy, match="Another publisher"):
        ResultStore(tmp_path).open()
    with ResultStore(tmp_path):
        pass


def test_all_of_a_batch_is_stored_or_nothing(tmp_path: Path) -> None:
    with ResultStore(tmp_path) as store:
        # A full disk, as far as a test can have one.
        with closing(sqlite3.connect(tmp_path / "small.db")) as other, other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON results WHEN new.execution_id = 'e-2'"
                " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        with pytest.raises(OSError, match="disk full"):
            store.put([item("e-1"), item("e-2")])
        assert (store.find("e-1"), store.used_bytes) == (None, 0)
        store.put([item("e-1")])
        assert store.find("e-1") == b"result"


def test_what_is_put_was_synced_by_its_commit(tmp_path: Path) -> None:
    with ResultStore(tmp_path) as store:
        store.put([item("e-1")])
        shelf = store._shelf._open()
        assert shelf.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert shelf.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: each commit is on disk before it returns


def test_the_room_of_what_was_dropped_goes_back_to_the_disk(tmp_path: Path) -> None:
    def size() -> int:
        with closing(sqlite3.connect(tmp_path / "small.db")) as other, other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (tmp_path / "small.db").stat().st_size

    with ResultStore(tmp_path) as store:
        store.put([item(f"e-{n}", os.urandom(60_000)) for n in range(10)])
        full = size()
        store.drop([f"e-{n}" for n in range(10)])
        assert size() < full / 4


def test_a_file_and_a_small_result_replace_each_other(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "store") as store:
        (tmp_path / "upload").write_bytes(b"uploaded")
        store.put([item("e-1")])
        store.adopt("e-1", digest_of(b"uploaded"), tmp_path / "upload")
        assert (store.find("e-1"), store.used_bytes) == (store.path("e-1"), len(b"uploaded"))
        store.put([item("e-1")])
        assert (store.find("e-1"), store.used_bytes) == (b"result", len(b"result"))
        store.drop(["e-1"])
        assert (store.find("e-1"), store.used_bytes) == (None, 0)


def test_what_goes_while_something_is_put_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ResultStore(tmp_path) as store:
        store.put([item("e-1")])
        put = store._shelf.put

        def meanwhile(items: Sequence[Item]) -> int:
            store.drop(["e-1"])  # by another thread, as retention does
            return put(items)

        monkeypatch.setattr(store._shelf, "put", meanwhile)
        store.put([item("e-2", b"other")])
        assert store.used_bytes == len(b"other")


def test_a_million_entries_are_listed_in_pages(tmp_path: Path) -> None:
    with ResultStore(tmp_path) as store:
        store.put([item(f"e-{n:04}") for n in range(2_500)])
        assert [name for name, _, _ in store.entries()] == [f"e-{n:04}" for n in range(2_500)]


def test_content_that_is_not_its_digest_is_not_stored(tmp_path: Path) -> None:
    with ResultStore(tmp_path) as store:
        with pytest.raises(Invalid, match="does not have the digest"):
            store.put([Item("e-1", digest_of(b"other"), b"result")])
        assert store.find("e-1") is None


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "x\0", "-rf", "é", "x" * 200])
def test_what_is_no_id_reaches_no_file(tmp_path: Path, name: str) -> None:
    with ResultStore(tmp_path) as store, pytest.raises(Invalid):
        store.find(name)


def test_dropping_is_idempotent_and_gives_the_room_back(tmp_path: Path) -> None:
    with ResultStore(tmp_path) as store:
        store.put([item("e-1"), item("e-2")])
        store.drop(["e-1", "e-1", "e-3"])
        assert store.find("e-1") is None
        assert store.used_bytes == len(b"result")
        store.put([item("e-2", b"shorter"[:3])])
        assert store.used_bytes == 3


def test_nobody_else_on_the_machine_reads_the_store(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results") as store:
        store.put([item("e-1")])
    assert (tmp_path / "results").stat().st_mode & 0o077 == 0
