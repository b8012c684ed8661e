"""What an execution leaves: stdout, stderr, exitCode and its result folders as one deterministic tar.gz.

The same files give the same bytes, whatever machine packs them: names in order, directories first, no times, no
owners. Links and devices are left out.
"""

import base64
import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from skrei_domain.errors import SkreiError
from skrei_domain.messages import ResultRef, RunOutput

INLINE_BYTES = 64 * 1024
"""The largest result: it rides in the terminal fact and commits with it."""
OUTPUT_BYTES = 2 * 1024
"""How much of each stream the record keeps for `describe`."""
GZIP_LEVEL = 1
"""A small result is mostly tar's zeros, which every level folds; higher ones only cost time on the hot path."""

_CHUNK = 64 * 1024
_BLOCK = 512
_GZIP = 31  # zlib's window bits for a gzip frame; its header carries no time


class ResultTooLarge(SkreiError):
    """The result does not fit into the fact that would carry it."""

    code = "result-too-large"


class _Entry(NamedTuple):
    name: str
    path: Path | None  # None: a folder
    size: int


def pack(stdout: Path, stderr: Path, exit_code: int | None, folders: Mapping[str, Path]) -> ResultRef:
    """Return the result as an inline tar.gz; without exit code for what did not come to one. Raises ResultTooLarge naming size and limit."""
    streams = [("stdout", stdout), ("stderr", stderr)]
    found = [_Entry(name, path, path.stat().st_size) for name, path in streams]
    for name in sorted(folders):
        found += _walk(name, folders[name])
    squeezer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    packed = bytearray()
    for block in _tar(found, exit_code):
        packed += squeezer.compress(block)
        if len(packed) > INLINE_BYTES:
            break
    packed += squeezer.flush()
    if len(packed) > INLINE_BYTES:
        total = sum(entry.size for entry in found)
        raise ResultTooLarge(
            f"the result holds {total} bytes and does not pack into the limit of {INLINE_BYTES} bytes",
            hint="write less to stdout and the result folders",
        )
    data = bytes(packed)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return ResultRef(digest=digest, size=len(data), inline=base64.b64encode(data).decode("ascii"))


def first_output(stdout: Path, stderr: Path) -> RunOutput:
    """Return the first 2 KiB of both streams as text; what is no text is replaced."""
    out, more_out = _head(stdout)
    err, more_err = _head(stderr)
    return RunOutput(stdout=out, stderr=err, stdout_truncated=more_out, stderr_truncated=more_err)


def _head(path: Path) -> tuple[str, bool]:
    try:
        with path.open("rb", buffering=0) as file:
            data = file.read(OUTPUT_BYTES + 1) or b""
    except FileNotFoundError:
        return "", False
    text = data[:OUTPUT_BYTES].decode("utf-8", errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text, len(data) > OUTPUT_BYTES


def _walk(name: str, folder: Path) -> Iterator[_Entry]:
    """The folder and what is below it, in the order of names."""
    yield _Entry(name, None, 0)
    with os.scandir(folder) as items:
        ordered = sorted(items, key=lambda item: item.name)
    for item in ordered:
        if item.is_dir(follow_symlinks=False):
            yield from _walk(f"{name}/{item.name}", Path(item.path))
        elif item.is_file(follow_symlinks=False):
            yield _Entry(f"{name}/{item.name}", Path(item.path), item.stat(follow_symlinks=False).st_size)


def _tar(entries: Iterable[_Entry], exit_code: int | None) -> Iterator[bytes]:
    files = []
    for entry in entries:
        if entry.path is None:
            yield _header(entry.name, 0, folder=True)
        else:
            files.append((entry.name, entry.path, entry.size))
    for name, path, size in files:
        yield _header(name, size)
        yield from _content(path, size)
        yield bytes(-size % _BLOCK)
    if exit_code is not None:
        text = str(exit_code).encode()
        yield _header("exitCode", len(text)) + text + bytes(-len(text) % _BLOCK)
    yield bytes(2 * _BLOCK)


def _header(name: str, size: int, *, folder: bool = False) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o755 if folder else 0o644
    entry.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(path: Path, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes: what was added since is left out, what was cut off reads as zeros."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no longer a file")
        left = size
        while left:
            data = os.read(descriptor, min(left, _CHUNK))
            if not data:
                yield bytes(left)
                return
            left -= len(data)
            yield data
    finally:
        os.close(descriptor)
