"""Inline data: files, blobs, and archives that nobody vouches for."""

import asyncio
import base64
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.storage import SourceSpec, StageFailed, StageLimits, StageProblem
from skrei_plugin_basic.inline import InlineStorage

DIGEST = "sha256:" + "a" * 64


class Blobs:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def fetch(self, digest: str) -> Path:
        assert digest == DIGEST
        return self.path

    def keep(self, data: bytes) -> Path:
        kept = self.path.parent / "kept"
        kept.write_bytes(data)
        return kept


def stage(tmp_path: Path, url: str, limits: StageLimits | None = None, blob: Path | None = None) -> Mount:
    folder = tmp_path / "staged"
    storage = InlineStorage(PluginContext(tmp_path))
    source = SourceSpec("inline", {"URL": url}, "/in")
    return asyncio.run(storage.stage(source, folder, limits or StageLimits(), Blobs(blob or tmp_path)))


def archive(*members: tuple[str, bytes | str]) -> bytes:
    """A tar.gz; a text as content makes an entry of that type, `dir`, `link:<target>`, `hard:<target>`, `fifo`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
                continue
            kind, _, entry.linkname = content.partition(":")
            kinds = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
            entry.type = kinds[kind]
            tar.addfile(entry)
    return packed.getvalue()


def url(data: bytes, media: str = "application/gzip") -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def refusal(tmp_path: Path, data: bytes, limits: StageLimits | None = None) -> StageFailed:
    with pytest.raises(StageFailed) as raised:
        stage(tmp_path, url(data), limits)
    return raised.value


def names(folder: Path) -> Iterable[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("text", ["data:text/plain;base64,aGVsbG8=", "data:,hello", "data:text/plain,h%65llo"])
@pytest.mark.row("6.1/inline")
def test_a_data_url_is_one_file(tmp_path: Path, text: str) -> None:
    mount = stage(tmp_path, text)
    assert (mount.source.read_bytes(), mount.target, mount.read_write) == (b"hello", "/in", False)


def test_a_blob_is_mounted_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"hello")
    mount = stage(tmp_path, f"blob:{DIGEST};mime=text/plain", blob=tmp_path / "blob")
    assert mount == Mount(tmp_path / "blob", "/in")


@pytest.mark.row("6.1/inline")
def test_a_blob_that_is_an_archive_is_unpacked_into_the_inputs_own_folder(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(archive(("d/x", b"1")))
    mount = stage(tmp_path, f"blob:{DIGEST};mime=application/gzip", blob=tmp_path / "blob")
    assert names(mount.source) == ["d", "d/x"]
    assert mount.source.is_relative_to(tmp_path / "staged")


def test_folders_and_executable_files_are_kept(tmp_path: Path) -> None:
    mount = stage(tmp_path, url(archive(("./", "dir"), ("./a", b"1"), ("./empty", "dir"), ("./b/c/d", b"2"))))
    assert names(mount.source) == ["a", "b", "b/c", "b/c/d", "empty"]


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "a/" * 70 + "x", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, archive((name, b"1"))).code is StageProblem.INVALID
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "staged" / "out").exists()


@pytest.mark.parametrize("kind", ["link:/etc/passwd", "hard:a", "fifo"])
def test_only_files_and_directories_are_taken(tmp_path: Path, kind: str) -> None:
    error = refusal(tmp_path, archive(("a", b"1"), ("b", kind)))
    assert (error.code, "'b' is neither a file nor a directory" in error.message) == (StageProblem.INVALID, True)


@pytest.mark.parametrize("second", [("a", b"2"), ("a", "dir"), ("a/b", b"2")])
def test_a_name_twice_is_refused(tmp_path: Path, second: tuple[str, bytes | str]) -> None:
    assert refusal(tmp_path, archive(("a", b"1"), second)).code is StageProblem.INVALID


@pytest.mark.row("6.1/inline")
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    bomb = archive(*((f"zeros-{number}", bytes(4_000_000)) for number in range(10)))
    error = refusal(tmp_path, bomb)
    assert error.code is StageProblem.TOO_LARGE
    unpacked = sum(path.stat().st_size for path in (tmp_path / "staged" / "unpacked").rglob("*"))
    assert unpacked < 1024 * 1024 + 200 * len(bomb)


def test_limits_of_size_and_number_hold(tmp_path: Path) -> None:
    error = refusal(tmp_path, archive(("a", bytes(60_000)), ("b", bytes(60_000))), StageLimits(max_bytes=100_000))
    assert (error.code, "100,000 bytes" in error.message) == (StageProblem.TOO_LARGE, True)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, archive(*((str(number), b"") for number in range(11))), StageLimits(max_files=10))
    assert (error.code, "over 10 entries" in error.message) == (StageProblem.TOO_LARGE, True)


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="has 11 bytes; this node takes 10"):
        stage(tmp_path, url(b"x" * 11, "text/plain"), StageLimits(max_bytes=10))


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a", "GNU.sparse.realsize": "9"}


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ([{"comment": "x" * 3_000_000}], b""),
        ([{"comment": "x" * 30_000}] * 100, b""),
        ([SPARSE], b"1000000\n" + b"0\n" * 2_000_000),
    ],
    ids=["one that is long", "many", "a map of holes"],
)
def test_headers_do_not_get_our_memory(tmp_path: Path, headers: list[dict[str, str]], content: bytes) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for number, told in enumerate(headers):
            entry = tarfile.TarInfo(f"a{number}")
            entry.pax_headers, entry.size = told, len(content)
            tar.addfile(entry, io.BytesIO(content))
    error = refusal(tmp_path, packed.getvalue(), StageLimits(max_ratio=10_000))
    assert (error.code, "headers of absurd length" in error.message) == (StageProblem.INVALID, True)


def test_many_entries_with_long_names_are_taken(tmp_path: Path) -> None:
    names_of_all = [f"{'/'.join([letter * 250] * 15)}/{number}" for letter in "ab" for number in range(200)]
    mount = stage(tmp_path, url(archive(*((name, b"") for name in names_of_all))), StageLimits(max_ratio=10_000))
    assert len([path for path in mount.source.rglob("*") if path.is_file()]) == len(names_of_all)


@pytest.mark.parametrize("cut", [10, 60, -9])
def test_what_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    whole = archive(("a", bytes(range(256)) * 40))
    assert refusal(tmp_path, whole[:cut]).code is StageProblem.INVALID
