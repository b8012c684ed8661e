"""Unpacking what an execution left: only files and directories, only below the target, only so much.

The archive comes from a program that nobody here wrote, so nothing in it is believed: names, kinds, sizes and the
lengths of its headers are checked before a byte is written, and every limit can be raised by the option that its
refusal names.
"""

import gzip
import io
import os
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skrei.errors import UnsafeArchive

MOST_ENTRIES = 100_000
"""Entries of one archive: a folder with more is no result, and hurts the file system that gets it."""
MOST_BYTES = 64 * 1024**3
"""Bytes that one archive unpacks to: above the largest result of an execution, below what fills most disks."""
RATIO = 250
"""Unpacked bytes for one packed byte, counted above FREE_BYTES: logs reach about 100, bombs 1,000."""
FREE_BYTES = 256 * 1024**2
"""Unpacked bytes that need no ratio: small results may be as repetitive as they like."""
DEEPEST = 64
"""Folders below each other."""
NAME_BYTES = 255
"""One part of a path: what file systems hold."""
PATH_BYTES = 4_000
"""A whole path: what systems open, less what stands before it."""
HEADER_BYTES = 1024 * 1024
"""Of headers beyond what is usual for the entries so far: headers are held in memory, so they get no more."""
ENTRY_BYTES = 8 * 1024
"""What is usual for one entry: its header, and a long name before it."""
COPY_BYTES = 256 * 1024
"""Held of a file while it is written."""

_RAW = "`--raw` keeps the archive as it is."


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one archive may unpack to."""

    entries: int = MOST_ENTRIES
    total_bytes: int = MOST_BYTES
    ratio: int = RATIO


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive."""

    files: int
    total_bytes: int


class Abandoned(Exception):
    """Whoever wanted the archive unpacked has gone."""


def unpack(
    archive: Path | bytes,
    target: Path,
    caps: Caps = Caps(),
    *,
    folds: bool | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Unpacked:
    """Unpack a tar.gz, a file or what it holds, below `target`, a folder that is made here and must not be there.

    `folds` says that the file system takes `A` and `a` for one name; None asks it. Raises UnsafeArchive, OSError, or
    Abandoned once `wanted` says no more; what was unpacked until then is left for the caller to remove.
    """
    target.mkdir(parents=True)
    names = _Names(target, folds=folds_case(target) if folds is None else folds)
    files = total = 0
    size = len(archive) if isinstance(archive, bytes) else archive.stat().st_size
    opened = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    with opened as packed, gzip.GzipFile(fileobj=packed) as plain:
        gauge = _Gauge(plain, size, caps)
        try:
            with tarfile.open(fileobj=gauge, mode="r|", bufsize=10 * tarfile.BLOCKSIZE) as stream:
                for entry in _limited(stream, gauge, caps):
                    place = names.place(entry.name, is_folder=entry.isdir())
                    if entry.isdir():
                        continue
                    _check_kind(entry)
                    gauge.allow(entry.size)
                    total += entry.size
                    _write(stream, entry, place, wanted)
                    files += 1
            while gauge.read(COPY_BYTES):
                pass  # to the end, where the checksum is
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError) as error:
            raise UnsafeArchive(f"The archive is damaged: {error}.", hint="Fetch it again.") from error
    return Unpacked(files, total)


def folds_case(folder: Path) -> bool:
    """Return whether the file system of `folder` takes upper and lower case for the same name."""
    probe = folder / ".Skrei-Case"
    probe.touch()
    try:
        return (folder / ".sKREI-cASE").exists()
    finally:
        probe.unlink()


def fold(name: str) -> str:
    """Return what a file system that folds case compares."""
    return unicodedata.normalize("NFC", name).casefold()


class _Gauge(io.BufferedIOBase):
    """The unpacked stream, refused as soon as it holds more than the caps and the entries so far explain."""

    def __init__(self, plain: gzip.GzipFile, packed_bytes: int, caps: Caps) -> None:
        self._plain = plain
        self._packed_bytes = packed_bytes
        self._caps = caps
        self._read = 0
        self._content = 0
        self._explained = HEADER_BYTES

    def allow(self, size: int) -> None:
        """Expect an entry with so many bytes. Raises UnsafeArchive where that is too much."""
        self._content += size
        if self._content > self._caps.total_bytes:
            raise UnsafeArchive(
                f"The archive unpacks to more than {self._caps.total_bytes:,} bytes.",
                hint=f"Allow more with --max-size BYTES; {_RAW}",
            )
        if self._content > FREE_BYTES + self._packed_bytes * self._caps.ratio:
            raise UnsafeArchive(
                f"The archive unpacks to more than {self._caps.ratio} times its {self._packed_bytes:,} bytes.",
                hint=f"Where that is what it should be, allow more with --max-ratio N; {_RAW}",
            )
        self._explained += size + ENTRY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes of the tar."""
        data = self._plain.read(COPY_BYTES if size is None or size < 0 else size)
        self._read += len(data)
        if self._read > self._explained + ENTRY_BYTES:
            raise UnsafeArchive("The archive holds headers or padding of absurd length.", hint=_RAW)
        return data

    def entry(self) -> None:
        """Expect one more header."""
        self._explained += ENTRY_BYTES


class _Names:
    """Where each entry goes; every folder on the way is made here, so none is a link."""

    def __init__(self, target: Path, *, folds: bool) -> None:
        self._target = target
        self._fold = fold if folds else str
        self._kinds: dict[tuple[str, ...], bool] = {(): True}
        self._spelt: dict[tuple[str, ...], str] = {}

    def place(self, name: str, *, is_folder: bool) -> Path:
        """Return the place of an entry, its folders made. Raises UnsafeArchive for a name that may not be."""
        parts = _parts(name)
        for depth in range(1, len(parts)):
            self._claim(parts[:depth], name, is_folder=True)
        if parts or not is_folder:
            self._claim(parts, name, is_folder=is_folder)
        return self._target.joinpath(*parts)

    def _claim(self, parts: tuple[str, ...], name: str, *, is_folder: bool) -> None:
        key = tuple(map(self._fold, parts))
        spelt = "/".join(parts)
        known = self._kinds.get(key)
        if known is None:
            self._kinds[key] = is_folder
            self._spelt[key] = spelt
            if is_folder:
                self._target.joinpath(*parts).mkdir()
        elif self._spelt.get(key, spelt) != spelt:
            raise UnsafeArchive(
                f"{self._spelt[key]!r} and {spelt!r} in the archive are one name on this file system.", hint=_RAW
            )
        elif not (known and is_folder):
            raise UnsafeArchive(f"{name!r} is in the archive twice.", hint=_RAW)


def _limited(stream: tarfile.TarFile, gauge: _Gauge, caps: Caps) -> Iterator[tarfile.TarInfo]:
    number = 0
    while (entry := stream.next()) is not None:
        number += 1
        if number > caps.entries:
            raise UnsafeArchive(
                f"The archive has more than {caps.entries:,} entries.", hint=f"Allow more with --max-files N; {_RAW}"
            )
        gauge.entry()
        stream.members = []  # type: ignore[attr-defined]  # the library keeps every entry that it has passed
        yield entry


def _check_kind(entry: tarfile.TarInfo) -> None:
    if entry.sparse is not None:
        raise UnsafeArchive(f"{entry.name!r} in the archive is a sparse file.", hint=_RAW)
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise UnsafeArchive(f"{entry.name!r} in the archive is neither a file nor a directory.", hint=_RAW)
    if entry.size < 0:
        raise UnsafeArchive(f"{entry.name!r} in the archive has a negative size.", hint=_RAW)


def _parts(name: str) -> tuple[str, ...]:
    """Return the path's parts below the target. Raises UnsafeArchive for one that leads elsewhere."""
    path = PurePosixPath(name)
    parts = tuple(part for part in path.parts if part != ".")
    shown = name if len(name) <= 80 else name[:80] + "…"
    if path.is_absolute() or ".." in parts or "\0" in name or "\\" in name or len(parts) > DEEPEST:
        raise UnsafeArchive(f"{shown!r} in the archive does not name a place below its folder.", hint=_RAW)
    if len(os.fsencode(name)) > PATH_BYTES or any(len(os.fsencode(part)) > NAME_BYTES for part in parts):
        raise UnsafeArchive(f"{shown!r} in the archive is too long a name.", hint=_RAW)
    return parts


def _write(stream: tarfile.TarFile, entry: tarfile.TarInfo, place: Path, wanted: Callable[[], bool]) -> None:
    source = stream.extractfile(entry)
    assert source is not None, "a regular file has content"
    mode = 0o755 if entry.mode & 0o100 else 0o644
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    left = entry.size
    with os.fdopen(descriptor, "wb") as out:
        while left and (data := source.read(min(COPY_BYTES, left))):
            if not wanted():
                raise Abandoned
            out.write(data)
            left -= len(data)
    if left:
        raise EOFError(f"{entry.name!r} ends {left} bytes early")
