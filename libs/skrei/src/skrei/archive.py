"""Unpacking what an execution left: only files and directories, only below the target, only so much."""

import os
import shutil
import tarfile
from collections.abc import Iterator
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


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive."""

    files: int
    total_bytes: int


def unpack(archive: Path, target: Path) -> Unpacked:
    """Unpack a tar.gz below `target`, which is made. Raises UnsafeArchive and leaves what was unpacked before."""
    budget = _budget(archive.stat().st_size)
    target.mkdir(parents=True, exist_ok=True)
    files = total = 0
    try:
        with tarfile.open(archive, mode="r|gz") as stream:
            for entry in _limited(stream):
                place = target.joinpath(*_parts(entry.name))
                if entry.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                if not entry.isfile():
                    raise UnsafeArchive(f"{entry.name!r} in the archive is neither a file nor a directory.")
                total += entry.size
                if total > budget:
                    raise UnsafeArchive(f"The archive unpacks to more than {budget} bytes.", archive=str(archive))
                _write(stream, entry, place)
                files += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnsafeArchive(f"The archive is damaged: {error}.", hint="Fetch it again.") from error
    return Unpacked(files, total)


def _limited(stream: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, entry in enumerate(stream):
        if number >= MOST_ENTRIES:
            raise UnsafeArchive(f"The archive has more than {MOST_ENTRIES} entries.")
        yield entry


def _parts(name: str) -> tuple[str, ...]:
    """Return the path's parts below the target. Raises UnsafeArchive for one that leads elsewhere."""
    path = PurePosixPath(name)
    parts = tuple(part for part in path.parts if part != ".")
    if path.is_absolute() or ".." in parts or "\0" in name or "\\" in name or len(parts) > DEEPEST:
        raise UnsafeArchive(f"{name!r} in the archive does not name a place below its folder.")
    return parts


def _write(stream: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    source = stream.extractfile(entry)
    assert source is not None, "a regular file has content"
    # Made anew, never through a link that lies there from before.
    place.unlink(missing_ok=True)
    mode = 0o755 if entry.mode & 0o100 else 0o644
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    with os.fdopen(descriptor, "wb") as out:
        shutil.copyfileobj(source, out)


def _budget(packed_bytes: int) -> int:
    return min(MOST_BYTES, FREE_BYTES + packed_bytes * RATIO)
