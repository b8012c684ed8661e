"""Packed results read and written entry by entry: parts of one, or what somebody keeps as single files, packed again.

Written as nodes pack (`packing`): the same entries in the same order are the same bytes. Whoever packed what is read is
not trusted: headers have an end, names lead nowhere else, and there are so many entries and no more. Blocks.
"""

import errno
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from skrei_plugin_api.packing import squeezer, tar_end, tar_header, tar_padding
from skrei_plugin_api.streams import NAMES

HEADER_BYTES = 1024 * 1024
"""Of an archive between two files: headers are held in memory."""
MOST_HEADERS = 4
"""Extended ones before one entry: nodes pack one, GNU's tar two. The library reads each inside of the last."""
MOST_ENTRIES = 1_000_000
"""Of one archive: more is no result, and each costs a header."""
MOST_BYTES = 1024**4
"""Of all files of one: what packs well enough to unpack to more is no result but a bomb."""
PIECE_BYTES = 256 * 1024
"""Read at once."""


_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, b"X")
_STREAMS = tuple(NAMES.values())
_HOLES = "a file with holes, as no node packs one"


class NoArchive(ValueError):
    """What is read is no archive that nodes make; the message says why."""


class Bounded(tarfile.TarInfo):
    """An entry whose extended headers, which are read whole, have an end and are few.

    It has no map of holes, which has no end, and none has a header for all that follow, which would be kept.
    """

    def _proc_member(self, tar: "BoundedTar") -> tarfile.TarInfo:
        if self.type == tarfile.XGLTYPE:
            raise tarfile.ReadError("a header for all files, as no node packs one")
        tar.headers_before = tar.headers_before + 1 if self.type in _EXTENDED else 0
        if tar.headers_before and self.size > HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if tar.headers_before > MOST_HEADERS:
            raise tarfile.ReadError(f"more than {MOST_HEADERS} headers before one entry")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # the library's own hook

    def _proc_sparse(self, *_: object) -> None:
        raise tarfile.ReadError(_HOLES)

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError(_HOLES)


class BoundedTar(tarfile.TarFile):
    """An archive of such entries, which counts the extended headers since the last of them."""

    tarinfo = Bounded
    headers_before = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder, or a file with its bytes; `path` is below the result, `.` the result itself."""

    path: str
    size: int = 0
    content: IO[bytes] | None = None

    @property
    def pieces(self) -> Iterator[bytes]:
        """The bytes of a file."""
        while self.content is not None and (piece := self.content.read(PIECE_BYTES)):
            yield piece


def entries(archive: Path) -> Iterator[Entry]:
    """Yield what an archive holds, in order; a file is read before the next entry is asked for. Raises NoArchive."""
    count, left = 0, MOST_BYTES
    try:
        with BoundedTar.open(archive, "r|gz") as tar:
            for entry in tar:
                tar.members = []  # type: ignore[attr-defined]  # else all of them are kept
                if (count := count + 1) > MOST_ENTRIES:
                    raise NoArchive(f"it holds more than {MOST_ENTRIES:,} entries")
                if (left := left - entry.size) < 0:
                    raise NoArchive(f"it holds more than {MOST_BYTES:,} bytes")
                path = _inside(entry.name)
                if entry.isdir():
                    yield Entry(path)
                elif entry.isreg() and path != ".":
                    yield Entry(path, entry.size, tar.extractfile(entry))
                else:
                    raise NoArchive(f"{entry.name[:200]!r} is neither a file nor a folder")
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise NoArchive(f"it cannot be unpacked: {error}") from error


def _inside(name: str) -> str:
    path = name.removeprefix("./").rstrip("/") or "."
    if path != "." and any(part in ("", ".", "..") for part in path.split("/")):
        raise NoArchive(f"{name[:200]!r} leads out of it")
    return path


def walk_order(path: str) -> tuple[int, tuple[str, ...]]:
    """Return what sorts files as nodes pack them: the streams, what is in folders, the exit code."""
    if path in _STREAMS:
        return 0, (str(_STREAMS.index(path)),)
    return (2, ()) if path == "exitCode" else (1, tuple(path.split("/")))


class Packer:
    """Packs entries as they come; what is packed goes to `out`, piece by piece."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self._squeezer = squeezer()
        self._hasher = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """The digest of all that went out."""
        return f"sha256:{self._hasher.hexdigest()}"

    def folder(self, path: str) -> None:
        """Pack a folder."""
        self._pack(tar_header(path, 0, folder=True))

    def begin(self, path: str, size: int) -> None:
        """Pack the header of a file; as many bytes follow (`more`), then `end` it."""
        self._pack(tar_header(path, size))

    def more(self, piece: bytes) -> None:
        """Pack bytes of a file."""
        self._pack(piece)

    def end(self, size: int) -> None:
        """A file of so many bytes is over."""
        self._pack(tar_padding(size))

    def file(self, path: str, size: int, pieces: Iterable[bytes]) -> None:
        """Pack a file. Raises NoArchive where it does not have as many bytes as it should."""
        self.begin(path, size)
        found = 0
        for piece in pieces:
            found += len(piece)
            self._pack(piece)
        if found != size:
            raise NoArchive(f"{path[:200]!r} has {found} of {size} bytes")
        self.end(size)

    def close(self) -> None:
        """End the archive."""
        self._pack(tar_end())
        self._send(self._squeezer.flush())

    def _pack(self, data: bytes) -> None:
        self._send(self._squeezer.compress(data))

    def _send(self, piece: bytes) -> None:
        if piece:
            self.size += len(piece)
            self._hasher.update(piece)
            self._out(piece)


@dataclass(frozen=True, slots=True)
class Packed:
    """A part of a result as an archive of its own."""

    path: Path
    digest: str
    size: int


class _Room:
    """How many bytes may still be written."""

    def __init__(self, most: int) -> None:
        self._left = most

    def write(self, file: IO[bytes], piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(piece)


def divide(archive: Path, of: Callable[[str], int], into: list[Path], *, most: int = MOST_BYTES) -> list[Packed]:
    """Pack the entries of an archive into several, each durable: `of` says which has what lies below a name.

    What lies below no folder (the streams, the exit code) is asked for by its own name. Together they have `most`
    bytes: packed again, a result may take more than before. Raises NoArchive, OSError (ENOSPC beyond `most`).
    """
    files = [path.open("wb") for path in into]
    try:
        room = _Room(most)
        packers = [Packer(partial(room.write, file)) for file in files]
        for packer in packers:
            packer.folder(".")
        for entry in entries(archive):
            if entry.path == ".":
                continue
            packer = packers[of(entry.path.partition("/")[0])]
            if entry.content is None:
                packer.folder(entry.path)
            else:
                packer.file(entry.path, entry.size, entry.pieces)
        for packer, file in zip(packers, files, strict=True):
            packer.close()
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files:
            file.close()
    return [Packed(path, packer.digest, packer.size) for path, packer in zip(into, packers, strict=True)]
