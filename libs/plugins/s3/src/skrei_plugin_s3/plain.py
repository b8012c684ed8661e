"""A result as a file for each of its files: the archive read as a stream, what it holds put below a key. Blocks.

Whoever packed it is not trusted: names that lead elsewhere, more than a result can have, and headers without end are
refused. Links and devices are left out, as they are where a result is packed.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skrei_plugin_api.archives import BoundedTar
from skrei_plugin_api.publisher import PublishDenied
from skrei_plugin_s3.params import KEY_BYTES

MOST_FILES = 100_000
"""Of one result: each is a request."""
MOST_BYTES = 64 * 1024**3
"""Of one result unpacked: what clients unpack at most."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: its name in the result, its bytes."""

    name: str
    size: int
    content: IO[bytes]


def files(archive: Path, folders: set[str] | None = None) -> Iterator[File]:
    """Yield the files of a tar.gz in order; each is read before the next is asked for. Raises PublishDenied.

    What it has of folders without anything in them is in `folders` at the end.
    """
    empty = set() if folders is None else folders
    count = total = 0
    try:
        with BoundedTar.open(archive, "r:gz") as tar:
            for entry in tar:
                tar.members = []  # type: ignore[attr-defined]  # else all of them are kept
                if entry.isdir() and entry.name not in (".", "./"):
                    path = _checked(entry.name.rstrip("/"))
                    empty.discard(path.rpartition("/")[0])
                    empty.add(path)
                if not entry.isreg():
                    continue
                empty.discard(entry.name.removeprefix("./").rpartition("/")[0])
                count, total = count + 1, total + entry.size
                if count + len(empty) > MOST_FILES or total > MOST_BYTES:
                    raise PublishDenied(
                        f"the result has more than the {MOST_FILES:,} files or {MOST_BYTES:,} bytes that "
                        "`Encoding: plain` takes",
                        hint="publish it as one archive: Encoding: gzip",
                    )
                content = tar.extractfile(entry)
                assert content is not None, "a regular file has content"
                yield File(_checked(entry.name), entry.size, content)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise PublishDenied(f"the result cannot be unpacked: {error}") from error


def _checked(name: str) -> str:
    plain = name.removeprefix("./")
    parts = plain.split("/")
    if not plain or plain.startswith("/") or any(part in ("", ".", "..") for part in parts) or not plain.isprintable():
        raise PublishDenied(f"the result has a file of the name {name!r}, which no key may have")
    if len(plain.encode("utf-8", "surrogateescape")) > KEY_BYTES:
        raise PublishDenied(f"the result has a file whose name is longer than the {KEY_BYTES} bytes of a key")
    return plain
