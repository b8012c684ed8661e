"""Lists of inputs on the publisher's disk, by digest: each is read to its end before it has its name, and stays until
another needs its room, and then too where it was read not long ago, or a job waits for it.
"""

import contextlib
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from skrei_domain.errors import Invalid
from skrei_kit.observability import get_logger
from skrei_plugin_api.manifest import ManifestDamaged, verify
from skrei_plugin_api.publisher import PublishError
from skrei_plugin_api.upload_folder import sync_folder
from skrei_publisher.needed import ASKED, Keep

log = get_logger()

SUFFIX = ".manifest"
PART = ".part"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ManifestsFull(PublishError):
    """There is no room for more lists now."""

    code = "store-full"
    retryable = True


class ManifestTooLarge(PublishError):
    """A list is larger than its token allows."""

    code = "result-too-large"


class ManifestDiffers(PublishError):
    """What came is not the list that was announced, or none."""

    code = "digest-differs"


class ManifestStore:
    """A folder of manifests. `quota_bytes` is what they may take, those that are coming included; what nobody has read
    for `keep_seconds`, and no job waits for (`needed`, digests), makes room for others, and nothing else does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        quota_bytes: int,
        keep_seconds: float,
        needed: Keep = lambda _: (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._needed = needed
        self.used_bytes = 0
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._keep_seconds = keep_seconds
        self._now = now
        # Lists come in threads, the same one in several: what is there is counted once.
        self._counting = threading.Lock()

    def open(self) -> None:
        """Make the folder, count what is there, and remove what did not come whole. Blocks."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._folder.iterdir():
            if path.suffix == SUFFIX:
                self.used_bytes += path.stat().st_size
            else:
                path.unlink()

    def find(self, digest: str) -> Path | None:
        """Return the file of a manifest, which is kept for longer by that. Raises Invalid for what is no digest."""
        path = self._path(digest)
        try:
            os.utime(path, (self._now(), self._now()))
        except FileNotFoundError:
            return None
        return path

    def begin(self, most_bytes: int) -> "Incoming":
        """Return what takes the bytes of one. Raises ManifestsFull."""
        return Incoming(self, self._folder / f"{uuid.uuid4().hex}{PART}", most_bytes)

    def take(self, size: int) -> None:
        """Count bytes that come. Blocks. Raises ManifestsFull."""
        if self.used_bytes + size > self._quota_bytes:
            self._make_room(size)
        with self._counting:
            if self.used_bytes + size > self._quota_bytes:
                raise ManifestsFull(
                    "There is no room for more lists of inputs now.", hint="Raise SKREI_MANIFEST_QUOTA_BYTES, or wait."
                )
            self.used_bytes += size

    def give_back(self, size: int) -> None:
        """Count no longer what came and does not stay."""
        with self._counting:
            self.used_bytes -= size

    def keep(self, part: Path, size: int, digest: str) -> None:
        """Give what came whole its name, durably. Blocks. Raises ManifestDiffers."""
        path = self._path(digest)
        try:
            found = verify(part)
        except ManifestDamaged as error:
            raise ManifestDiffers(f"That is no list of an input: {error.message}.") from error
        if found.digest != digest:
            raise ManifestDiffers(f"{found.digest} came where {digest} was announced.")
        with self._counting:
            before = path.stat().st_size if path.exists() else 0
            part.replace(path)
            self.used_bytes -= before
        sync_folder(self._folder)

    def _make_room(self, size: int) -> None:
        """Remove what nobody has read for longest, until there is room or nothing more may go."""
        before = self._now() - self._keep_seconds
        old = (path for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=_read_at) if _read_at(path) < before)
        while self.used_bytes + size > self._quota_bytes and (some := list(islice(old, ASKED))):
            stay = self._needed([_digest_of(path) for path in some])
            self._remove([path for path in some if _digest_of(path) not in stay], size)

    def _remove(self, paths: Iterable[Path], size: int) -> None:
        for path in paths:
            if self.used_bytes + size <= self._quota_bytes:
                return
            with self._counting, contextlib.suppress(FileNotFoundError):  # another thread was first, and has counted it
                freed = path.stat().st_size
                path.unlink()
                self.used_bytes -= freed
                log.info("manifest_dropped", digest=path.stem, used_bytes=self.used_bytes)

    def _path(self, digest: str) -> Path:
        if _DIGEST.fullmatch(digest) is None:
            raise Invalid("That is not the digest of a list: sha256:<64 hex digits>.")
        return self._folder / f"{digest.removeprefix('sha256:')}{SUFFIX}"


def _digest_of(path: Path) -> str:
    return f"sha256:{path.stem}"


def _read_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


class Incoming:
    """A manifest that comes: `write` its bytes, then `finish`; left without that it leaves nothing."""

    def __init__(self, store: ManifestStore, part: Path, most_bytes: int) -> None:
        self._store = store
        self._part = part
        self._most_bytes = most_bytes
        self._size = 0
        self._done = False
        self._file: BinaryIO = part.open("xb")

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self._done:
            self._part.unlink(missing_ok=True)
            self._store.give_back(self._size)

    def write(self, data: bytes) -> None:
        """Take what came next. Blocks. Raises ManifestTooLarge, ManifestsFull, OSError."""
        if self._size + len(data) > self._most_bytes:
            raise ManifestTooLarge(
                f"The list of this input has more than {self._most_bytes:,} bytes.",
                hint="Name fewer objects by a prefix or a filter.",
            )
        self._store.take(len(data))
        self._size += len(data)
        self._file.write(data)

    def finish(self, digest: str) -> None:
        """Keep it under its digest, durably. Blocks. Raises ManifestDiffers."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._store.keep(self._part, self._size, digest)
        self._done = True
