"""Fetched inputs by digest: kept once, shared by every execution that names them, the least used dropped first."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from skrei_domain.errors import SkreiError

Fetch = Callable[[str, str], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the bytes of (digest, token)."""

MOST_FILES = 10_000
"""Kept at once, however small: each takes an inode and a line in memory."""

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")


class InputDenied(SkreiError):
    """An input may not, or cannot, be had: the execution fails by its own doing."""

    code = "input-denied"


class InputCorrupt(SkreiError):
    """What was fetched is not what the digest names."""

    code = "input-corrupt"


class InputTooLarge(SkreiError):
    """An input is larger than this node fetches."""

    code = "input-too-large"


class InputCache:
    """A folder of blobs named by digest; a file appears only whole and verified."""

    def __init__(self, folder: Path, fetch: Fetch, *, limit_bytes: int, blob_bytes: int) -> None:
        self._folder = folder
        self._fetch = fetch
        self._limit_bytes = limit_bytes
        self._blob_bytes = blob_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        self._pins: dict[str, int] = {}
        self._fetching: dict[str, asyncio.Future[None]] = {}

    def open(self) -> None:
        """Make the folder, drop what a crash left half fetched, and learn what is there, least recently used first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found: list[tuple[float, str, int]] = []
        for path in self._folder.iterdir():
            if _DIGEST.match(path.name.replace("-", ":", 1)) is None:
                path.unlink()
                continue
            status = path.stat()
            found.append((status.st_mtime, path.name.replace("-", ":", 1), status.st_size))
        for _, digest, size in sorted(found):
            self._add(digest, size)
        self._shrink()

    def ready(self, digest: str) -> Path | None:
        """Return the file of `digest` and pin it, if it is here; `release` unpins it."""
        if digest not in self._sizes:
            return None
        path = self._path(digest)
        if not path.exists():  # someone tidied up by hand: fetch it again
            self._total -= self._sizes.pop(digest)
            return None
        self._sizes.move_to_end(digest)
        self._pins[digest] = self._pins.get(digest, 0) + 1
        return path

    async def get(self, digest: str, token: str, fetch: Fetch | None = None) -> Path:
        """Return the file of `digest`, fetched (with `fetch`, where it does not come as others do) if need be, pinned
        until `release`.

        Two that want the same blob fetch it once. Raises InputDenied for a digest that is none.
        """
        if _DIGEST.match(digest) is None:
            raise InputDenied(f"{digest!r} is not a digest of the form sha256:<64 hex digits>")
        while True:
            if (path := self.ready(digest)) is not None:
                return path
            running = self._fetching.get(digest)
            if running is not None:
                await asyncio.wait([running])
                continue
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._fetching[digest] = mine
            try:
                await self._download(digest, token, fetch or self._fetch)
            finally:
                del self._fetching[digest]
                mine.set_result(None)

    def keep(self, data: bytes) -> tuple[str, Path]:
        """Return digest and file of bytes that are at hand, pinned until `release`. Looks at what is there already, so
        that what a power cut emptied is written anew."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = self.ready(digest)
        if path is None or path.read_bytes() != data:
            partial = self._path(digest).with_suffix(".kept")
            partial.write_bytes(data)
            partial.replace(self._path(digest))
            if path is None:
                self._add(digest, len(data))
                path = self.ready(digest)
                self._shrink()
        assert path is not None
        return digest, path

    def release(self, digest: str) -> None:
        """Give back one pin; a blob without pins may be dropped when the cache is full."""
        left = self._pins.get(digest, 0) - 1
        if left > 0:
            self._pins[digest] = left
        else:
            self._pins.pop(digest, None)
            self._shrink()

    @property
    def size_bytes(self) -> int:
        """How much is kept."""
        return self._total

    async def _download(self, digest: str, token: str, fetch: Fetch) -> None:
        final = self._path(digest)
        partial = final.with_suffix(".part")
        hasher, size = hashlib.sha256(), 0
        try:
            with partial.open("wb") as file:
                async with fetch(digest, token) as chunks:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > self._blob_bytes:
                            raise InputTooLarge(
                                f"{digest} is larger than the {self._blob_bytes} bytes that this node fetches",
                                digest=digest,
                            )
                        hasher.update(chunk)
                        file.write(chunk)
            if (got := f"sha256:{hasher.hexdigest()}") != digest:
                raise InputCorrupt(f"fetched {digest}, got {got} of {size} bytes", digest=digest)
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)
        self._add(digest, size)
        self._shrink(keep=digest)

    def _add(self, digest: str, size: int) -> None:
        self._total += size - self._sizes.get(digest, 0)
        self._sizes[digest] = size

    def _shrink(self, keep: str = "") -> None:
        if self._fits():
            return
        for digest in list(self._sizes):
            if digest in self._pins or digest == keep:
                continue
            self._total -= self._sizes.pop(digest)
            self._path(digest).unlink(missing_ok=True)
            if self._fits():
                return

    def _fits(self) -> bool:
        return self._total <= self._limit_bytes and len(self._sizes) <= MOST_FILES

    def _path(self, digest: str) -> Path:
        return self._folder / digest.replace(":", "-", 1)
