"""The packed result: one digest for the same content, whatever made it."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from skrei_plugin_api.packing import OutputTooLarge, PackedResult, pack_result, stream_head, tar_end, tar_header
from skrei_plugin_api.removing import remove
from tests.support.nesting import nest

LIMIT = 64 * 1024


def made(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def opened(packed: PackedResult) -> tarfile.TarFile:
    data = packed.data if packed.path is None else packed.path.read_bytes()
    assert data is not None
    assert (packed.size, packed.digest) == (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)))


@pytest.mark.row("5.5/result-files", "6.2/archive")
def test_folders_come_first_and_nothing_tells_when_or_where_it_was_packed(tmp_path: Path) -> None:
    made(
        tmp_path, {"stdout": b"out", "stderr": b"", "outputs/b/z/deep": b"d", "outputs/b/a": b"a", "outputs/a/x": b"x"}
    )
    with opened(pack_result(tmp_path, ["b", "a"], 3, inline_limit=LIMIT)) as tar:
        assert tar.getnames() == [".", "a", "b", "b/z", "stdout", "stderr", "a/x", "b/a", "b/z/deep", "exitCode"]
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.mode == (0o755 if member.isdir() else 0o644)


def test_times_modes_and_creation_order_do_not_change_the_digest(tmp_path: Path) -> None:
    files = {"stdout": b"out", "outputs/o/1": b"1", "outputs/o/2": b"2"}
    first = made(tmp_path / "first", files)
    second = made(tmp_path / "second", dict(reversed(files.items())))
    os.utime(second / "stdout", (1, 1))
    (second / "outputs/o/1").chmod(0o600)
    digests = {pack_result(folder, ["o"], 0, inline_limit=LIMIT).digest for folder in (first, second)}
    assert len(digests) == 1
    assert pack_result(first, ["o"], 1, inline_limit=LIMIT).digest not in digests


def test_what_was_never_made_is_empty(tmp_path: Path) -> None:
    with opened(pack_result(tmp_path, ["o"], None, inline_limit=LIMIT)) as tar:
        assert tar.getnames() == [".", "o", "stdout", "stderr", "exitCode"]
        code = tar.extractfile("exitCode")
        assert code is not None
        assert code.read() == b"-1"


def test_links_and_pipes_are_left_out_and_never_followed(tmp_path: Path) -> None:
    made(tmp_path, {"secret": b"secret", "outputs/o/kept": b"kept"})
    (tmp_path / "outputs/o/link").symlink_to(tmp_path / "secret")
    (tmp_path / "outputs/o/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "outputs/o/pipe")
    (tmp_path / "stdout").symlink_to(tmp_path / "secret")
    (tmp_path / "outputs/other").symlink_to(tmp_path / "outputs/o")
    packed = pack_result(tmp_path, ["o", "other"], 0, inline_limit=LIMIT)
    with opened(packed) as tar:
        assert tar.getnames() == [".", "o", "other", "stdout", "stderr", "o/kept", "exitCode"]
        assert tar.getmember("stdout").size == 0


def test_a_large_result_becomes_a_file(tmp_path: Path) -> None:
    noise = os.urandom(300_000)
    made(tmp_path, {"stdout": noise})
    packed = pack_result(tmp_path, [], 0, inline_limit=LIMIT)
    assert (packed.data, packed.path) == (None, tmp_path / "result.tar.gz")
    with opened(packed) as tar:
        content = tar.extractfile("stdout")
        assert content is not None
        assert content.read() == noise


def test_much_that_packs_small_is_inline(tmp_path: Path) -> None:
    made(tmp_path, {"stdout": b"a" * 5_000_000})
    packed = pack_result(tmp_path, [], 0, inline_limit=LIMIT)
    assert packed.path is None
    assert not (tmp_path / "result.tar.gz").exists()
    opened(packed).close()


def test_more_than_the_limit_names_both_numbers(tmp_path: Path) -> None:
    made(tmp_path, {"stdout": b"x" * 600, "outputs/o/a": b"y" * 600, "outputs/o/b": b"z" * 401})
    with pytest.raises(OutputTooLarge, match="hold 1001 bytes; at most 1000"):
        pack_result(tmp_path, ["o"], 0, inline_limit=LIMIT, max_bytes=1000)
    assert pack_result(tmp_path, ["o"], 0, inline_limit=LIMIT, max_bytes=1001).data


def test_long_and_foreign_names_survive(tmp_path: Path) -> None:
    name = "ø" * 90 + "-" + "x" * 60
    made(tmp_path, {f"outputs/o/{name}": b"1"})
    with opened(pack_result(tmp_path, ["o"], 0, inline_limit=LIMIT)) as tar:
        assert f"o/{name}" in tar.getnames()


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(
    ("name", "size"), [("stdout", 0), ("a/b", 123_456), ("x" * 99, 8**11 - 1), ("x" * 100, 1), ("ü", 1), ("big", 8**11)]
)
def test_headers_are_what_the_library_reads(name: str, size: int, folder: bool) -> None:
    size = 0 if folder else size
    header = tar_header(name, size, folder=folder)
    with tarfile.open(fileobj=io.BytesIO(header + tar_end())) as tar:
        entry = tar.next()
    assert entry is not None
    assert (entry.name, entry.size, entry.isdir(), entry.mode) == (name, size, folder, 0o755 if folder else 0o644)
    assert (entry.uid, entry.gid, entry.mtime, entry.uname, entry.gname) == (0, 0, 0, "", "")


def test_what_is_nested_deeper_than_calls_may_be_is_packed(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    nest(tmp_path / "outputs/o", 1_100, name="d")
    try:
        packed = pack_result(tmp_path, ["o"], 0, inline_limit=LIMIT)
    finally:
        remove(tmp_path / "outputs")  # who tidies up after tests cannot
    with opened(packed) as tar:
        names = tar.getnames()
    assert (len(names), names[-2].count("/"), names[-2][-6:]) == (1_106, 1_101, "d/file")


@pytest.mark.row("5.5/run-output", "12/short-run-output")
def test_the_head_of_a_stream_is_cut_at_2_kib(tmp_path: Path) -> None:
    made(tmp_path, {"exact": b"x" * 2048, "more": b"y" * 2049})
    assert (stream_head(tmp_path / "exact").truncated, len(stream_head(tmp_path / "exact").data)) == (False, 2048)
    assert (stream_head(tmp_path / "more").truncated, len(stream_head(tmp_path / "more").data)) == (True, 2048)
    assert stream_head(tmp_path / "none").data == b""
