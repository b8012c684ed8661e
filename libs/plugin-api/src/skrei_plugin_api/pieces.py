"""Inputs that are files somewhere else: a storage lists them and brings one; the node keeps, shares and lays out.

What an input comes to is a list of pieces, each with an identity that is another whenever its bytes are. The node asks
for a piece once, whoever wants it, keeps it until its room is wanted for others, and lays an input out as a directory
of links, which all who ask for the same list share.
"""

import os
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from skrei_plugin_api.engine import Mount
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage

DATA = "data"
"""The file that `bring` leaves in the folder that it is given."""
PATH_BYTES = 4096
"""Of a piece's path: Linux opens no longer one (PATH_MAX)."""
NAME_BYTES = 255
"""Of one name in a path (NAME_MAX)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of an input.

    `path` is where it lies below the target, with `/`; empty where the input is this file itself. `identity` names its
    bytes, for every storage and node alike: `sha256:<hex>` (then they are checked), or where they lie with their
    version or ETag. `size` is in bytes, None where nobody says.
    """

    path: str
    identity: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a listing for all partitions of a task, and which of them gets it; None: all of them."""

    piece: Piece
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """What one partition gets of an input that was listed for all of them.

    `key` (hex) names the list: two that have the same are the same. `size_bytes` leaves out files of which nobody says
    how large they are. `load` reads the list itself, and is only needed where the files do not lie there yet.
    """

    key: str
    files: int
    size_bytes: int
    load: Callable[[], Awaitable[Sequence[Piece]]]


Bring: TypeAlias = Callable[[Piece, Path], Awaitable[None]]
"""Brings the bytes of a piece as `DATA` into a folder; see `PieceStorage.bring`."""


class PieceStorage(Storage):
    """A storage whose inputs are files that are fetched."""

    @abstractmethod
    async def pieces(self, source: SourceSpec, limits: StageLimits) -> Sequence[Piece]:
        """Return what the input of this partition consists of, as it is now; nothing is fetched for it.

        Raises StageFailed, and SkreiErrors that are retryable where another try may succeed.
        """

    @abstractmethod
    async def bring(self, source: SourceSpec, limits: StageLimits, piece: Piece, folder: Path) -> None:
        """Write the bytes of a piece to the file `DATA` in `folder`.

        The folder belongs to this identity alone, one call at a time: what an earlier call left in it that broke off
        may be gone on from, and notes may lie beside the file. Never writes more than `limits.max_bytes`. Raises
        StageFailed, after which the folder is removed, and retryable SkreiErrors, after which it stays.
        """

    async def size(self, source: SourceSpec) -> int | None:
        """Return the sum of the pieces, None where one does not tell."""
        sizes = [piece.size for piece in await self.pieces(source, StageLimits())]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Return where all pieces lie, shared with others and read-only. Raises StageFailed, and retryable errors."""
        del folder
        wanted: Sequence[Piece] | Listed | None = await blobs.listed(self, source, limits)
        if wanted is None:
            wanted = await self.pieces(source, limits)
            check_pieces(wanted, limits, source.target)
        return Mount(await blobs.gather(wanted, partial(self.bring, source, limits)), source.target)


def write_at(file: int, data: bytes, first: int) -> None:
    """Write all of `data` to an open file, from byte `first` on. Blocks."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, first)
        rest, first = rest[written:], first + written


def check_count(files: int, limits: StageLimits, target: str) -> None:
    """Raise StageFailed for an input of too many files. Pure."""
    if files > limits.max_files:
        raise StageFailed(
            StageProblem.TOO_LARGE,
            f"the input at {target} has {files:,} files; this node takes {limits.max_files:,}",
            hint="part it (`Count`, `Partition`), or name fewer with a filter",
        )


def check_pieces(pieces: Sequence[Piece], limits: StageLimits, target: str) -> None:
    """Raise StageFailed for an input that is too large, or whose files cannot lie beside each other. Pure."""
    check_count(len(pieces), limits, target)
    size = sum(piece.size or 0 for piece in pieces)
    if size > limits.max_bytes:
        raise StageFailed(
            StageProblem.TOO_LARGE,
            f"the input at {target} has {size:,} bytes; this node takes {limits.max_bytes:,}",
            hint="part it (`Count`, `Partition`), or let the node's owner raise SKREI_INPUT_BYTES",
        )
    if len(pieces) == 1 and not pieces[0].path:
        return
    folders: set[str] = set()
    names: set[str] = set()
    for piece in pieces:
        if problem := _path_problem(piece.path) or ("is there twice" if piece.path in names else ""):
            raise StageFailed(StageProblem.INVALID, f"a file of the input at {target} {problem}: {piece.path[:200]!r}")
        names.add(piece.path)
        parent = piece.path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    if both := names & folders:
        raise StageFailed(
            StageProblem.INVALID,
            f"{min(both)!r} of the input at {target} is a file and a folder, which no disk can hold",
            hint="name one of the two",
        )


def _path_problem(path: str) -> str:
    """Return what is wrong with a path below a target, empty if nothing is."""
    if not path:
        return "has no name"
    if "\0" in path:
        return "has a NUL in its name"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "would not lie below it"
    try:
        encoded = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "has no name that a disk can hold"
    if max(encoded) > NAME_BYTES or sum(encoded) + len(parts) > PATH_BYTES:
        return "has too long a name"
    return ""
