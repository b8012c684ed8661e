import gzip
import io
import tarfile
from pathlib import Path

import pytest

from skrei import archive as module
from skrei.archive import unpack
from skrei.errors import UnsafeArchive


def packed(path: Path, *entries: tuple[str, bytes, dict[str, object]]) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, content, changes in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in changes.items():
                setattr(entry, key, value)
            out.addfile(entry, io.BytesIO(content))
    return path


def test_files_and_directories_come_out_as_they_went_in(tmp_path: Path) -> None:
    source = packed(
        tmp_path / "a.tar.gz",
        (".", b"", {"type": tarfile.DIRTYPE}),
        ("stdout", b"hello", {}),
        ("out/tool", b"#!", {"mode": 0o4755}),
    )
    done = unpack(source, tmp_path / "t")
    assert (done.files, done.total_bytes) == (2, 7)
    assert (tmp_path / "t/stdout").read_text() == "hello"
    assert (tmp_path / "t/out/tool").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", "/".join(["d"] * 100)])
def test_nothing_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    source = packed(tmp_path / "a.tar.gz", (name, b"x", {}))
    with pytest.raises(UnsafeArchive, match="does not name a place below"):
        unpack(source, tmp_path / "deep" / "t")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    source = packed(tmp_path / "a.tar.gz", ("x", b"", {"type": kind, "linkname": "/etc/passwd"}))
    with pytest.raises(UnsafeArchive, match="neither a file nor a directory"):
        unpack(source, tmp_path / "t")


def test_a_link_that_lies_in_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "stdout").symlink_to(outside)
    unpack(packed(tmp_path / "a.tar.gz", ("stdout", b"theirs", {})), tmp_path / "t")
    assert outside.read_text() == "mine"
    assert (tmp_path / "t" / "stdout").read_text() == "theirs"


def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    monkeypatch.setattr(module, "RATIO", 10)
    source = packed(tmp_path / "a.tar.gz", ("zeros", b"\0" * 1_000_000, {}))
    with pytest.raises(UnsafeArchive, match="unpacks to more than"):
        unpack(source, tmp_path / "t")
    assert not (tmp_path / "t" / "zeros").exists()


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 2)
    source = packed(tmp_path / "a.tar.gz", *((str(n), b"", {}) for n in range(3)))
    with pytest.raises(UnsafeArchive, match="more than 2 entries"):
        unpack(source, tmp_path / "t")


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"not tar" * 200), b""], ids=["plain", "gzip", "empty"])
def test_a_damaged_archive_is_told_as_one(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "a.tar.gz"
    source.write_bytes(content)
    with pytest.raises(UnsafeArchive, match="damaged"):
        unpack(source, tmp_path / "t")


def test_an_archive_that_was_cut_off_is_told_as_damaged(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.tar.gz", ("x", bytes(range(256)) * 4000, {})).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnsafeArchive, match="damaged"):
        unpack(tmp_path / "cut.tar.gz", tmp_path / "t")
