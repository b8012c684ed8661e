import contextlib
import gzip
import io
import os
import tarfile
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skrei import archive as module
from skrei.archive import Abandoned, Caps, unpack
from skrei.errors import UnsafeArchive

Entry = tuple[str, bytes, dict[str, Any]]


def packed(path: Path, *entries: Entry) -> Path:
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
        ("empty", b"", {"type": tarfile.DIRTYPE}),
        ("a" * 200, b"long", {}),
        ("måne/ø", b"two bytes", {}),
    )
    done = unpack(source, tmp_path / "t")
    assert (done.files, done.total_bytes) == (4, 20)
    assert (tmp_path / "t/stdout").read_text() == "hello"
    assert (tmp_path / "t/out/tool").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "t/empty").is_dir()
    assert (tmp_path / "t" / ("a" * 200)).read_text() == "long"
    assert (tmp_path / "t/måne/ø").read_text() == "two bytes"


FILE: dict[str, Any] = {}
FOLDER = {"type": tarfile.DIRTYPE}
SPARSE = {"pax_headers": {"GNU.sparse.size": "1000000000", "GNU.sparse.map": "0,1"}}
OUTSIDE = "does not name a place below"
KIND = "neither a file nor a directory"

REFUSED: list[tuple[str, list[Entry], str, str]] = [
    ("parent", [("../evil", b"x", FILE)], OUTSIDE, "--raw"),
    ("absolute", [("/etc/evil", b"x", FILE)], OUTSIDE, "--raw"),
    ("up-and-down", [("a/../../evil", b"x", FILE)], OUTSIDE, "--raw"),
    ("parent-folder", [("..", b"", FOLDER)], OUTSIDE, "--raw"),
    ("backslash", [("a\\..\\evil", b"x", FILE)], OUTSIDE, "--raw"),
    ("deep", [("/".join(["d"] * 100), b"x", FILE)], OUTSIDE, "--raw"),
    ("long-part", [("n" * 256, b"x", FILE)], "too long a name", "--raw"),
    ("long-path", [("/".join(["n" * 200] * 21), b"x", FILE)], "too long a name", "--raw"),
    ("long-letters", [("ø" * 200, b"x", FILE)], "too long a name", "--raw"),
    ("the-folder-itself", [(".", b"x", FILE)], "twice", "--raw"),
    ("symlink", [("x", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], KIND, "--raw"),
    ("hard-link", [("x", b"", {"type": tarfile.LNKTYPE, "linkname": "stdout"})], KIND, "--raw"),
    ("through-a-link", [("x", b"", {"type": tarfile.SYMTYPE, "linkname": "/"}), ("x/evil", b"", FILE)], KIND, "--raw"),
    ("pipe", [("x", b"", {"type": tarfile.FIFOTYPE})], KIND, "--raw"),
    ("device", [("x", b"", {"type": tarfile.CHRTYPE})], KIND, "--raw"),
    ("disk", [("x", b"", {"type": tarfile.BLKTYPE})], KIND, "--raw"),
    ("contiguous", [("x", b"", {"type": tarfile.CONTTYPE})], KIND, "--raw"),
    ("unknown-kind", [("x", b"", {"type": b"Z"})], KIND, "--raw"),
    ("sparse", [("x", b"y", SPARSE)], "sparse file", "--raw"),
    ("twice", [("x", b"1", FILE), ("x", b"2", FILE)], "twice", "--raw"),
    ("twice-spelt", [("x", b"1", FILE), ("./x", b"2", FILE)], "twice", "--raw"),
    ("file-then-folder", [("x", b"1", FILE), ("x", b"", FOLDER)], "twice", "--raw"),
    ("folder-then-file", [("x", b"", FOLDER), ("x", b"1", FILE)], "twice", "--raw"),
    ("below-a-file", [("x", b"1", FILE), ("x/y", b"2", FILE)], "twice", "--raw"),
    ("header-of-megabytes", [("x", b"1", {"pax_headers": {"comment": "z" * 9_000_000}})], "absurd length", "--raw"),
    ("name-of-megabytes", [("n" * 9_000_000, b"1", FILE)], "absurd length", "--raw"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "said", "todo"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
@pytest.mark.row("6.3/links")
def test_what_no_result_holds_is_refused_and_nothing_is_written_outside(
    tmp_path: Path, entries: list[Entry], said: str, todo: str
) -> None:
    source = packed(tmp_path / "a.tar.gz", *entries)
    with pytest.raises(UnsafeArchive, match=said) as refused:
        unpack(source, tmp_path / "deep" / "t")
    assert todo in refused.value.hint
    assert not list(tmp_path.rglob("evil"))
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_names_that_differ_in_case_are_refused_only_where_they_are_one(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.tar.gz", ("Data/a", b"1", FILE), ("data/b", b"2", FILE))
    unpack(source, tmp_path / "t", folds=False)
    assert (tmp_path / "t/data/b").read_text() == "2"
    with pytest.raises(UnsafeArchive, match="'Data' and 'data' in the archive are one name"):
        unpack(source, tmp_path / "u", folds=True)
    assert not module.folds_case(tmp_path), "this test runs on a file system that tells case apart"


@pytest.mark.parametrize(
    ("caps", "said", "option"),
    [
        (Caps(entries=2), "more than 2 entries", "--max-files"),
        (Caps(total_bytes=99), "more than 99 bytes", "--max-size"),
        (Caps(ratio=0), "more than 0 times", "--max-ratio"),
    ],
)
@pytest.mark.row("6.3/links")
def test_every_cap_names_the_option_that_raises_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caps: Caps, said: str, option: str
) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 99)
    source = packed(tmp_path / "a.tar.gz", ("a", b"x" * 50, FILE), ("b", b"x" * 49, FILE), ("c", b"x", FILE))
    with pytest.raises(UnsafeArchive, match=said) as refused:
        unpack(source, tmp_path / "t", caps)
    assert option in refused.value.hint
    assert unpack(source, tmp_path / "u", Caps(3, 100, 1)).total_bytes == 100


def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    source = packed(tmp_path / "a.tar.gz", ("zeros", b"\0" * 1_000_000, FILE))
    with pytest.raises(UnsafeArchive, match="times its"):
        unpack(source, tmp_path / "t", Caps(ratio=10))
    assert not (tmp_path / "t" / "zeros").exists()


def test_headers_get_no_more_memory_than_is_usual(tmp_path: Path) -> None:
    source = tmp_path / "a.tar.gz"
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3
    with gzip.open(source, "wb") as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            out.write(bytes(1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeArchive, match="absurd length"):
            unpack(source, tmp_path / "t")
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"not tar" * 200), b""], ids=["plain", "gzip", "empty"])
def test_a_damaged_archive_is_told_as_one(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "a.tar.gz"
    source.write_bytes(content)
    with pytest.raises(UnsafeArchive, match="damaged"):
        unpack(source, tmp_path / "t")


def test_an_archive_that_was_cut_off_or_changed_is_told_as_damaged(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.tar.gz", ("x", os.urandom(100_000), FILE)).read_bytes()
    changed = whole[:5_000] + bytes([whole[5_000] ^ 1]) + whole[5_001:]
    for number, content in enumerate((whole[: len(whole) // 2], whole[:-4], changed)):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(UnsafeArchive, match="damaged"):
            unpack(tmp_path / "b.tar.gz", tmp_path / str(number))


def test_nothing_more_is_written_once_nobody_wants_it(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.tar.gz", ("x", os.urandom(3 * module.COPY_BYTES), FILE))
    asked = iter((True, False))
    with pytest.raises(Abandoned):
        unpack(source, tmp_path / "t", wanted=lambda: next(asked))
    assert (tmp_path / "t" / "x").stat().st_size <= module.COPY_BYTES


NAMES = st.one_of(
    st.sampled_from(["stdout", "a", "A", "a/b", "./a", "..", "../x", "/x", "a/../x", "", "a//b", "x" * 300, "é"]),
    st.text(max_size=12),
    st.lists(st.sampled_from(["a", "B", "..", ".", "", "c d", "\\"]), max_size=5).map("/".join),
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 4 + [tarfile.DIRTYPE] * 2
    + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, b"\0", b"9"]
)  # fmt: skip
ENTRIES = st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=40), st.text("ax/.", max_size=6)), max_size=8)


def archive_of(entries: list[tuple[str, bytes, bytes, str]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", encoding="utf-8", errors="surrogatepass") as tar:
        for name, kind, content, link in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            entry.size = len(content) if kind in (tarfile.REGTYPE, b"\0", b"9") else 0
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def unpacked_safely(content: bytes, folds: bool) -> None:
    """Unpack, and see that whatever comes of it lies below the target and is a file or a folder."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        (root / "a.tar.gz").write_bytes(content)
        with contextlib.suppress(UnsafeArchive):
            done = unpack(root / "a.tar.gz", root / "in" / "t", folds=folds)
            files = [path for path in (root / "in" / "t").rglob("*") if not path.is_dir()]
            assert len(files) == done.files
            assert sum(path.stat().st_size for path in files) == done.total_bytes
        assert {path.name for path in root.iterdir()} <= {"a.tar.gz", "in"}
        assert {path.name for path in (root / "in").iterdir()} <= {"t"}
        for path in root.rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.is_file()
            assert path.is_dir() or path.stat().st_nlink == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRIES, st.booleans())
def test_no_archive_writes_outside_or_makes_anything_but_files(
    entries: list[tuple[str, bytes, bytes, str]], folds: bool
) -> None:
    unpacked_safely(archive_of(entries), folds)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRIES, st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 255)), max_size=6), st.integers(0, 20_000))
def test_no_flipped_bits_do_either(
    entries: list[tuple[str, bytes, bytes, str]], flips: list[tuple[int, int]], end: int
) -> None:
    tar = bytearray(gzip.decompress(archive_of(entries)))
    for place, bits in flips:
        tar[place % len(tar)] ^= bits
    unpacked_safely(gzip.compress(bytes(tar[: max(len(tar) - end % 1500, 0)]), 1), False)
