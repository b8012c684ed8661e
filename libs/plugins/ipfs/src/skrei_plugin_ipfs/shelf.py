"""Results in an IPFS daemon: put there, and made archives of again for whoever wants to read one as it was."""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import aiohttp

from skrei_domain.errors import Unavailable
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.packing import pack_result
from skrei_plugin_api.publisher import DestinationAway, PublishDenied, StoreFull
from skrei_plugin_api.storage import StageFailed
from skrei_plugin_api.streams import NAMES
from skrei_plugin_ipfs.adding import CONNECT_SECONDS, add, digests
from skrei_plugin_ipfs.cid import Cid
from skrei_plugin_ipfs.daemon import Daemon
from skrei_plugin_ipfs.endpoint import Endpoint
from skrei_plugin_ipfs.tree import Entry, TooMany, Tree, tree
from skrei_plugin_ipfs.unixfs import Malformed
from skrei_plugin_ipfs.whole import Larger, write

EXIT_CODE = "exitCode"
ARCHIVES = 8
"""Kept of those that were asked for: a download that was cut goes on with the same file, and few are read at a time."""
MOST_FILES = 1_000_000
"""Of one result: more would fill the memory of whoever lists them."""
SPARE_BYTES = 64 * 1024 * 1024
"""What is left free on the disk beside an archive that is made."""


class Shelf:
    """What one daemon keeps; `folder` is for archives that are asked for."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self._endpoint = endpoint
        self._daemon = Daemon(endpoint)
        self._folder = folder / "read"
        self._session: aiohttp.ClientSession | None = None
        self._locks: WeakValueDictionary[Cid, asyncio.Lock] = WeakValueDictionary()

    async def put(self, archive: Path) -> Cid:
        """Add and pin what an archive holds; return its name. Raises PublishDenied and DestinationAway."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        cid, expected = await add(self._session, self._endpoint.url, archive)
        if cid != expected.cid:
            await self._compare(cid, archive)
        return cid

    async def archive(self, cid: Cid) -> Path:
        """Return a tree packed as results are, made anew unless it was asked for lately. Raises DestinationAway."""
        async with self._locks.setdefault(cid, asyncio.Lock()):
            place = self._folder / f"{cid}.tar.gz"
            if not place.exists():
                await self._make(cid, place)
            os.utime(place)
            await asyncio.to_thread(self._tidy, place)
            return place

    async def close(self) -> None:
        """Close the connections."""
        await self._daemon.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _compare(self, cid: Cid, archive: Path) -> None:
        """Read back what a daemon keeps in a form of its own. Raises PublishDenied where it is something else."""
        expected = await asyncio.to_thread(digests, archive)
        found = await self._tree(cid)
        same = {entry.path for entry in found.files} == expected.keys()
        async with self._room(0) as folder:
            for entry in found.files if same else ():
                with _answering(self._endpoint.url):
                    await self._bring(entry, folder / "file")
                same = same and await asyncio.to_thread(_digest, folder / "file") == expected[entry.path]
        if not same:
            raise PublishDenied(
                f"the IPFS daemon at {self._endpoint.url} answers with {cid}, which is not the result that it got",
                hint="its store may be damaged: ipfs repo verify",
            )

    async def _make(self, cid: Cid, place: Path) -> None:
        found = await self._tree(cid)
        async with self._room(2 * sum(entry.size for entry in found.files)) as folder:
            with _answering(self._endpoint.url):
                for name in found.folders:
                    _below(folder, name).mkdir(parents=True, exist_ok=True)
                for entry in found.files:
                    path = _below(folder, entry.path)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    await self._bring(entry, path)
            packed = await to_its_end(lambda: _pack(folder))
            packed.rename(place)

    async def _tree(self, cid: Cid) -> Tree:
        with _answering(self._endpoint.url):
            return await tree(self._daemon.block, cid, MOST_FILES)

    async def _bring(self, entry: Entry, path: Path) -> None:
        await write(self._daemon.block, entry.cid, path, entry.size)

    @asynccontextmanager
    async def _room(self, size: int) -> AsyncIterator[Path]:
        """Give a folder for so many bytes that goes afterwards. Raises StoreFull."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < size + SPARE_BYTES:
            raise StoreFull(f"There is no room on the publisher's disk to pack {size // 2:,} bytes again.")
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder
        finally:
            await to_its_end(lambda: shutil.rmtree(folder, ignore_errors=True))

    def _tidy(self, newest: Path) -> None:
        archives = sorted(self._folder.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in archives[ARCHIVES:]:
            if path != newest:
                path.unlink(missing_ok=True)


@contextmanager
def _answering(base: str) -> Iterator[None]:
    """Turn what a daemon does not bring, or brings wrongly, into DestinationAway."""
    try:
        yield
    except (StageFailed, Unavailable) as error:
        raise DestinationAway(error.message, hint=error.hint) from error
    except (Malformed, Larger, TooMany) as error:
        raise DestinationAway(f"the IPFS daemon at {base} has no result by that name: {error}") from error


def _below(folder: Path, path: str) -> Path:
    """Return where a path of a result lies in a work folder that is to be packed."""
    at = folder / path if path in (*NAMES.values(), EXIT_CODE) else folder / "outputs" / path
    if not at.resolve().is_relative_to(folder.resolve()):
        raise Malformed(f"{path[:200]!r} leads out of it")
    return at


def _pack(folder: Path) -> Path:
    """Pack a work folder as nodes do: the same files give the same bytes."""
    code = folder / EXIT_CODE
    exit_code = int(code.read_text("ascii") or 0) if code.is_file() else None
    outputs = [each.name for each in (folder / "outputs").iterdir()] if (folder / "outputs").is_dir() else []
    packed = pack_result(folder, outputs, exit_code, inline_limit=0)
    assert packed.path is not None, "nothing is small enough for no bytes"
    return packed.path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
