"""The digest of an upload, taken on as its bytes come: from memory where they come in order, else from disk.

What is put into it is claimed at once and digested soon, in order, by another thread. One upload's is touched by one
thread at a time, which `StagedPublisher` sees to; only the digesting goes on beside that.
"""

import contextlib
import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from skrei_plugin_api.lane import Lane, Start

READ_BYTES = 1024 * 1024
"""Read at once while hashing: enough that the thread rarely comes up for air, little memory."""
STRETCH_BYTES = 4 * 1024 * 1024
"""Read in one piece of work: what is behind by gigabytes, after a restart, lets others have the thread between two."""
LAG_BYTES = 16 * 1024 * 1024
"""How far behind it may be and still be given bytes from memory: those wait, and memory is for who is not behind."""


class RunningDigest:
    """`claimed` bytes from the start are in it or on their way into it; `hashed` of them are."""

    def __init__(self) -> None:
        self.claimed = 0
        self.hashed = 0
        self._hasher = hashlib.sha256()
        self._kept = (0, self._hasher.copy())
        self._lane = Lane()

    @property
    def text(self) -> str:
        """The digest of what has been hashed."""
        return f"sha256:{self._hasher.hexdigest()}"

    @property
    def failed(self) -> Exception | None:
        """Why something that is claimed did not go into it: it is none of the content any more."""
        return self._lane.failed

    @property
    def keeps_up(self) -> bool:
        """Whether it may be given bytes from memory."""
        return self.claimed - self.hashed <= LAG_BYTES

    def add(self, piece: bytes | memoryview, done: Callable[[], None], start: Start) -> None:
        """Take on the bytes that follow what is claimed; `done` hears that their memory is free again."""
        self.claimed += len(piece)

        def work() -> None:
            try:
                self._update(piece)
            finally:
                done()

        self._lane.put(work, start)

    def read(self, content: Path, end: int, start: Start) -> None:
        """Take on what lies on disk, up to `end`."""
        while self.claimed < end:
            self.claimed = stretch = min(end, self.claimed + STRETCH_BYTES)
            self._lane.put(lambda stretch=stretch: self._read(content, stretch), start)  # type: ignore[misc]

    def mark(self, start: Start) -> None:
        """Remember how it is now: what follows may be taken back."""
        self._lane.put(self._mark, start)

    def back(self, start: Start) -> None:
        """Take back what followed the last mark."""
        self._lane.put(self._back, start)

    def settled(self, start: Start) -> "Future[None]":
        """Return what is done once all that is claimed is hashed."""
        return self._lane.settled(start)

    # ------------------------------------------------------------ in the lane

    def _update(self, piece: bytes | memoryview) -> None:
        self._hasher.update(piece)
        self.hashed += len(piece)

    def _mark(self) -> None:
        self._kept = (self.hashed, self._hasher.copy())

    def _back(self) -> None:
        self.hashed, self._hasher = self._kept[0], self._kept[1].copy()

    def _read(self, content: Path, end: int) -> None:
        buffer = memoryview(bytearray(min(READ_BYTES, end - self.hashed)))
        # Dropped meanwhile, or shorter than it was: the digest will say so.
        with contextlib.suppress(FileNotFoundError), content.open("rb", buffering=0) as file:
            file.seek(self.hashed)
            while self.hashed < end and (got := file.readinto(buffer[: end - self.hashed])):
                self._update(buffer[:got])
