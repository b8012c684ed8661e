"""What a program says on its way into a file: up to a limit, then one line that says so, and nothing more.

The program goes on, and never waits for what is dropped. Nothing but the standard library is imported here: child
processes of engines write so, and start up quickly.
"""

import errno
import os
from pathlib import Path
from typing import Final

STREAM_BYTES = 1024 * 1024 * 1024
"""What stdout, and what stderr, keeps when the caller names no limit of its own: more than anybody reads, and no disk
is filled by one program."""
NAMES: Final = {1: "stdout", 2: "stderr"}
"""The streams of a program by their numbers; their files in a run's folder have these names."""


def cut_line(name: str, limit: int) -> bytes:
    """Return the line that a stream ends with which reached its limit; it begins a line of its own."""
    told = f"[skrei: {name} is cut here, at this node's limit of {limit} bytes (SKREI_OUTPUT_STREAM_BYTES); "
    return f"\n{told}the program went on, what it said after this is not kept]\n".encode()


class StreamFile:
    """One stream's file, made with the first byte, or continued where an earlier process left it.

    Most programs never say a word on one of the two: a file that is not made is the fastest one.
    """

    def __init__(self, workdir: Path | str, name: str, limit: int) -> None:
        """Look at the file `name` of `workdir`. Raises OSError."""
        self._limit = limit
        self._line = cut_line(name, limit)
        self._path = f"{workdir}/{name}"
        self._file = -1
        self._closed = False
        try:
            self._size = os.lstat(self._path).st_size
        except FileNotFoundError:
            self._size = 0

    @property
    def said(self) -> int:
        """How many bytes of the program's are in the file."""
        return min(self._size, self._limit)

    @property
    def cut(self) -> bool:
        """Whether it keeps nothing more, and says so."""
        return self._size >= self._limit + len(self._line)

    def write(self, data: bytes | memoryview) -> None:
        """Append what may be kept, and drop the rest. Raises OSError where the disk takes no more."""
        if self.cut or not data:
            return
        if self._file < 0:
            self._open()
        room = self._limit - self.said
        self._append(data[:room])
        if len(data) > room:
            self._append(self._line[self._size - self._limit :])  # what a process that was killed had not written yet

    def close(self) -> None:
        """Close the file, for good. Safe twice."""
        self._closed = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o644)

    def _append(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            self._size += written
            view = view[written:]
