"""Packing: the same files give the same bytes, links are left out, and too much is named."""

import base64
import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from skrei_compute_agent.results import INLINE_BYTES, ResultTooLarge, first_output, pack


@pytest.fixture
def streams(tmp_path: Path) -> tuple[Path, Path]:
    stdout, stderr = tmp_path / "out", tmp_path / "err"
    stdout.write_bytes(b"hello\n")
    stderr.write_bytes(b"oops\n")
    return stdout, stderr


def unpacked(inline: str | None) -> tarfile.TarFile:
    assert inline is not None
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(inline))))


def test_a_result_holds_streams_exit_code_and_folders_with_directories_first(
    streams: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b").write_bytes(b"B" * 700)
    (folder / "a").write_bytes(b"A")
    (tmp_path / "empty").mkdir()
    ref = pack(*streams, 3, {"words": folder, "nothing": tmp_path / "empty"})
    with unpacked(ref.inline) as tar:
        assert tar.getnames() == [
            "nothing", "words", "words/deep", "stdout", "stderr", "words/a", "words/deep/b", "exitCode",
        ]  # fmt: skip
        contents = {item.name: tar.extractfile(item) for item in tar.getmembers() if item.isfile()}
        assert {name: file.read() for name, file in contents.items() if file} == {
            "stdout": b"hello\n",
            "stderr": b"oops\n",
            "words/a": b"A",
            "words/deep/b": b"B" * 700,
            "exitCode": b"3",
        }
        assert {(item.mtime, item.uid, item.gid, item.uname) for item in tar.getmembers()} == {(0, 0, 0, "")}
    data = base64.b64decode(ref.inline or "")
    assert (ref.size, ref.digest) == (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")


def test_the_same_files_give_the_same_digest_whenever_they_were_made(
    streams: tuple[Path, Path], tmp_path: Path
) -> None:
    first = pack(*streams, 0, {})
    os.utime(streams[0], (1, 1))
    streams[1].chmod(0o600)
    assert pack(*streams, 0, {}) == first
    assert pack(*streams, 1, {}).digest != first.digest


def test_links_are_neither_followed_nor_kept(streams: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "leak").symlink_to("/etc/passwd")
    (folder / "away").symlink_to("/etc")
    with unpacked(pack(*streams, 0, {"made": folder}).inline) as tar:
        assert tar.getnames() == ["made", "stdout", "stderr", "exitCode"]


def test_a_result_over_the_limit_names_size_and_limit(streams: tuple[Path, Path]) -> None:
    streams[0].write_bytes(os.urandom(INLINE_BYTES + 1))
    with pytest.raises(ResultTooLarge, match=f"holds {INLINE_BYTES + 6} bytes .* limit of {INLINE_BYTES} bytes"):
        pack(*streams, 0, {})


def test_a_result_that_packs_into_the_limit_is_inline_whatever_it_holds(streams: tuple[Path, Path]) -> None:
    streams[0].write_bytes(b"a" * 10 * INLINE_BYTES)
    assert pack(*streams, 0, {}).size < INLINE_BYTES


def test_long_and_foreign_names_survive(streams: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    name = "ø" * 90 + "-" + "x" * 60
    (folder / name).write_bytes(b"1")
    with unpacked(pack(*streams, 0, {"made": folder}).inline) as tar:
        assert f"made/{name}" in tar.getnames()


def test_the_first_output_is_text_that_the_record_can_hold(streams: tuple[Path, Path], tmp_path: Path) -> None:
    streams[0].write_bytes(b"a\x00b\xff" + b"c" * 3000)
    output = first_output(*streams)
    assert output.stdout == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}" + "c" * 2044
    assert (output.stdout_truncated, output.stderr, output.stderr_truncated) == (True, "oops\n", False)


def test_streams_that_were_never_made_are_empty(tmp_path: Path) -> None:
    assert first_output(tmp_path / "none", tmp_path / "none").stdout == ""
