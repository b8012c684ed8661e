"""Fetched inputs: brought once, whoever wants them, kept while there is room, and shared by all who use them."""

import asyncio
import hashlib
import shutil
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from skrei_compute_agent.cached_files import HALF_BROUGHT, PART, CachedFiles, digest_of, is_digest, name_of
from skrei_compute_agent.disk_room import DiskRoom, NoRoom
from skrei_domain.errors import SkreiError
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.pieces import DATA

Fetch = Callable[[str, str], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the bytes of (digest, token)."""

READ_ONLY = 0o444
"""Of a kept piece: it is linked into what programs see."""
SMALL_BYTES = 64 * 1024
"""Up to here a piece is taken in at once: handing it to a thread would cost more than bringing it."""
NOTED_AT_ONCE = 64
"""Pieces that are read again in one trip to a thread: a trip for each of ten thousand small ones costs seconds."""


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
    """Files by what they are (`identity`: a digest, or a place with a version); one appears only whole and verified."""

    def __init__(self, folder: Path, fetch: Fetch, *, limit_bytes: int, blob_bytes: int) -> None:
        self.files = CachedFiles(folder, limit_bytes)
        self.room = DiskRoom(folder, self.files, lambda name: name in self._half_brought)
        self._fetch = fetch
        self._blob_bytes = blob_bytes
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._half_brought: OrderedDict[str, None] = OrderedDict()
        self._unnoted: deque[str] = deque()
        self._noting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Learn what is there. Blocks."""
        self.files.open()
        self._half_brought = OrderedDict.fromkeys(self.files.half_brought)

    async def close(self) -> None:
        """Stop noting, and say that all is written."""
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.wait([self._noting])
        self.files.close()

    def ready(self, identity: str) -> Path | None:
        """Return the file of `identity` and pin it, if it is here; `release` unpins it."""
        return self.files.use(name_of(identity))

    async def get(self, digest: str, token: str, fetch: Fetch | None = None) -> Path:
        """Return the file of `digest`, fetched (with `fetch`, where it does not come as others do) if need be, pinned
        until `release`.

        Two that want the same blob fetch it once. Raises InputDenied for a digest that is none.
        """
        if not is_digest(digest):
            raise InputDenied(f"{digest!r} is not a digest of the form sha256:<64 hex digits>")
        return await self._once(name_of(digest), lambda: self._download(digest, token, fetch or self._fetch))

    async def bring(
        self, identity: str, bring: Callable[[Path], Awaitable[None]], size: int | None = None
    ) -> tuple[Path, bool]:
        """Return the file of `identity`, pinned until `release`, and whether `bring` was needed for it; `size` is how
        many bytes it has, if that is known.

        `bring` leaves it as `DATA` in a folder that belongs to this identity, in which what broke off lies as it was.
        Two that want the same bring it once. Raises what `bring` raises, and NoRoom.
        """
        name, needed = name_of(identity), False

        async def needs() -> Path:
            nonlocal needed
            needed = True
            return await self._bring(identity, name, lambda folder: self.room.within(bring(folder), size, folder))

        return await self._once(name, needs), needed

    def keep(self, data: bytes) -> tuple[str, Path]:
        """Return digest and file of bytes that are at hand, pinned until `release`. Looks at what is there already, so
        that what a power cut emptied is written anew."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        name = name_of(digest)
        path = self.files.use(name)
        if path is None or path.read_bytes() != data:
            final = self.files.path(name)
            partial = final.with_suffix(".kept")
            partial.write_bytes(data)
            partial.replace(final)
            if path is None:
                path = self.files.add(name, len(data))
        return digest, path

    def release(self, identity: str) -> None:
        """Give back one pin; what has none may be dropped when the cache is full."""
        self.files.release(name_of(identity))

    @property
    def size_bytes(self) -> int:
        """How much is kept."""
        return self.files.size_bytes

    async def _once(self, name: str, bring: Callable[[], Awaitable[Path]]) -> Path:
        if (path := self.files.use(name)) is not None:
            return path
        async with self._turns.setdefault(name, asyncio.Lock()):
            await self.files.settle(name)
            return self.files.use(name) or await bring()

    async def _download(self, digest: str, token: str, fetch: Fetch) -> Path:
        name = name_of(digest)
        final = self.files.path(name)
        partial = final.with_suffix(PART)
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
        return self.files.add(name, size)

    async def _bring(self, identity: str, name: str, bring: Callable[[Path], Awaitable[None]]) -> Path:
        folder = self.files.path(name + PART)
        self._half_brought.pop(name, None)
        folder.mkdir(exist_ok=True)
        try:
            await bring(folder)
            if is_digest(identity):
                got = await asyncio.to_thread(digest_of, folder / DATA)
                if got != identity:
                    raise InputCorrupt(
                        f"what came has the digest {got}, not {identity}",
                        hint="look at the checksum that the job names, and at what lies there now",
                        digest=identity,
                    )
        except BaseException as error:
            if isinstance(error, NoRoom) or (isinstance(error, SkreiError) and not error.retryable):
                await to_its_end(partial(shutil.rmtree, folder, ignore_errors=True))
            else:
                await self._broke_off(name)
            raise
        adopt = partial(_adopt, folder, self.files.path(name))
        small = (folder / DATA).stat().st_size <= SMALL_BYTES
        size = adopt() if small else await to_its_end(adopt)
        path = self.files.add(name, size)
        if not is_digest(identity):
            self._unnoted.append(name)
            if self._noting is None or self._noting.done():
                self._noting = asyncio.create_task(self._note(), name="note digests")
        return path

    async def _broke_off(self, name: str) -> None:
        """Keep what came of a file for the next try, and remove the oldest of such beyond HALF_BROUGHT."""
        self._half_brought[name] = None
        while len(self._half_brought) > HALF_BROUGHT:
            oldest, _ = self._half_brought.popitem(last=False)
            gone = self.files.path(f"{uuid.uuid4().hex}{PART}")  # the next try may begin before it is removed
            with suppress(FileNotFoundError):  # someone tidied up by hand
                self.files.path(oldest + PART).rename(gone)
            await to_its_end(partial(shutil.rmtree, gone, ignore_errors=True))

    async def _note(self) -> None:
        """Read new pieces once more, beside what needs them, so that they can be believed after a crash."""
        while self._unnoted:
            some = [self._unnoted.popleft() for _ in range(min(len(self._unnoted), NOTED_AT_ONCE))]
            await asyncio.to_thread(self._note_now, some)

    def _note_now(self, names: Sequence[str]) -> None:
        digests = {name: digest_of(self.files.path(name)) for name in names}
        self.files.note({name: digest for name, digest in digests.items() if digest is not None})


def _adopt(folder: Path, final: Path) -> int:
    """Make what was brought the file of its name, for good; returns its size."""
    data = folder / DATA
    data.chmod(READ_ONLY)
    size = data.stat().st_size
    data.replace(final)
    try:
        folder.rmdir()
    except OSError:  # notes lie beside what was brought in several tries
        shutil.rmtree(folder)
    return size
