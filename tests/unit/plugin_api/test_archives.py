"""Archives read entry by entry: nothing of what a hostile one holds is believed."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skrei_plugin_api import archives
from skrei_plugin_api.archives import NoArchive, Packer, divide, entries


def an_archive(path: Path, *made: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for entry in made:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))
    return path


def link(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: tarfile.TarInfo("../up"), "leads out of it"),
        (lambda: tarfile.TarInfo("a/../../b"), "leads out of it"),
        (lambda: tarfile.TarInfo("/root"), "leads out of it"),
        (lambda: link("a/link"), "neither a file nor a folder"),
        (lambda: tarfile.TarInfo("n" * 4_000), "a header of"),
    ],
)
def test_what_no_node_packs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[], tarfile.TarInfo], said: str
) -> None:
    monkeypatch.setattr(archives, "HEADER_BYTES", 3_000)
    path = an_archive(tmp_path / "a.tar.gz", made())
    with pytest.raises(NoArchive, match=said):
        divide(path, lambda _: 0, [tmp_path / "0"])


def with_holes(**pax: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("a")
    entry.pax_headers = {f"GNU.sparse.{name}": value for name, value in pax.items()}
    if not pax:
        entry.type = tarfile.GNUTYPE_SPARSE
    return entry


@pytest.mark.parametrize("entry", [with_holes(), with_holes(major="1", minor="0", name="a", realsize="9")])
def test_a_map_of_holes_does_not_get_our_memory(tmp_path: Path, entry: tarfile.TarInfo) -> None:
    path = an_archive(tmp_path / "a.tar.gz", entry, content=b"1000\n" + b"0\n" * 2_000)
    with pytest.raises(NoArchive, match="a file with holes"):
        list(entries(path))


def extended(kind: bytes) -> bytes:
    """A header that says something of what follows."""
    content = b"9 a=b cd\n"
    entry = tarfile.TarInfo("h")
    entry.type, entry.size = kind, len(content)
    return entry.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_upon_headers_have_an_end(tmp_path: Path, kind: bytes) -> None:
    path, entry = tmp_path / "a.tar.gz", tarfile.TarInfo("a").tobuf()
    path.write_bytes(gzip.compress(2 * (archives.MOST_HEADERS * extended(kind) + entry) + bytes(1024)))
    assert len(list(entries(path))) == 2
    path.write_bytes(gzip.compress(1_000 * extended(kind) + entry + bytes(1024)))
    with pytest.raises(NoArchive, match="more than 4 headers before one entry"):
        list(entries(path))


def test_a_header_for_all_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(extended(tarfile.XGLTYPE) + tarfile.TarInfo("a").tobuf() + bytes(1024)))
    with pytest.raises(NoArchive, match="a header for all files"):
        list(entries(path))


def test_more_than_a_result_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = an_archive(tmp_path / "a.tar.gz", tarfile.TarInfo("a"), tarfile.TarInfo("b"), content=b"1234")
    assert len(list(entries(path))) == 2
    monkeypatch.setattr(archives, "MOST_BYTES", 7)
    with pytest.raises(NoArchive, match="more than 7 bytes"):
        list(entries(path))
    monkeypatch.setattr(archives, "MOST_ENTRIES", 1)
    with pytest.raises(NoArchive, match="more than 1 entries"):
        list(entries(path))


def test_what_is_cut_off_or_none_is_told(tmp_path: Path) -> None:
    path = an_archive(tmp_path / "a.tar.gz", tarfile.TarInfo("a"), content=bytes(100_000))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(NoArchive, match="cannot be unpacked"):
        divide(path, lambda _: 0, [tmp_path / "0"])
    (tmp_path / "no").write_bytes(b"no archive at all")
    with pytest.raises(NoArchive, match="cannot be unpacked"):
        list(entries(tmp_path / "no"))


def test_a_file_has_as_many_bytes_as_its_header_says() -> None:
    with pytest.raises(NoArchive, match="3 of 4 bytes"):
        Packer(lambda _: None).file("a", 4, [b"123"])
