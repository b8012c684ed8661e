"""What a run leaves as one deterministic tar.gz: the same files give the same bytes, whatever machine packs them.

Directory entries come first (`.` the very first), then `stdout`, `stderr`, the files of the outputs by name, and
`exitCode`; no times, no owners. Links, devices and sockets are left out. Nothing but the standard library is imported
here: child processes of engines pack, and start up quickly.
"""

import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from skrei_plugin_api.streams import NAMES

HEAD_BYTES = 2048
"""How much of each stream the record keeps for `describe`."""
GZIP_LEVEL = 1
"""A small result is mostly tar's zeros, which every level folds; higher ones only cost time on the hot path."""
NO_EXIT_CODE = -1
"""What `exitCode` holds after a run that did not end by itself."""
RESULT_FILE = "result.tar.gz"

_CHUNK = 64 * 1024
_BLOCK = 512
_NAME_BYTES = 100  # what the oldest form of a tar header holds
_SIZE_DIGITS = 11  # and how many octal ones it has for a size
_GZIP_WINDOW = 31  # zlib's window bits for a gzip frame, whose header then carries no time
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class StreamHead:
    """The first bytes of stdout or stderr, and whether there are more."""

    data: bytes = b""
    truncated: bool = False


NO_OUTPUT = StreamHead()


@dataclass(frozen=True, slots=True)
class PackedResult:
    """A packed result: `data` when it is small enough to travel with a fact, else the file `path`."""

    digest: str
    size: int
    data: bytes | None = None
    path: Path | None = None


class OutputTooLarge(Exception):
    """What the run left in its outputs is larger than it may be; both in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the result paths hold {size} bytes; at most {limit} are kept: write less into them")
        self.size = size
        self.limit = limit


def pack_result(
    workdir: Path | str,
    outputs: Iterable[str],
    exit_code: int | None,
    *,
    inline_limit: int,
    max_bytes: int | None = None,
) -> PackedResult:
    """Pack `stdout`, `stderr`, the exit code and `outputs/<name>` for each of `outputs` (names).

    A missing stream is packed as an empty file, a missing output as an empty folder. Raises OutputTooLarge when the
    outputs hold more than `max_bytes`: what the streams may hold is kept to while they are written.
    """
    folders, files = _survey(os.fspath(workdir), sorted(set(outputs)))
    total = sum(size for _, _, size in files)
    made = sum(size for name, _, size in files if name not in NAMES.values())
    if max_bytes is not None and made > max_bytes:
        raise OutputTooLarge(made, max_bytes)
    code = str(NO_EXIT_CODE if exit_code is None else exit_code).encode()
    packer = squeezer()
    if total <= _CHUNK:
        data = packer.compress(b"".join(_tar(folders, files, code))) + packer.flush()
        if len(data) <= inline_limit:
            return PackedResult(_digest(hashlib.sha256(data)), len(data), data)
        packer = squeezer()
    return _pack_to_file(Path(workdir, RESULT_FILE), packer, _tar(folders, files, code), inline_limit)


def stream_head(path: Path | str) -> StreamHead:
    """Return the first HEAD_BYTES of a stream; a file that was never made is empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return NO_OUTPUT
    try:
        data = os.read(descriptor, HEAD_BYTES + 1)
    finally:
        os.close(descriptor)
    return StreamHead(data[:HEAD_BYTES], len(data) > HEAD_BYTES)


_Files = list[tuple[str, str, int]]


def _survey(workdir: str, outputs: list[str]) -> tuple[list[str], _Files]:
    """Return the folders and the files (name, path, size) that belong into the result, both in packing order."""
    files: _Files = []
    for name in NAMES.values():
        path = f"{workdir}/{name}"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            files.append((name, os.devnull, 0))
        else:
            files.append((name, path, found.st_size if stat.S_ISREG(found.st_mode) else 0))
    folders = ["."]
    below: _Files = []
    for name in outputs:
        folders.append(name)
        folder = f"{workdir}/outputs/{name}"
        if Path(folder).is_dir() and not Path(folder).is_symlink():
            _walk(name, folder, folders, below)
    return folders, files + below


def _walk(name: str, folder: str, folders: list[str], files: _Files) -> None:
    """Add what is below `folder`, in the order of names, however deep a program has nested it."""
    within = [(name, _in_order(folder))]
    while within:
        name, items = within[-1]
        if (item := next(items, None)) is None:
            within.pop()
            continue
        inside = f"{name}/{item.name}"
        if item.is_dir(follow_symlinks=False):
            folders.append(inside)
            within.append((inside, _in_order(item.path)))
        elif item.is_file(follow_symlinks=False):
            files.append((inside, item.path, item.stat(follow_symlinks=False).st_size))


def _in_order(folder: str) -> "Iterator[os.DirEntry[str]]":
    with os.scandir(folder) as items:
        return iter(sorted(items, key=lambda item: item.name))


def _tar(folders: list[str], files: _Files, exit_code: bytes) -> Iterator[bytes]:
    for folder in folders:
        yield tar_header(folder, 0, folder=True)
    for name, path, size in files:
        yield tar_header(name, size)
        if size:
            yield from _content(path, size)
            yield tar_padding(size)
    yield tar_header("exitCode", len(exit_code)) + exit_code + tar_padding(len(exit_code))
    yield tar_end()


@lru_cache(maxsize=256)  # small jobs write the same few headers, thousands of times
def tar_header(name: str, size: int, *, folder: bool = False) -> bytes:
    """Return the header of an entry: no times, no owners."""
    at = f"{name}/" if folder else name
    if not name.isascii() or len(name) >= _NAME_BYTES or size >= 8**_SIZE_DIGITS:
        return _long_header(name, size, folder=folder)
    kind, mode = (b"5", 0o755) if folder else (b"0", 0o644)
    owners, time, checksum, link = b"0000000\0" * 2, b"00000000000\0", b" " * 8, bytes(_NAME_BYTES)
    before = at.encode().ljust(_NAME_BYTES, b"\0") + b"%07o\0%b%011o\0%b" % (mode, owners, size, time)
    after = (kind + link + b"ustar\x0000").ljust(_BLOCK - len(before) - len(checksum), b"\0")
    return before + b"%06o\0 " % sum(before + checksum + after) + after


def _long_header(name: str, size: int, *, folder: bool) -> bytes:
    """Return the header of an entry that the oldest form does not hold."""
    import tarfile  # 0.6 MB, for the few who have such names: children of engines pack too

    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o755 if folder else 0o644
    entry.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def tar_padding(size: int) -> bytes:
    """Return what follows a file of so many bytes."""
    return bytes(-size % _BLOCK)


def tar_end() -> bytes:
    """Return what follows the last entry."""
    return _END


def squeezer() -> "zlib._Compress":
    """Return what packs a tar as nodes do: the same bytes however they come."""
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def _content(path: str, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes: what was added since is left out, what was cut off reads as zeros."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
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


def _pack_to_file(path: Path, packer: "zlib._Compress", blocks: Iterator[bytes], inline_limit: int) -> PackedResult:
    """Pack by way of a file; a result that turns out small is read back and the file goes."""
    hasher, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for block in blocks:
            piece = packer.compress(block)
            hasher.update(piece)
            size += file.write(piece)
        piece = packer.flush()
        hasher.update(piece)
        size += file.write(piece)
    if size <= inline_limit:
        data = path.read_bytes()
        path.unlink()
        return PackedResult(_digest(hasher), size, data)
    return PackedResult(_digest(hasher), size, path=path)


def _digest(hasher: "hashlib._Hash") -> str:
    return f"sha256:{hasher.hexdigest()}"
