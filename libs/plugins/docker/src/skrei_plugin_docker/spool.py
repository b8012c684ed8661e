"""The run's stdout and stderr on this node's disk: written as they come, bounded, continued where an agent ended."""

import os
from pathlib import Path
from typing import Final


class OutputLimit(Exception):
    """The program said more than is kept."""


class Spool:
    """The files `stdout` and `stderr` of a workdir, appended to. Together they hold at most `limit` bytes."""

    _NAMES: Final = {1: "stdout", 2: "stderr"}

    def __init__(self, workdir: Path, limit: int) -> None:
        self._files = {
            stream: os.open(workdir / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            for stream, name in self._NAMES.items()
        }
        self.sizes = {stream: os.fstat(file).st_size for stream, file in self._files.items()}
        self._left = max(limit - sum(self.sizes.values()), 0)

    def write(self, stream: int, data: bytes) -> None:
        """Append to a stream. Raises OutputLimit when not all of it may be kept, after keeping what may."""
        kept = data[: self._left]
        self._left -= len(kept)
        self.sizes[stream] += len(kept)
        view = memoryview(kept)
        while view:
            view = view[os.write(self._files[stream], view) :]
        if len(kept) < len(data):
            raise OutputLimit

    def close(self) -> None:
        """Close both files. Safe twice."""
        files, self._files = self._files, {}
        for file in files.values():
            os.close(file)
