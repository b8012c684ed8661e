"""`skrei data copy` between real servers, each copy the next one's source: what arrives is what set out."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.faults.test_ipfs import plugin_options
from tests.support.ipfs_node import IpfsNode, node
from tests.support.live_stack import LiveStack, live_stack
from tests.support.s3_server import S3Server, s3_server

__all__ = ["node"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

SKREI = str(Path(sys.executable).with_name("skrei"))
LARGE = bytes(range(256)) * 4096
CHANGES = "/proc/sys/kernel/random"
"""A folder with a file that is another one each time it is read."""
FILES = {"rows.csv": b"id,city\n1,Oslo\n", "deep/er/large.bin": LARGE}


@dataclass(frozen=True, slots=True)
class Places:
    """A stack whose node reaches all of these."""

    stack: LiveStack
    web: str
    objects: S3Server
    blocks: IpfsNode
    folder: Path

    def copy(self, source: str, destination: str, *more: str) -> str:
        """Copy; return the address that the command prints, and nothing else, on standard output."""
        done = self.run(source, destination, *more)
        assert done.returncode == 0, done.stderr
        (address,) = done.stdout.splitlines()
        if destination.startswith("/"):
            self.stack.wait_until(Path(address).is_dir, 15, "the node has heard that the copy counts, and shows it")
        return address

    def run(self, source: str, destination: str, *more: str) -> "subprocess.CompletedProcess[str]":
        words = [SKREI, "data", "copy", "--api", self.stack.state()["api_url"], source, destination, *more]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=90, stdin=subprocess.DEVNULL)

    def key(self, name: str) -> str:
        """An address in the bucket."""
        return f"s3://archive/{name},opt=endpoint={self.objects.url}"

    def has(self, key: str) -> bytes:
        """What the server has kept of an object."""
        return (self.objects.folder / "data" / "archive" / key).read_bytes()

    def brought_back(self, address: str) -> Mapping[str, bytes]:
        """Copy to a folder of the node, and read it."""
        found = Path(self.copy(address, str(self.folder / "back" / hashlib.sha256(address.encode()).hexdigest())))
        return {str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def places(node: IpfsNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("copies")
    for name, content in FILES.items():
        (folder / "set-out" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "set-out" / name).write_bytes(content)
    (folder / "back").mkdir()
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder / "set-out"))
    Thread(target=served.serve_forever, daemon=True).start()
    options = ",".join(f"{name}={value}" for name, value in plugin_options(node).items())
    with s3_server() as objects:
        environment = objects.environment | {"SKREI_PLUGIN_OPTIONS": options, "SKREI_ALLOW_ADDRESSES": "127.0.0.0/8"}
        allowed = (
            "--allow-local",
            CHANGES,
            "--allow-local",
            f"{folder}/set-out",
            "--allow-local",
            f"{folder}/back/**:rw",
        )
        (objects.folder / "data" / "archive").mkdir()
        try:
            with live_stack(*allowed, env=environment) as stack:
                yield Places(stack, f"http://127.0.0.1:{served.server_port}", objects, node, folder)
        finally:
            served.shutdown()
            served.server_close()


def test_from_the_web_to_s3_from_there_to_s3_and_to_ipfs(places: Places) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    first = places.copy(f"{places.web}/deep/er/large.bin", places.key("first"), "--checksum", f"sha256:{digest}")
    assert first == f"s3://archive/first/data/,opt=endpoint={places.objects.url}"
    assert places.has("first/data/large.bin") == LARGE
    assert places.has("first/sums/SHA256SUMS") == f"{digest}  large.bin\n".encode()

    second = places.copy(first, places.key("second"))
    assert places.has("second/data/large.bin") == LARGE

    third = places.copy(second, "ipfs://")
    assert places.brought_back(third) == {"large.bin": LARGE}


def test_from_the_web_to_ipfs(places: Places) -> None:
    address = places.copy(f"{places.web}/rows.csv", "ipfs://")
    assert places.brought_back(address) == {"rows.csv": FILES["rows.csv"]}


def test_a_folder_of_the_node_to_ipfs(places: Places) -> None:
    address = places.copy(str(places.folder / "set-out"), "ipfs://")
    assert places.brought_back(address) == FILES
    assert places.blocks.pinned(address.removeprefix("ipfs://").partition("/")[0])


def test_what_is_not_what_it_should_be_is_not_copied(places: Places) -> None:
    done = places.run(f"{places.web}/rows.csv", places.key("wrong"), "--checksum", f"sha256:{'0' * 64}")
    assert (done.returncode, done.stdout) == (125, ""), done.stderr  # as for what never ran
    assert f"sha256:{hashlib.sha256(FILES['rows.csv']).hexdigest()}" in done.stderr
    assert not (places.objects.folder / "data/archive/wrong").exists()


def test_a_file_of_a_node_is_compared_with_its_copy_and_with_its_checksum(places: Places) -> None:
    done = places.run(CHANGES, str(places.folder / "back/uuid"))
    assert done.returncode == 1, done.stderr
    assert "changed while it was copied" in done.stderr
    rows, digest = str(places.folder / "set-out/rows.csv"), hashlib.sha256(FILES["rows.csv"]).hexdigest()
    done = places.run(rows, str(places.folder / "back/rows"), "--checksum", f"sha256:{'0' * 64}")
    assert done.returncode == 1, done.stderr
    assert f"what is copied has the digest sha256:{digest}, not sha256:{'0' * 64}" in done.stderr
    assert [path.name for path in (places.folder / "back").iterdir() if path.name in ("uuid", "rows")] == []
    copied = Path(places.copy(rows, str(places.folder / "back/rows"), "--checksum", f"sha256:{digest}"))
    assert (copied / "rows.csv").read_bytes() == FILES["rows.csv"]
