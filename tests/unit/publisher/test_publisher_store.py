import os
import stat
from pathlib import Path

import pytest

from skrei_domain.errors import Invalid
from skrei_publisher.store import Item, ResultStore, StoreBusy, digest_of


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


def test_a_name_appears_only_after_its_content_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    real, real_rename = os.fsync, Path.rename

    def noting(descriptor: int) -> None:
        happened.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(Path, "rename", lambda a, b: (happened.append("rename"), real_rename(a, b))[1])
    with ResultStore(tmp_path) as store:
        store.put([item("e-1")])
    assert happened == ["content", "rename", "folder", "folder"]


def test_a_crash_in_the_middle_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ResultStore(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("power cut")))
            with pytest.raises(OSError, match="power cut"):
                store.put([item("e-1")])
        assert store.find("e-1") is None
    with ResultStore(tmp_path) as store:
        assert list((tmp_path / "aside").iterdir()) == []
        store.put([item("e-1")])
        assert store.find("e-1")


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
