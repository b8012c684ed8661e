"""The root folder of runs that bring the same small files and may write nothing: made once, kept for the next of them.

Most runs of a burst are such: one module, and no outputs. Making a folder with a link in it for each costs more than
anything else that is done for them, on disks where making files is dear.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from skrei_plugin_wasm.layout import File, Preopen, guest_path, lay

SHARED_BYTES = 1024 * 1024
"""Of a file in a shared root, which lives on in it while its child does: most modules are smaller."""

_Key: TypeAlias = tuple[tuple[str, int, int], ...]


class SharedRoot:
    """The one root that a child keeps, below `folder`, under its process id."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._path = ""
        self._key: _Key | None = None

    def of(self, files: list[File]) -> list[Preopen] | None:
        """Return what to open for a run of these files and no outputs; None where it needs a root of its own.

        A file is the same while its path names the same inode, so what is seen is what a fresh link would show.
        Raises LayoutError.
        """
        key = _key(files)
        if key is None:
            return None
        known = key == self._key and os.path.isdir(self._path)  # noqa: PTH112 - the hot path stays with strings
        if not known and not self._make(files, key):
            return None
        return [Preopen(self._path, "/", writable=False)]

    def close(self) -> None:
        """Remove it."""
        if self._key is not None:
            self._key = None
            shutil.rmtree(self._path, ignore_errors=True)

    def _make(self, files: list[File], key: _Key) -> bool:
        """Make it anew; whether it could be made of links alone, since a copy would not follow its file."""
        self.close()
        self._path = f"{self._folder}/{os.getpid()}"
        try:
            os.mkdir(self._path, 0o700)  # noqa: PTH102
        except FileNotFoundError:
            Path(self._folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            os.mkdir(self._path, 0o700)  # noqa: PTH102
        except FileExistsError:  # that of a child that was killed, and had our number
            shutil.rmtree(self._path)
            os.mkdir(self._path, 0o700)  # noqa: PTH102
        self._key = key
        try:
            for file in files:
                lay(self._path, file._replace(target=guest_path(file.target)), {}, copy=False)
            linked = all(_is(self._path + at, device, inode) for at, device, inode in key)
        except BaseException:
            self.close()
            raise
        if not linked:
            self.close()
            return False
        return True


def sweep(folder: Path) -> None:
    """Remove the roots of children that were killed."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            try:
                os.kill(int(path.name), 0)
            except ValueError:
                continue
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except PermissionError:
                continue


def _key(files: list[File]) -> _Key | None:
    """Return what these files are, if they may be shared."""
    found: list[tuple[str, int, int]] = []
    for file in files:
        try:
            facts = os.stat(file.source)  # noqa: PTH116
        except OSError:
            return None  # a root of its own tells what is wrong
        if file.writable or not stat.S_ISREG(facts.st_mode) or facts.st_size > SHARED_BYTES:
            return None
        found.append((guest_path(file.target), facts.st_dev, facts.st_ino))
    return tuple(found)


def _is(path: str, device: int, inode: int) -> bool:
    facts = os.stat(path)  # noqa: PTH116
    return (facts.st_dev, facts.st_ino) == (device, inode)
