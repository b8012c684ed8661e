"""A real IPFS node of a test's own, alone in its network: it serves Kubo's RPC from a store of its own."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import pytest

from scripts.tools import IPFS
from skrei_embedded.nats import free_port

START_SECONDS = 60.0
POLYFILL = """
if (!Promise.withResolvers) Promise.withResolvers = function () {
  let resolve, reject
  const promise = new this((a, b) => { resolve = a; reject = b })
  return { promise, resolve, reject }
}
"""
"""What its libraries want of a newer Node than some machines have."""


def why_no_ipfs() -> str:
    """Return what is missing for a node, empty if nothing is."""
    if shutil.which("node") is None:
        return "needs Node.js"
    return "" if IPFS.exists() else "needs js-ipfs: `make tools` installs it (npm, some minutes)"


@dataclass(frozen=True, slots=True)
class IpfsNode:
    """Where it listens, and the folder in which it says so."""

    url: str
    folder: Path

    def add(self, files: Mapping[str, bytes], **options: str) -> str:
        """Keep and pin files as one directory; returns its CID."""
        wanted = {"cid-version": "1", "cid-base": "base32", "wrap-with-directory": "true", "pin": "true"} | options
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        said = self._post(f"/api/v0/add?{query}", files)
        return str(json.loads(said.splitlines()[-1])["Hash"])

    def cat(self, path: str) -> bytes:
        """Return the bytes of `CID/path`, as the node's own users read it."""
        return self._ask(f"/api/v0/cat?arg={quote(path)}")

    def files(self, cid: str, at: str = "") -> list[str]:
        """Return the paths of the files below a CID."""
        said = json.loads(self._ask(f"/api/v0/ls?arg={quote(cid + at)}"))
        found: list[str] = []
        for link in said["Objects"][0]["Links"]:
            path = f"{at}/{link['Name']}"
            found += self.files(cid, path) if link["Type"] == 1 else [path.removeprefix("/")]
        return found

    def pinned(self, cid: str) -> bool:
        """Whether a CID itself is pinned, with all below it."""
        try:
            return b'"recursive"' in self._ask(f"/api/v0/pin/ls?arg={cid}&type=recursive")
        except urllib.error.HTTPError:
            return False

    def _post(self, path: str, files: Mapping[str, bytes]) -> bytes:
        line = uuid.uuid4().hex
        body = bytearray()
        for name, data in files.items():
            head = f'Content-Disposition: form-data; name="file"; filename="{quote(name, safe="")}"'
            body += f"--{line}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n"
        body += f"--{line}--\r\n".encode()
        return self._ask(path, bytes(body), {"Content-Type": f"multipart/form-data; boundary={line}"})

    def _ask(self, path: str, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
        request = urllib.request.Request(f"{self.url}{path}", body or None, dict(headers), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            told: bytes = answer.read()
            return told


@contextmanager
def ipfs_node() -> Iterator[IpfsNode]:
    """Start a node that knows nobody; yields it."""
    folder = Path(tempfile.mkdtemp(prefix="skrei-ipfs-"))
    (folder / "polyfill.cjs").write_text(POLYFILL)
    environment = os.environ | {"IPFS_PATH": str(folder / "repo"), "NODE_OPTIONS": f"--require {folder}/polyfill.cjs"}
    log = (folder / "log").open("wb")

    def run(*words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([IPFS, *words], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    try:
        assert run("init", "--profile", "test", "--empty-repo").wait(START_SECONDS) == 0, (folder / "log").read_text()
        port = _alone(folder / "repo" / "config")
        daemon = run("daemon", "--offline")
        try:
            url = f"http://127.0.0.1:{port}"
            _until_it_answers(url, daemon, folder / "log")
            yield IpfsNode(url, folder / "repo")
        finally:
            daemon.kill()  # nothing of it is wanted any more, and asked to end it takes its time
            daemon.wait(START_SECONDS)
    finally:
        log.close()
        shutil.rmtree(folder)


def _alone(path: Path) -> int:
    """Let a node listen for its users alone, on loopback; returns the port of its RPC."""
    config = json.loads(path.read_text())
    port = free_port()
    config["Addresses"] |= {"Swarm": [], "API": f"/ip4/127.0.0.1/tcp/{port}", "Gateway": "", "RPC": ""}
    config["Bootstrap"] = []
    path.write_text(json.dumps(config))
    return port


def _until_it_answers(url: str, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/api/v0/version", method="POST"), timeout=5):
                return
        except OSError:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the node did not start: {log.read_text()}") from None
        time.sleep(0.05)  # another process is awaited: there is nothing in this one to wait for


@pytest.fixture(scope="module")
def node() -> Iterator[IpfsNode]:
    """Yield a node for all tests of a module; skips where none can run."""
    if missing := why_no_ipfs():
        pytest.skip(missing)
    with ipfs_node() as started:
        yield started
