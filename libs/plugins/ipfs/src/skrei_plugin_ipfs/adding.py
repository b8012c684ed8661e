"""A packed result into an IPFS daemon: sent file by file in one request, pinned, and its name compared with our own."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import aiohttp

from skrei_plugin_api.publisher import DestinationAway, PublishDenied
from skrei_plugin_ipfs.cid import Cid, InvalidCid, parse
from skrei_plugin_ipfs.dag import SETTINGS, FileMaker, Made, TreeMaker
from skrei_plugin_ipfs.unpacked import Folder, NoResult, Start, walk
from skrei_plugin_ipfs.version import told

CONNECT_SECONDS = 5.0
"""How long a daemon may take to accept a connection."""
SILENCE_SECONDS = 120.0
"""How long it may take nothing: one whose disk is busy syncing takes its time."""
PIN_SECONDS = 900.0
"""How long it may take for its answer once it has all: it pins what may be a hundred thousand blocks."""
LINE_BYTES = 64 * 1024
"""Of one line of its answer, which names a file."""


class Adder:
    """Makes the body of a request from an archive, and meanwhile the name that the daemon has to answer with."""

    def __init__(self, archive: Path) -> None:
        self.boundary = uuid.uuid4().hex
        self.refused: NoResult | None = None
        self._archive = archive
        self._tree = TreeMaker()
        self._file: tuple[str, FileMaker] | None = None

    def body(self) -> Iterator[bytes]:
        """Yield the body. Blocks. Raises NoResult, which is `refused` from then on, and OSError."""
        try:
            yield from self._pieces()
        except NoResult as error:
            self.refused = error
            raise

    @property
    def made(self) -> Made:
        """What all of it became, once the body has come to its end."""
        return self._tree.end()

    def _pieces(self) -> Iterator[bytes]:
        for item in walk(self._archive):
            if isinstance(item, bytes):
                assert self._file is not None, "pieces belong to a file"
                self._file[1].feed(item)
                yield item
                continue
            self._end_file()
            yield self._head(item)
            if isinstance(item, Folder):
                self._tree.directory(item.path)
            else:
                self._file = (item.path, FileMaker())
        self._end_file()
        yield f"\r\n--{self.boundary}--\r\n".encode()

    def _end_file(self) -> None:
        if self._file is not None:
            path, maker = self._file
            self._tree.file(path, maker.end())
            self._file = None

    def _head(self, item: Folder | Start) -> bytes:
        kind = "application/x-directory" if isinstance(item, Folder) else "application/octet-stream"
        name = quote(item.path, safe="", errors="surrogateescape")
        line = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        return f"\r\n--{self.boundary}\r\n{line}\r\nContent-Type: {kind}\r\n\r\n".encode()


async def add(session: aiohttp.ClientSession, base: str, archive: Path) -> tuple[Cid, Made]:
    """Have a daemon at `base` keep and pin what an archive holds; return its name of it, and what it should be.

    Raises PublishDenied for an archive that is no result, and DestinationAway.
    """
    adder = Adder(archive)
    query = urlencode({**SETTINGS, "wrap-with-directory": "true", "pin": "true", "progress": "false"})
    headers = {"Content-Type": f"multipart/form-data; boundary={adder.boundary}"}
    url = f"{base}/api/v0/add?{query}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS + SILENCE_SECONDS) as patience:
            body = _paced(adder.body(), patience)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                name = await _name(response, base)
    except (aiohttp.ClientError, OSError, NoResult) as error:  # TimeoutError is one
        if adder.refused is not None:
            raise PublishDenied(f"the result cannot be added to IPFS: {adder.refused}") from error
        cause = str(error) or "it takes nothing any more"
        raise DestinationAway(
            f"the IPFS daemon at {base} does not take the result: {cause}", hint="look whether it runs: ipfs id"
        ) from error
    return name, await asyncio.to_thread(lambda: adder.made)


def digests(archive: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of an archive by its path. Blocks. Raises NoResult and OSError."""
    found: dict[str, str] = {}
    path, hasher = "", hashlib.sha256()
    for item in walk(archive):
        if isinstance(item, bytes):
            hasher.update(item)
        elif isinstance(item, Start):
            if path:
                found[path] = hasher.hexdigest()
            path, hasher = item.path, hashlib.sha256()
    if path:
        found[path] = hasher.hexdigest()
    return found


async def _paced(pieces: Iterator[bytes], patience: asyncio.Timeout) -> AsyncIterator[bytes]:
    """Yield pieces that are made in a thread; each that is asked for gives the other side some more time."""
    now = asyncio.get_running_loop().time
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
        patience.reschedule(now() + SILENCE_SECONDS)
    patience.reschedule(now() + PIN_SECONDS)


async def _name(response: aiohttp.ClientResponse, base: str) -> Cid:
    """Return the name of the whole out of an answer, which has a line for each file and directory, the whole last."""
    last = b""
    while line := await response.content.readline():
        if len(line) > LINE_BYTES:
            raise DestinationAway(f"the IPFS daemon at {base} answers at length, and cannot be understood")
        last = line.strip() or last
    if response.status in (401, 403):
        raise PublishDenied(f"the IPFS daemon at {base} refuses the result: {told(last) or response.status}")
    try:
        read = json.loads(last)
        return parse(str(read["Hash"]))
    except (ValueError, KeyError, TypeError, InvalidCid) as error:
        said = told(last) or f"status {response.status}"
        raise DestinationAway(f"the IPFS daemon at {base} cannot add the result: {said}") from error
