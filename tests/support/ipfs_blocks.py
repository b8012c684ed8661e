"""Files and directories as IPFS keeps them: blocks by their CIDs, made by the rules of UnixFS."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from skrei_plugin_ipfs.cid import DAG_PB, RAW, SHA2_256, Cid

Tree: TypeAlias = "bytes | Mapping[str, Tree]"


@dataclass
class Store:
    """Blocks. Files are cut into `piece` bytes, nodes have up to `width` links, larger directories are spread."""

    piece: int = 256 * 1024
    width: int = 174
    large: int = 1_000
    raw: bool = True
    blocks: dict[Cid, bytes] = field(default_factory=dict)
    asked: list[Cid] = field(default_factory=list)

    async def get(self, cid: Cid) -> bytes:
        """Return a block, and note that it was asked for. Raises KeyError."""
        self.asked.append(cid)
        return self.blocks[cid]

    def add(self, tree: Tree) -> Cid:
        """Keep a file or a directory, and return its name."""
        return self._file(tree)[0] if isinstance(tree, bytes) else self._directory(tree)[0]

    def put(self, block: bytes, codec: int = DAG_PB) -> Cid:
        """Keep a block as it is."""
        cid = Cid(codec, SHA2_256, hashlib.sha256(block).digest())
        self.blocks[cid] = block
        return cid

    def _file(self, data: bytes) -> tuple[Cid, int]:
        level = [self._leaf(data[at : at + self.piece]) for at in range(0, len(data), self.piece)] or [self._leaf(b"")]
        while len(level) > 1:
            level = [self._joined(level[at : at + self.width]) for at in range(0, len(level), self.width)]
        return level[0]

    def _leaf(self, data: bytes) -> tuple[Cid, int]:
        if self.raw:
            return self.put(data, RAW), len(data)
        return self.put(text(1, number(1, 2) + text(2, data) + number(3, len(data)))), len(data)

    def _joined(self, parts: list[tuple[Cid, int]]) -> tuple[Cid, int]:
        whole = sum(size for _, size in parts)
        told = number(1, 2) + number(3, whole) + b"".join(number(4, size) for _, size in parts)
        return self.put(b"".join(link("", *part) for part in parts) + text(1, told)), whole

    def _directory(self, tree: Mapping[str, Tree]) -> tuple[Cid, int]:
        entries = [
            (name, *(self._file(below) if isinstance(below, bytes) else self._directory(below)))
            for name, below in sorted(tree.items())
        ]
        if len(entries) > self.large:
            return self._shard(entries, 0), 0
        return self.put(b"".join(link(*entry) for entry in entries) + text(1, number(1, 1))), 0

    def _shard(self, entries: list[tuple[str, Cid, int]], depth: int) -> Cid:
        """Spread entries by a digest of their names over 256 places; where several meet is a shard of its own."""
        places: dict[int, list[tuple[str, Cid, int]]] = {}
        for entry in entries:
            places.setdefault(hashlib.sha256(entry[0].encode()).digest()[depth], []).append(entry)
        links = b""
        for place, some in sorted(places.items()):
            if len(some) == 1:
                links += link(f"{place:02X}{some[0][0]}", *some[0][1:])
            else:
                links += link(f"{place:02X}", self._shard(some, depth + 1), 0)
        return self.put(links + text(1, number(1, 5) + number(6, 256)))


def link(name: str, cid: Cid, size: int) -> bytes:
    """Return a link of a node, as its field."""
    raw = b"\x01" + varint(cid.codec) + varint(cid.hash) + varint(len(cid.digest)) + cid.digest
    return text(2, text(1, raw) + text(2, name.encode()) + number(3, size))


def number(field_number: int, value: int) -> bytes:
    """Return a field that is a number."""
    return varint(field_number << 3) + varint(value)


def text(field_number: int, value: bytes) -> bytes:
    """Return a field that is bytes."""
    return varint(field_number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Return a number in seven bits each."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
