"""The run's stdout and stderr on this node's disk: written as they come, bounded, continued where an agent ended."""

from pathlib import Path

from skrei_plugin_api.streams import NAMES, StreamFile


class Spool:
    """The files `stdout` and `stderr` of a workdir, appended to; each keeps at most `limit` bytes."""

    def __init__(self, workdir: Path, limit: int) -> None:
        self._files = {stream: StreamFile(workdir, name, limit) for stream, name in NAMES.items()}

    @property
    def sizes(self) -> dict[int, int]:
        """How many bytes of each stream are here."""
        return {stream: file.said for stream, file in self._files.items()}

    @property
    def full(self) -> bool:
        """Whether nothing more of either is kept."""
        return all(file.cut for file in self._files.values())

    def write(self, stream: int, data: bytes) -> None:
        """Append to a stream what may be kept of it."""
        self._files[stream].write(data)

    def close(self) -> None:
        """Close both files. Safe twice."""
        for file in self._files.values():
            file.close()
