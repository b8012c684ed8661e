"""Manifests: what an input comes to for every partition of a task, listed once, in a file that is read by slices.

One slice for each partition, or a single one where everybody reads everything. A slice is lines of JSON, sorted and
compressed, which can be read without the others; behind them all stands an index with the digest of each, and the
digest of that index is the manifest's. So who knows the digest can check whatever part of it comes from wherever.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from skrei_domain.errors import SkreiError
from skrei_plugin_api.pieces import Piece

MAGIC: Final = b"skrei manifest 1\n"
MOST_SLICES = 10_000
"""As many as a task may have partitions."""
MOST_PLAIN_BYTES = 4 * 1024**3
"""Of all lines of one that somebody brings: five million long keys have 2 GB; more would be read for minutes."""
LINE_BYTES = 64 * 1024
"""Of one line: the longest path and identity, each character of them escaped."""
CHUNK_BYTES = 256 * 1024
"""Read, and unpacked, at once."""

_SLICE = struct.Struct(">QQQQQQ32s")
_TRAILER = struct.Struct(">?QQQ8s")
_END = b"manifest"


class ManifestDamaged(SkreiError):
    """What was read is no manifest, or not the one that was asked for."""

    code = "manifest-damaged"
    retryable = True


@dataclass(frozen=True, slots=True)
class Slice:
    """Where the list of one partition lies in a manifest, and what its files come to.

    `size_bytes` leaves out those (`unsized`) of which nobody says how large they are. `digest` (hex) is of its lines:
    two slices of any manifests that have the same are the same list.
    """

    offset: int
    packed_bytes: int
    plain_bytes: int
    files: int
    size_bytes: int
    unsized: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The index of a manifest. `dealt`: each partition has its own slice; else there is one, for all of them.

    `files` and `size_bytes` are those of all slices together.
    """

    digest: str
    dealt: bool
    slices: int
    files: int
    size_bytes: int
    tail: bytes

    def slice(self, partition: int) -> Slice:
        """Return what a partition gets. Raises ManifestDamaged for one that it was not made for."""
        number = partition if self.dealt else 0
        if not 0 <= number < self.slices:
            raise ManifestDamaged(f"manifest {self.digest} has no partition {partition}: it was made for {self.slices}")
        told = _SLICE.unpack_from(self.tail, number * _SLICE.size)
        offset, packed, plain, files, size, unsized, digest = told
        return Slice(offset, packed, plain, files, size, unsized, digest.hex())


def tail_bytes(slices: int) -> int:
    """Return how long the end of a manifest is that holds its index."""
    return slices * _SLICE.size + _TRAILER.size


def tail_of(dealt: bool, slices: Iterable[Slice]) -> bytes:
    """Return the end of a manifest with these slices."""
    told = list(slices)
    rows = (
        _SLICE.pack(each.offset, each.packed_bytes, each.plain_bytes, each.files, each.size_bytes, each.unsized,
                    bytes.fromhex(each.digest))
        for each in told
    )  # fmt: skip
    totals = len(told), sum(each.files for each in told), sum(each.size_bytes for each in told)
    return b"".join(rows) + _TRAILER.pack(dealt, *totals, _END)


def digest_of(tail: bytes) -> str:
    """Return the digest of the manifest that ends so."""
    return f"sha256:{hashlib.sha256(tail).hexdigest()}"


def parse(tail: bytes, wanted: str = "") -> Manifest:
    """Return the index that the end of a manifest holds; with `wanted` only the one of that digest.

    Raises ManifestDamaged.
    """
    if len(tail) < _TRAILER.size:
        raise ManifestDamaged("it is too short to be a manifest")
    dealt, slices, files, total, end = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
    if end != _END or not 1 <= slices <= MOST_SLICES or len(tail) != tail_bytes(slices) or (slices > 1 and not dealt):
        raise ManifestDamaged("it does not end as a manifest does")
    digest = digest_of(tail)
    if wanted and digest != wanted:
        raise ManifestDamaged(f"manifest {wanted} was asked for, {digest} came")
    return Manifest(digest, dealt, slices, files, total, tail)


def load(path: Path, wanted: str = "") -> Manifest:
    """Return the index of a manifest in a file. Blocks. Raises ManifestDamaged, FileNotFoundError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _TRAILER.size:
            raise ManifestDamaged("it is too short to be a manifest")
        file.seek(size - _TRAILER.size)
        _, slices, *_ = _TRAILER.unpack(file.read(_TRAILER.size))
        if not 1 <= slices <= MOST_SLICES or tail_bytes(slices) > size:
            raise ManifestDamaged("it does not end as a manifest does")
        file.seek(size - tail_bytes(slices))
        return parse(file.read(), wanted)


def read(path: Path, wanted: Slice) -> Iterator[Piece]:
    """Yield what a slice of a manifest in a file lists; see `pieces_of`. Blocks. Raises FileNotFoundError too."""
    with path.open("rb") as file:
        yield from pieces_of(_chunks(file, wanted.offset, wanted.packed_bytes), wanted)


def verify(path: Path) -> Manifest:
    """Return the index of a manifest in a file, all of which was read and is as it says. Blocks.

    Raises ManifestDamaged.
    """
    manifest = load(path)
    if sum(manifest.slice(number).plain_bytes for number in range(manifest.slices)) > MOST_PLAIN_BYTES:
        raise ManifestDamaged(f"its lines have more than {MOST_PLAIN_BYTES:,} bytes")
    at = len(MAGIC)
    files = total = 0
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ManifestDamaged("it does not begin as a manifest does")
        for number in range(manifest.slices):
            each = manifest.slice(number)
            if each.offset != at:
                raise ManifestDamaged("its slices do not follow each other")
            for _ in pieces_of(_chunks(file, each.offset, each.packed_bytes), each):
                pass
            at += each.packed_bytes
            files, total = files + each.files, total + each.size_bytes
        if at + len(manifest.tail) != file.seek(0, os.SEEK_END) or (files, total) != (
            manifest.files,
            manifest.size_bytes,
        ):
            raise ManifestDamaged("its slices are not all that it says")
    return manifest


def pieces_of(packed: Iterable[bytes], wanted: Slice) -> Iterator[Piece]:
    """Yield what the packed bytes of a slice list, in the order of their lines.

    Only who has read it to its end knows that it is what the index says: what comes before may be anything, though
    never more or longer than that. Raises ManifestDamaged.
    """
    hasher = hashlib.sha256()
    files = plain = size = unsized = 0
    for line in _lines(packed, wanted.plain_bytes):
        hasher.update(line)
        plain += len(line)
        files += 1
        piece = _piece(line)
        size += piece.size or 0
        unsized += piece.size is None
        if files > wanted.files:
            raise ManifestDamaged("a slice lists more files than its manifest says")
        yield piece
    found = Slice(wanted.offset, wanted.packed_bytes, plain, files, size, unsized, hasher.hexdigest())
    if found != wanted:
        raise ManifestDamaged("a slice is not what its manifest says")


def line_of(piece: Piece) -> bytes:
    """Return how a manifest says a piece."""
    told = [piece.path, piece.identity, piece.size]
    return json.dumps(told, separators=(",", ":")).encode("ascii") + b"\n"


def _piece(line: bytes) -> Piece:
    try:
        path, identity, size = json.loads(line)
    except (ValueError, TypeError, RecursionError) as error:
        raise ManifestDamaged("a line of a manifest cannot be read") from error
    sized = size is None or (type(size) is int and size >= 0)
    if not (isinstance(path, str) and isinstance(identity, str) and sized):
        raise ManifestDamaged("a line of a manifest is no file")
    return Piece(path, identity, size)


def _lines(packed: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield whole lines, unpacked piece by piece, whatever the packed bytes would grow to."""
    unpacker = zlib.decompressobj()
    left, rest = most, b""
    for chunk in packed:
        data = chunk
        while data:
            try:
                plain = unpacker.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                raise ManifestDamaged("a slice cannot be unpacked") from error
            data = unpacker.unconsumed_tail
            left -= len(plain)
            if left < 0 or unpacker.unused_data:
                raise ManifestDamaged("a slice is longer than its manifest says")
            *lines, rest = (rest + plain).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > LINE_BYTES:
                raise ManifestDamaged("a line of a manifest is too long")
    if rest or not unpacker.eof:
        raise ManifestDamaged("a slice is cut off")


def _chunks(file: BinaryIO, offset: int, size: int) -> Iterator[bytes]:
    file.seek(offset)
    while size > 0:
        chunk = file.read(min(size, CHUNK_BYTES))
        if not chunk:
            raise ManifestDamaged("a manifest is cut off")
        size -= len(chunk)
        yield chunk
