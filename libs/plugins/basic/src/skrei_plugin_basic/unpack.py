"""Unpacking a tar.gz that nobody vouches for: files and directories below one folder, within limits, or nothing."""

import asyncio
import gzip
import os
import tarfile
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from skrei_plugin_api.aside import outcome, over
from skrei_plugin_api.storage import StageFailed, StageLimits, StageProblem

FREE_BYTES = 1024 * 1024
"""What may be unpacked whatever the ratio: small archives of zeros are ordinary."""
HEADER_BYTES = 1024 * 1024
"""Of an archive's headers beyond what its entries so far may have: headers are held in memory."""
ENTRY_BYTES = 8 * 1024
"""Of headers for each entry: the longest name that a disk holds, twice, and what stands around it."""
DEEPEST = 64
"""Folders within folders: deeper ones run into the limits of paths."""
SHOWN_NAMES = 10
"""Names that an archive has at its top, to be told."""
ALL = PurePosixPath()
"""The whole of an archive."""
_CHUNK = 64 * 1024


class Stopped(Exception):
    """The one who waited has gone."""


@dataclass(slots=True)
class Unpacked:
    """What an archive held: its entries, its bytes, and the first names at its top."""

    entries: int = 0
    total_bytes: int = 0
    names: set[str] = field(default_factory=set)


async def unpack_aside(archive: Path, folder: Path, limits: StageLimits, inside: PurePosixPath = ALL) -> Unpacked:
    """Do what `unpack` does in a thread; cancelled, it returns only when the thread has stopped."""
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(unpack, archive, folder, limits, stop, inside))
    try:
        return await outcome(work)
    except asyncio.CancelledError:
        stop.set()
        await over(work)
        if not work.cancelled() and (error := work.exception()) and not isinstance(error, Stopped | StageFailed):
            raise error from None
        raise


def unpack(
    archive: Path,
    folder: Path,
    limits: StageLimits,
    stop: threading.Event,
    inside: PurePosixPath = ALL,
) -> Unpacked:
    """Unpack `archive`, or what of it lies at `inside`, into the new `folder`, under its own names.

    Only regular files and directories are taken, each name once, none outside the folder. Raises StageFailed, or
    Stopped soon after `stop` is set. What was unpacked before a refusal lies there still: the caller removes it.
    """
    folder.mkdir(parents=True)
    done = Unpacked()
    most = min(limits.max_bytes, FREE_BYTES + limits.max_ratio * archive.stat().st_size)
    try:
        with gzip.open(archive) as plain:
            bounded = _Bounded(plain, most, stop)
            file = cast("BinaryIO", bounded)  # tarfile needs three of a file's methods
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # else all of them are kept
                    bounded.entry()
                    done.entries += 1
                    if done.entries > limits.max_files:
                        raise StageFailed(StageProblem.TOO_LARGE, f"the archive has over {limits.max_files} entries")
                    path = _inside(member.name)
                    if len(done.names) < SHOWN_NAMES:
                        done.names.update(path.parts[:1])
                    if path.is_relative_to(inside):
                        _take(tar, member, folder / path)
                    bounded.headers()
            bounded.entry()
            while bounded.read(_CHUNK):  # to the end, where the checksum is
                continue
            done.total_bytes = bounded.tell()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, UnicodeError) as error:
        raise StageFailed(StageProblem.INVALID, f"the input is not a whole tar.gz: {error}") from error
    return done


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, to: Path) -> None:
    try:
        if member.isdir():
            to.mkdir(parents=True, exist_ok=True)
            return
        if not member.isreg():
            raise StageFailed(StageProblem.INVALID, f"the archive's {member.name!r} is neither a file nor a directory")
        to.parent.mkdir(parents=True, exist_ok=True)
        content = tar.extractfile(member)
        assert content is not None, "it is a file"
        mode = 0o755 if member.mode & 0o100 else 0o644
        with content, os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
            while data := content.read(_CHUNK):
                file.write(data)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise StageFailed(StageProblem.INVALID, f"the archive has {member.name!r} twice") from error


def _inside(name: str) -> PurePosixPath:
    """Return a member's path relative to the folder; what would lie elsewhere is refused, not bent."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name or len(path.parts) > DEEPEST:
        raise StageFailed(StageProblem.INVALID, f"the archive's {name!r} does not lie below its own folder")
    if len(os.fsencode(name)) > 4095 or any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise StageFailed(StageProblem.INVALID, f"the archive's name {name[:64]!r}… is longer than a disk holds")
    return path


class _Bounded:
    """A file that ends in StageFailed where more is unpacked than may be, or headers take more than they may.

    They are counted, since tarfile reads some of them in pieces: a sparse file's always, long ones in newer Pythons.
    """

    def __init__(self, file: gzip.GzipFile, most: int, stop: threading.Event) -> None:
        self._file = file
        self._most = most
        self._stop = stop
        self._headers_left = HEADER_BYTES
        self._in_headers = True

    def entry(self) -> None:
        """Know what is read from here on for the content of an entry."""
        self._headers_left += ENTRY_BYTES
        self._in_headers = False

    def headers(self) -> None:
        """Know what is read from here on for headers."""
        self._in_headers = True

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes."""
        if self._stop.is_set():
            raise Stopped
        if self._in_headers:
            self._headers_left -= size
            if self._headers_left < 0:
                raise StageFailed(StageProblem.INVALID, "the archive has headers of absurd length")
        data = self._file.read(size)
        self._bound(self._file.tell())
        return data

    def seek(self, position: int) -> int:
        """Go to `position`."""
        self._bound(position)
        return self._file.seek(position)

    def tell(self) -> int:
        """Return how much has been unpacked."""
        return self._file.tell()

    def _bound(self, position: int) -> None:
        if position > self._most:
            raise StageFailed(
                StageProblem.TOO_LARGE,
                f"the archive unpacks to over {self._most:,} bytes, which is more than is taken of one of its size",
                hint="bring the data by another source: `s3`, `urlDownload`, `ipfs`, a data set",
            )
