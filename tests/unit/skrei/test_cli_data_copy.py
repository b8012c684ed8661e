"""What `data copy` makes of its words, what it says where a copy is, and the program that copies."""

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from scripts.environment import ROOT
from skrei.cli import copies
from skrei.cli.data_copy import PROGRAM, copy_job
from skrei.cli.grammar import read
from skrei.cli.tree import load
from skrei.errors import Rejected
from tests.support.example_programs import run

COPY = str(ROOT / "libs/skrei/src/skrei/copying/copy")
SUM = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "kind", "params"),
    [
        ("rows", "local", {"SourcePath": "/here/rows"}),
        ("/srv/a,b:c", "local", {"SourcePath": "/srv/a,b:c"}),
        ("src=a", "local", {"SourcePath": "/here/src=a"}),
        ("data://books/2024", "data", {"Name": "books", "Path": "2024"}),
        ("https://h/a,b?x=:/y", "urlDownload", {"URL": "https://h/a,b?x=:/y"}),
        ("ipfs://bafy/a", "ipfs", {"CID": "bafy/a"}),
        ("s3://b/k/*", "s3", {"Bucket": "b", "Key": "k/*"}),
        ("s3://b/k,opt=region=eu", "s3", {"Bucket": "b", "Key": "k", "Region": "eu"}),
    ],
)
def test_what_is_copied_is_an_input_at_a_place_of_ours(text: str, kind: str, params: dict[str, Any]) -> None:
    assert copies.source(text, Path("/here")) == {
        "Source": {"Type": kind, "Params": params},
        "Target": "/source",
        "Alias": text,
    }


def test_a_checksum_is_compared_by_the_node_that_fetches_or_by_the_program_that_copies() -> None:
    web = copies.source("https://h/x", Path("/"), SUM)
    assert (web["Source"]["Params"], copies.expected(web, SUM)) == ({"URL": "https://h/x", "Checksum": SUM}, "")
    for text in ("/srv/x", "data://books/x", "s3://b/k", "ipfs://bafy"):
        source = copies.source(text, Path("/"), SUM)
        assert "Checksum" not in source["Source"]["Params"]
        assert copies.expected(source, SUM) == "0" * 64
        assert copies.expected(source, "") == ""


@pytest.mark.parametrize(
    ("text", "kind", "params"),
    [
        ("ipfs://", "ipfs", {}),
        ("ipfs", "ipfs", {}),
        ("s3://b/k/x", "s3", {"Bucket": "b", "Key": "k/x", "Encoding": "plain"}),
        (
            "s3://b/k,opt=endpoint=http://h:9,opt=region=r",
            "s3",
            {"Bucket": "b", "Key": "k", "Endpoint": "http://h:9", "Region": "r", "Encoding": "plain"},
        ),
        ("/srv/copies/x/", "localDirectory", {"Path": "/srv/copies", "Key": "x"}),
    ],
)
def test_where_it_shall_be_is_a_publisher(text: str, kind: str, params: dict[str, Any]) -> None:
    assert copies.publisher(text) == {"Type": kind, "Params": params}


@pytest.mark.parametrize(
    ("src", "dst", "checksum", "told"),
    [
        ("x", "y", "", "y is no place to copy to."),
        ("x", "/", "", "/ is no place to copy to."),
        ("x", "/books", "", "/books is no folder that a node makes for a copy."),
        ("x", "/srv/.books", "", "/srv/.books is no folder that a node makes for a copy."),
        ("x", "https://h/x", "", "https://h/x is no place to copy to."),
        ("x", "ipfs://bafy", "", "ipfs://bafy is no place to copy to."),
        ("x", "s3://b/", "", "s3://b/ names no key."),
        ("x", "s3://", "", "DST s3:// cannot be read."),
        ("x", "s3://b/k,endpoint=http://h", "", "DST s3://b/k,endpoint=http://h cannot be read."),
        ("ipfs://", "ipfs", "", "SRC ipfs:// names no CID."),
        ("ftp://h/x", "ipfs", "", "SRC ftp://h/x: ftp:// is not known here."),
        ("s3:///k", "ipfs", "", "SRC s3:///k: no bucket is named."),
        ("s3://b/k,opt=colour=red", "ipfs", "", "SRC s3://b/k,opt=colour=red: opt=colour is not known; use endpoint"),
        ("s3://b/k", "ipfs", "sha256:0", "--checksum sha256:0: not sha256: and 64 digits from 0 to f."),
        ("https://h/x", "ipfs", "md5:1", "--checksum md5:1: not sha256: and 64 digits from 0 to f."),
    ],
)
def test_what_cannot_be_copied_is_told_in_the_words_that_were_typed(
    src: str, dst: str, checksum: str, told: str
) -> None:
    with pytest.raises(Rejected) as raised:
        (copies.source(src, Path("/"), checksum), copies.publisher(dst))
    assert raised.value.message.startswith(told)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/srv/rows.csv", "rows.csv"),
        ("ipfs://bafy", "bafy"),
        ("s3://b/k/rows.csv,opt=region=eu", "rows.csv"),
        ("https://example.org/a/rows.csv?X-Signature=aa/bb#top", "rows.csv"),
        ("/srv/what?.csv", "what?.csv"),
        ("data://books/", "books"),
        ("/", "data"),
    ],
)
def test_a_file_is_called_as_it_was(text: str, name: str) -> None:
    assert copies.file_name(text) == name


@pytest.mark.parametrize(
    ("published", "address"),
    [
        ({"Type": "ipfs", "Params": {"CID": "bafy"}}, "ipfs://bafy/data"),
        ({"Type": "s3", "Params": {"Bucket": "b", "Key": "k/x/"}}, "s3://b/k/x/data/"),
        (
            {"Type": "s3", "Params": {"Bucket": "b", "Key": "k/", "Region": "r", "Endpoint": "http://h:9"}},
            "s3://b/k/data/,opt=endpoint=http://h:9,opt=region=r",
        ),
        ({"Type": "localDirectory", "Params": {"NodeID": "n-1", "Path": "/srv/x"}}, "/srv/x/data"),
        ({"Type": "urlDownload", "Params": {}}, ""),
        ({}, ""),
    ],
)
def test_an_address_is_an_input_again(published: dict[str, Any], address: str) -> None:
    assert copies.address(published) == address
    if address:
        assert copies.source(address, Path("/"))["Source"]["Type"] in (published["Type"], "local")


def test_the_job_runs_the_program_on_what_it_names() -> None:
    job = copy_job(read(load("data copy"), ["https://h/rows.csv", "ipfs://", "--disk", "10Gb", "--timeout", "90"]))
    (task,) = job["Tasks"]
    assert task["Engine"]["Params"]["Parameters"] == ["/source", "/data", "/sums", "rows.csv"]
    assert [one["Target"] for one in task["InputSources"]] == ["/copy.wasm", "/source"]
    assert (task["Resources"]["Disk"], task["Timeouts"]) == ("10Gb", {"TotalTimeout": 90})
    assert PROGRAM.read_bytes()[:4] == b"\0asm"


def test_a_copy_is_the_same_bytes_with_their_digests(tmp_path: Path) -> None:
    chance = random.Random(1)
    for folder in ("from/a/b", "to", "sums"):
        (tmp_path / folder).mkdir(parents=True)
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 262_144, 300_000):  # around blocks, and pieces
        (tmp_path / f"from/a/{size}").write_bytes(chance.randbytes(size))
    (tmp_path / "from/a/b/we\\ird\nname").write_text("x")
    (tmp_path / "from/link").symlink_to("/etc/passwd")
    code, said = run(COPY, "/from", "/to", "/sums", "unused", folder=tmp_path)
    assert (code, said) == (0, "left out, neither file nor folder: link\n13 files, 562816 bytes\n")
    expected = []
    for file in sorted(path for path in (tmp_path / "from/a").rglob("*") if path.is_file()):
        there = tmp_path / "to" / file.relative_to(tmp_path / "from")
        assert there.read_bytes() == file.read_bytes()
        name = str(file.relative_to(tmp_path / "from"))
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
        mark = "\\" if escaped != name else ""
        expected.append(f"{mark}{hashlib.sha256(file.read_bytes()).hexdigest()}  {escaped}\n")
    lines = (tmp_path / "sums/SHA256SUMS").read_text().splitlines(keepends=True)
    assert sorted(lines) == sorted(expected)


def test_a_lone_file_has_the_name_that_is_told(tmp_path: Path) -> None:
    for folder in ("to", "sums"):
        (tmp_path / folder).mkdir()
    (tmp_path / "from").write_text("rows")
    assert run(COPY, "/from", "/to", "/sums", "rows.csv", folder=tmp_path) == (0, "1 file, 4 bytes\n")
    assert (tmp_path / "to/rows.csv").read_text() == "rows"


def test_what_is_not_there_is_why_it_fails(tmp_path: Path) -> None:
    for folder in ("to", "sums"):
        (tmp_path / folder).mkdir()
    code, said = run(COPY, "/gone", "/to", "/sums", "x", folder=tmp_path)
    assert (code, said) == (1, "cannot find /gone: No such file or directory\n")


def test_with_a_digest_it_is_one_file_that_has_it(tmp_path: Path) -> None:
    for folder in ("from", "to", "sums"):
        (tmp_path / folder).mkdir()
    (tmp_path / "from/a").write_text("rows")
    digest = hashlib.sha256(b"rows").hexdigest()
    words = ("/from", "/to", "/sums", "x")
    assert run(COPY, *words, digest, folder=tmp_path) == (0, "1 file, 4 bytes\n")
    told = f"what is copied has the digest sha256:{digest}, not sha256:{'0' * 64}\n"
    assert run(COPY, *words, "0" * 64, folder=tmp_path) == (1, told)
    (tmp_path / "from/b").touch()
    told = "a checksum was given, which is that of one file; here are 2\n"
    assert run(COPY, *words, digest, folder=tmp_path) == (1, told)
