"""Where results go in S3: what may be said, keys, sizes of parts, the owner's bucket, and archives that are refused."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei_plugin_api import archives
from skrei_plugin_api.publisher import PublishDenied
from skrei_plugin_s3 import plain
from skrei_plugin_s3.managed import Managed
from skrei_plugin_s3.targets import MOST_PARTS, PART_BYTES, Encoding, Target, part_bytes, read
from skrei_plugin_s3.upload_notes import Note, Notes


@pytest.mark.parametrize(
    ("key", "encoding", "lies"),
    [
        ("a/b", "gzip", "a/b.tar.gz"),
        ("a/b.tar.gz", "", "a/b.tar.gz"),
        ("a/b", "Plain", "a/b/"),
        ("a/b/", "plain", "a/b/"),
    ],
)
def test_a_key_is_an_archive_or_what_files_lie_below(key: str, encoding: str, lies: str) -> None:
    target, problems = read({"bucket": "data", "key": key, "ENCODING": encoding})
    assert problems == []
    assert (target.key, target.encoding) == (lies, Encoding.PLAIN if lies.endswith("/") else Encoding.GZIP)


@pytest.mark.parametrize("key", ["", "/", "/a", "a/../b", "..", "a/./b", "a\nb", "a" * 769, 7, None])
def test_a_key_that_leads_elsewhere_or_nowhere_is_refused(key: object) -> None:
    assert [problem.path for problem in read({"Bucket": "data", "Key": key})[1]] == ["Key"]


@given(st.integers(1, 1 << 40))
def test_parts_are_whole_mebibytes_and_never_too_many(size: int) -> None:
    part = part_bytes(size)
    assert part >= PART_BYTES
    assert part % (1024 * 1024) == 0
    assert -(-size // part) <= MOST_PARTS


def test_the_owner_s_bucket_has_a_place_for_each_execution() -> None:
    managed = Managed.from_options({"s3managed_bucket": "data", "s3managed_key": "/all/", "s3_anonymous": "true"})
    assert managed is not None
    assert managed.target("j-1/e-1") == Target("data", "all/j-1/e-1.tar.gz")
    assert Managed.from_options({"s3managed_key": "all"}) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"s3managed_buckett": "x"}, "s3managed_buckett is no option; known are s3managed_bucket"),
        ({"s3managed_bucket": "x"}, "s3managed_bucket: "),
        ({"s3managed_bucket": "data", "s3managed_endpoint": "ftp://x"}, "s3managed_endpoint: "),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Managed.from_options(options)


def test_notes_are_found_by_the_next_process_and_half_ones_are_none(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    note = Note("e-1", "sha256:0", 20, 8, Target("b", "k", encoding=Encoding.PLAIN), "id", ("a", "b", "c"))
    assert (notes.find("e-1"), notes.count(), list(notes.old(-1))) == (None, 0, [])
    notes.keep(note)
    assert Notes(tmp_path / "notes").find("e-1") == note
    assert (note.parts, note.span(3)) == (3, (16, 4))
    assert (notes.count(), list(notes.old(-1)), list(notes.old(60))) == (1, ["e-1"], [])
    (tmp_path / "notes/e-1.json").write_text('{"execution_id": "e-1"')
    assert notes.find("e-1") is None
    notes.drop("e-1")
    with pytest.raises(ValueError, match="no"):
        notes.find("../e-1")


def archive(folder: Path, *entries: tarfile.TarInfo) -> Path:
    path = folder / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    return path


def entry(name: str, size: int = 1, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made


def test_links_and_folders_are_no_files(tmp_path: Path) -> None:
    link = entry("link", 0, tarfile.SYMTYPE)
    link.linkname = "/etc/passwd"
    found = plain.files(archive(tmp_path, entry(".", 0, tarfile.DIRTYPE), entry("./a"), link, entry("b/c", 3)))
    assert [(file.name, file.content.read()) for file in found] == [("a", b"\0"), ("b/c", b"\0\0\0")]


def test_more_than_a_result_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, entry("a", 10), entry("b", 10))
    monkeypatch.setattr(plain, "MOST_BYTES", 19)
    with pytest.raises(PublishDenied, match="that `Encoding: plain` takes"):
        list(plain.files(path))
    monkeypatch.setattr(plain, "MOST_BYTES", 20)
    monkeypatch.setattr(plain, "MOST_FILES", 1)
    with pytest.raises(PublishDenied, match="that `Encoding: plain` takes"):
        list(plain.files(path))


def test_what_is_no_archive_and_what_has_endless_headers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"no archive")
    with pytest.raises(PublishDenied, match="cannot be unpacked"):
        list(plain.files(tmp_path / "x"))
    monkeypatch.setattr(archives, "HEADER_BYTES", 100)
    with pytest.raises(PublishDenied, match="cannot be unpacked"):
        list(plain.files(archive(tmp_path, entry("n" * 300))))
