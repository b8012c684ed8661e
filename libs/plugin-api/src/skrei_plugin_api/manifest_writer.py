"""Writes a manifest while its input is listed: in memory as much as one run holds, however long the list is.

Entries come in the order of the listing, slices are written one after another; so runs of entries, sorted by partition,
go to a file aside first, and each slice is then put together from its parts of all of them.
"""

import hashlib
import os
import tempfile
import zlib
from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from skrei_plugin_api.manifest import MAGIC, MOST_SLICES, Manifest, Slice, line_of, parse, tail_of
from skrei_plugin_api.pieces import Entry
from skrei_plugin_api.storage import StageFailed, StageLimits, StageProblem

RUN_BYTES = 16 * 1024 * 1024
"""Of lines that are held before they are put aside: they take twice that in memory."""
_LEVEL = 6
"""Of compression, named so that the same list has the same bytes wherever the same zlib writes it."""


class ManifestWriter:
    """A manifest of `partitions` in the making; `add` every entry, `spill` when it is `full`, then `finish`.

    As a block it leaves nothing behind but what was finished.
    """

    def __init__(self, folder: Path, partitions: int, limits: StageLimits, *, run_bytes: int = RUN_BYTES) -> None:
        if not 1 <= partitions <= MOST_SLICES:
            raise ValueError(f"a manifest has 1 to {MOST_SLICES} slices, not {partitions}")
        self.listed = 0
        self._folder = folder
        self._partitions = partitions
        self._limits = limits
        self._run_bytes = run_bytes
        self._dealt: bool | None = None
        self._run: dict[int, list[bytes]] = {}
        self._held = 0
        self._aside: BinaryIO | None = None
        self._end = 0
        self._runs: list[array[int]] = []
        self._files = array("Q", [0]) * partitions
        self._bytes = array("Q", [0]) * partitions
        self._unsized = array("Q", [0]) * partitions

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._aside is not None:
            self._aside.close()

    @property
    def full(self) -> bool:
        """Whether enough is held to be put aside."""
        return self._held >= self._run_bytes

    def add(self, entry: Entry) -> None:
        """Take one more entry. Raises StageFailed for more than any node would stage, ValueError for an entry that
        belongs to no partition, or is dealt where others are for all."""
        dealt = entry.partition is not None
        if self._dealt is None:
            self._dealt = dealt
        number = entry.partition or 0
        if dealt is not self._dealt or not 0 <= number < self._partitions:
            raise ValueError(f"{entry.piece.path!r} is listed for partition {entry.partition} of {self._partitions}")
        self.listed += 1
        if self.listed > self._limits.max_listed:
            raise _too_many(f"there are more than {self._limits.max_listed:,} files")
        self._files[number] += 1
        if self._files[number] > self._limits.max_files:
            which = f"partition {number} gets more" if dealt else "there are more"
            raise _too_many(f"{which} than {self._limits.max_files:,} files")
        self._bytes[number] += entry.piece.size or 0
        self._unsized[number] += entry.piece.size is None
        line = line_of(entry.piece)
        self._run.setdefault(number, []).append(line)
        self._held += len(line)

    def spill(self) -> None:
        """Put aside what is held. Blocks."""
        if self._aside is None:
            self._aside = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the block
        ends = array("Q", [self._end])
        for number in range(self._partitions):
            if lines := self._run.get(number):
                part = b"".join(lines)
                self._aside.write(part)
                self._end += len(part)
            ends.append(self._end)
        self._runs.append(ends)
        self._run, self._held = {}, 0

    def finish(self, path: Path) -> Manifest:
        """Write the manifest to a file, durably, and return its index. Blocks."""
        dealt = bool(self._dealt) or (self._dealt is None and self._partitions > 1)
        slices: list[Slice] = []
        with path.open("wb") as file:
            file.write(MAGIC)
            for number in range(self._partitions if dealt else 1):
                plain = b"".join(self._lines(number))
                packed, offset = zlib.compress(plain, _LEVEL), file.tell()
                file.write(packed)
                told = self._files[number], self._bytes[number], self._unsized[number]
                slices.append(Slice(offset, len(packed), len(plain), *told, hashlib.sha256(plain).hexdigest()))
            tail = tail_of(dealt, slices)
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
        return parse(tail)

    def _lines(self, number: int) -> list[bytes]:
        """Return the lines of one slice, sorted: the same files are the same slice, in whatever order they came."""
        lines = list(self._run.get(number, ()))
        for ends in self._runs:
            first, end = ends[number], ends[number + 1]
            if end > first and self._aside is not None:
                self._aside.seek(first)
                lines += self._aside.read(end - first).splitlines(keepends=True)
        lines.sort()
        return lines


def _too_many(message: str) -> StageFailed:
    return StageFailed(
        StageProblem.TOO_LARGE,
        f"the input cannot be listed: {message}",
        hint="part it (`Count`, `Partition`), or name fewer with a filter",
    )
