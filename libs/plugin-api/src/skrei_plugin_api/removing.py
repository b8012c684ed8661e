"""Removing a folder, however deep a program has nested what is in it."""

import errno
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

LEVELS = 32
"""Folders within folders that are open at once: what is nested deeper is moved up, and is removed after them."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Remove what lies at a path (below the open folder `dir_fd`), with all in it; nothing is no trouble. Blocks.

    Links are removed, never followed. A tree may be deeper than calls may be, than files may be open and than a path
    may be long: no more than LEVELS of it are open. What cannot be removed stays, and holds up nothing else. Raises
    OSError where some of it is left.
    """
    try:
        folder = os.open(path, _OPEN, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(path, dir_fd=dir_fd)
        return
    mark = uuid.uuid4().hex  # of which a program cannot have made one
    names = (f"{mark}.{number}" for number in itertools.count())
    try:
        while _empty(folder, folder, LEVELS, names):  # each time all that was moved is nearer by so many levels
            pass
    finally:
        os.close(folder)
    os.rmdir(path, dir_fd=dir_fd)


def _empty(folder: int, top: int, levels: int, names: Iterator[str]) -> bool:
    """Empty a folder as far as that goes; whether some of it was moved into `top`."""
    moved = False
    with os.scandir(folder) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, is_folder in entries:
        try:
            if not is_folder:
                os.unlink(name, dir_fd=folder)
            elif levels:
                moved |= _remove(name, folder, top, levels - 1, names)
            else:
                os.rename(name, next(names), src_dir_fd=folder, dst_dir_fd=top)
                moved = True
        except OSError:  # it stays, and so do the folders that it lies in: whoever removes the first of them is told
            continue
    return moved


def _remove(name: str, within: int, top: int, levels: int, names: Iterator[str]) -> bool:
    folder = os.open(name, _OPEN, dir_fd=within)
    try:
        moved = _empty(folder, top, levels, names)
    finally:
        os.close(folder)
    try:
        os.rmdir(name, dir_fd=within)
    except OSError:
        if not moved:
            raise
    return moved
