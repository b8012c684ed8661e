"""A packed result as the files and directories that it holds, one after another, in an order that daemons take.

Daemons that are sent a tree file by file want what belongs to one directory in one row. A result says first which
directories it has, then brings its files in the order of a walk: so those without a file are told where the walk
would come by them.
"""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

PIECE_BYTES = 256 * 1024
"""Read at once."""
MOST_BYTES = 1024**4
"""Of all files of one result: what packs well enough to unpack to more is no result but a bomb."""


class NoResult(ValueError):
    """An archive is none that nodes make; the message says why."""


@dataclass(frozen=True, slots=True)
class Folder:
    """An empty directory."""

    path: str


@dataclass(frozen=True, slots=True)
class Start:
    """A file begins; its bytes follow, as pieces."""

    path: str
    size: int


Item = Folder | Start | bytes


def walk(archive: Path) -> Iterator[Item]:
    """Yield what an archive holds. Blocks. Raises NoResult, and OSError for trouble of the disk."""
    waiting: list[str] = []  # directories of which no file has come
    left, inside = MOST_BYTES, False
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for entry in tar:
                path = _path(entry.name)
                if entry.isdir():
                    if path:
                        waiting.append(path)
                    continue
                if not entry.isreg() or not path:
                    raise NoResult(f"{entry.name[:200]!r} is neither a file nor a directory")
                if (left := left - entry.size) < 0:
                    raise NoResult(f"it holds more than {MOST_BYTES:,} bytes")
                if "/" in path:
                    yield from _before(path, waiting)
                    inside = True
                elif inside:  # the walk is over: `exitCode`
                    yield from _rest(waiting)
                yield Start(path, entry.size)
                content = tar.extractfile(entry)
                while content is not None and (piece := content.read(PIECE_BYTES)):
                    yield piece
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise NoResult(f"it cannot be unpacked: {error}") from error
    yield from _rest(waiting)


def _before(path: str, waiting: list[str]) -> Iterator[Folder]:
    """Let go of the directories of a file that comes now, and yield those that the walk came by and found empty."""
    here = _place(path)
    passed = [each for each in waiting if _place(each) < here]
    waiting[:] = [each for each in waiting if _place(each) >= here]
    yield from (Folder(each) for each in sorted(_empty(passed), key=_place) if not path.startswith(f"{each}/"))


def _rest(waiting: list[str]) -> Iterator[Folder]:
    yield from (Folder(path) for path in sorted(_empty(waiting), key=_place))
    waiting.clear()


def _empty(folders: list[str]) -> Iterator[str]:
    """Yield those directories that hold no other of these."""
    ordered = sorted(folders, key=_place)
    for each, following in pairwise([*ordered, ""]):
        if not following.startswith(f"{each}/"):
            yield each


def _place(path: str) -> list[str]:
    return path.split("/")


def _path(name: str) -> str:
    """Return the path of an entry below the result. Raises NoResult where it leads elsewhere."""
    path = name.removeprefix("./").rstrip("/")
    if path in ("", "."):
        return ""
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise NoResult(f"{name[:200]!r} leads out of it")
    return path
