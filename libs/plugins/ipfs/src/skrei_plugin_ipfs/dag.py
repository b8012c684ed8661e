"""The blocks that files and directories become in IPFS, as daemons make them with these settings. Pure.

`SETTINGS` ask a daemon for just this form, so that a CID can be told before anybody is asked for it: chunks of 256 KiB
as they are, nodes of 174 links above them, a directory one node, sorted by name.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from skrei_plugin_ipfs.cid import DAG_PB, RAW, SHA2_256, Cid, varint

CHUNK_BYTES = 256 * 1024
"""Of a file in one block: what daemons take by default."""
LINKS_A_NODE = 174
"""Of a node of a file: the same."""
SETTINGS: Mapping[str, str] = {
    "cid-version": "1",
    "raw-leaves": "true",
    "hash": "sha2-256",
    "chunker": f"size-{CHUNK_BYTES}",
    "trickle": "false",
}

_DIRECTORY = b"\x08\x01"
_FILE = b"\x08\x02"

Keep = Callable[[Cid, bytes], None]
"""Is told of every block that is made."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a file or directory became: `size` bytes of content, and `whole` with all the blocks below its name."""

    cid: Cid
    size: int
    whole: int


def _nothing(_cid: Cid, _block: bytes) -> None:
    return


@dataclass(slots=True)
class FileMaker:
    """A file whose bytes come in any pieces. Holds one chunk, and a few nodes that are not full yet."""

    keep: Keep = _nothing
    _rest: bytearray = field(default_factory=bytearray)
    _levels: list[list[Made]] = field(default_factory=lambda: [[]])

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data
        while len(self._rest) > CHUNK_BYTES:
            self._leaf(bytes(self._rest[:CHUNK_BYTES]))
            del self._rest[:CHUNK_BYTES]

    def end(self) -> Made:
        """Return what all of it became."""
        if self._rest or not any(self._levels):
            self._leaf(bytes(self._rest))
            self._rest.clear()
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._fold(level)
            level += 1
        return self._levels[level][0]

    def _leaf(self, chunk: bytes) -> None:
        self._put(0, _made(RAW, chunk, len(chunk), len(chunk), self.keep))

    def _put(self, level: int, made: Made) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == LINKS_A_NODE:
            self._fold(level)
        self._levels[level].append(made)

    def _fold(self, level: int) -> None:
        """Make a node of what is on one level, and put it on the next."""
        parts = self._levels[level]
        self._levels[level] = []
        size = sum(part.size for part in parts)
        told = _FILE + b"\x18" + varint(size) + b"".join(b"\x20" + varint(part.size) for part in parts)
        block = _node(told, ((b"", part) for part in parts))
        self._put(level + 1, _made(DAG_PB, block, size, len(block) + sum(part.whole for part in parts), self.keep))


@dataclass(slots=True)
class TreeMaker:
    """Directories within directories, by the paths of what lies in them."""

    keep: Keep = _nothing
    _entries: dict[str, "Made | TreeMaker"] = field(default_factory=dict)

    def directory(self, path: str) -> "TreeMaker":
        """Return the directory at a path, made where it is not there yet. Raises ValueError where a file is."""
        found = self
        for name in path.split("/"):
            entry = found._entries.setdefault(name, TreeMaker(self.keep))
            if isinstance(entry, Made):
                raise ValueError(f"{path[:200]!r} is a file, and a directory")
            found = entry
        return found

    def file(self, path: str, made: Made) -> None:
        """Put a file at a path. Raises ValueError where something is already."""
        folder, _, name = path.rpartition("/")
        place = self.directory(folder) if folder else self
        if name in place._entries:
            raise ValueError(f"{path[:200]!r} is there twice")
        place._entries[name] = made

    def end(self) -> Made:
        """Return what all of it became."""
        made = {
            name.encode("utf-8", "surrogateescape"): entry.end() if isinstance(entry, TreeMaker) else entry
            for name, entry in self._entries.items()
        }
        block = _node(_DIRECTORY, sorted(made.items()))
        size = sum(each.size for each in made.values())
        return _made(DAG_PB, block, size, len(block) + sum(each.whole for each in made.values()), self.keep)


def _made(codec: int, block: bytes, size: int, whole: int, keep: Keep) -> Made:
    cid = Cid(codec, SHA2_256, hashlib.sha256(block).digest())
    keep(cid, block)
    return Made(cid, size, whole)


def _node(told: bytes, links: Iterable[tuple[bytes, Made]]) -> bytes:
    """Return a block of DAG-PB, its links first."""
    body = bytearray()
    for name, made in links:
        link = _bytes(1, made.cid.binary) + _bytes(2, name) + b"\x18" + varint(made.whole)
        body += _bytes(2, link)
    return bytes(body + _bytes(1, told))


def _bytes(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value
