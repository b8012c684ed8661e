"""Folders through the daemon's archive API: as tar streams, in pieces, never a whole one in memory."""

import asyncio
import contextlib
import os
import posixpath
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

from skrei_plugin_api.packing import OutputTooLarge

PIECE_BYTES = 256 * 1024
"""One piece on its way between the thread that packs and the connection."""
MOST_ENTRIES = 1_000_000
"""Files and folders of one output: more would take minutes to write and hours to remove."""


class ArchiveBroken(Exception):
    """What the daemon sent is no archive that may be unpacked."""


async def packed(write: Callable[[tarfile.TarFile], None]) -> AsyncIterator[bytes]:
    """Yield the tar stream that `write` makes in a thread; it waits while nobody takes."""
    reading, writing = os.pipe()

    def make() -> None:
        with os.fdopen(writing, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|", bufsize=PIECE_BYTES) as tar:
            write(tar)

    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        while piece := await asyncio.to_thread(os.read, reading, PIECE_BYTES):
            yield piece
    finally:
        os.close(reading)  # a writer that still waits meets a broken pipe
        with contextlib.suppress(BrokenPipeError):
            await making


def folder(source: Path) -> Callable[[tarfile.TarFile], None]:
    """Write what is in a folder; what is neither file, folder nor link is left out."""

    def write(tar: tarfile.TarFile) -> None:
        tar.add(source, arcname=".", filter=_plain)

    return write


def file(source: Path, name: str) -> Callable[[tarfile.TarFile], None]:
    """Write one file as `name`; folders above it are made where it is unpacked."""

    def write(tar: tarfile.TarFile) -> None:
        tar.add(source.resolve(), arcname=name)

    return write


def open_folder(name: str) -> Callable[[tarfile.TarFile], None]:
    """Write an entry that lets everybody write into the folder `name` where it is unpacked."""

    def write(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.type = tarfile.DIRTYPE
        entry.mode = 0o777
        tar.addfile(entry)

    return write


async def unpack(stream: AsyncIterator[bytes], into: Path, limit: int) -> None:
    """Unpack files and folders of a tar stream below `into`; nothing else, and nothing outside of it.

    Raises OutputTooLarge above `limit` bytes, and ArchiveBroken.
    """
    reading, writing = os.pipe()

    def read() -> None:
        with os.fdopen(reading, "rb") as pipe:
            _unpack(pipe, into, limit)

    unpacking = asyncio.ensure_future(asyncio.to_thread(read))
    try:
        async with contextlib.aclosing(stream):  # type: ignore[type-var]
            async for piece in stream:
                await asyncio.to_thread(_write_all, writing, piece)
    except BrokenPipeError:
        pass  # the reader ended, and says why
    finally:
        os.close(writing)
        await unpacking


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return entry if entry.isreg() or entry.isdir() or entry.issym() or entry.islnk() else None


def _unpack(pipe: IO[bytes], into: Path, limit: int) -> None:
    left, entries = limit, 0
    try:
        with tarfile.open(fileobj=pipe, mode="r|", bufsize=PIECE_BYTES) as tar:
            for member in tar:
                entries += 1
                left -= member.size if member.isreg() else 0
                if left < 0 or entries > MOST_ENTRIES:
                    raise OutputTooLarge(limit - left, limit)
                _take(tar, member, into)
    except tarfile.TarError as error:
        raise ArchiveBroken(f"the archive of an output cannot be read: {error}") from error


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    path = _below(into, member.name)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.isreg():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        assert source is not None
        with path.open("xb") as target:
            while piece := source.read(PIECE_BYTES):
                target.write(piece)
    elif member.islnk():  # another name of a file that came before
        original = _below(into, member.linkname)
        if stat.S_ISREG(original.lstat().st_mode):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(original, path)


def _below(into: Path, name: str) -> Path:
    inside = posixpath.normpath(name)
    if inside.startswith(("/", "../")) or inside == "..":
        raise ArchiveBroken(f"the archive of an output names {name!r}, which lies outside of it")
    return into / inside
