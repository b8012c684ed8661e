"""The bytes of a file, from the many blocks that it is made of: in order, some asked for ahead, all checked."""

import asyncio
import os
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.pieces import write_at
from skrei_plugin_ipfs.cid import RAW, Cid
from skrei_plugin_ipfs.tree import AT_ONCE, DEEPEST, Blocks
from skrei_plugin_ipfs.unixfs import Kind, Malformed, read


@dataclass(slots=True)
class _Part:
    """A node of the file: where its bytes belong, how many they are (None: nobody said), and who asks for it."""

    cid: Cid
    first: int
    size: int | None
    depth: int
    asked: "asyncio.Task[bytes | None] | None" = None


class _Assembly:
    def __init__(self, blocks: Blocks, file: int) -> None:
        self._blocks = blocks
        self._file = file
        self._here = os.fstat(file).st_size
        self._line: deque[_Part] = deque()

    async def write(self, root: Cid, most_bytes: int) -> int:
        """Write the whole file, and return its size."""
        self._line.append(_Part(root, 0, None, 0))
        end = 0
        try:
            while self._line:
                self._ask_ahead()
                part = self._line.popleft()
                assert part.asked is not None, "the first of the line is always asked for"
                block = await part.asked
                end = await self._take(part, block, most_bytes) if block is not None else part.first + (part.size or 0)
        finally:
            await self._leave()
        return end

    async def _take(self, part: _Part, block: bytes, most_bytes: int) -> int:
        """Write what a node holds itself, put what it links to in front of the line; return where that begins."""
        node = read(part.cid, block)
        if node.kind is not Kind.FILE:
            raise Malformed(f"{node.kind.value} is where a part of a file should be")
        if part.size is not None and node.size != part.size:
            raise Malformed(f"a part has {node.size:,} bytes instead of {part.size:,}")
        if part.first + node.size > most_bytes:
            raise Larger(part.first + node.size)
        if part.depth > DEEPEST:
            raise Malformed(f"it is more than {DEEPEST} nodes deep")
        if node.data:
            await to_its_end(partial(write_at, self._file, node.data, part.first))
        first = part.first + len(node.data)
        parts = []
        for link in node.links:
            parts.append(_Part(link.cid, first, link.size, part.depth + 1))
            first += link.size
        self._line.extendleft(reversed(parts))
        return part.first + len(node.data)

    def _ask_ahead(self) -> None:
        for part, _ in zip(self._line, range(AT_ONCE), strict=False):
            if part.asked is None:
                part.asked = asyncio.ensure_future(self._get(part))

    async def _get(self, part: _Part) -> bytes | None:
        """Return a block; None where its bytes are in the file already, from an earlier try."""
        if part.cid.codec == RAW and part.size and part.first + part.size <= self._here:
            held = await asyncio.to_thread(os.pread, self._file, part.size, part.first)
            if part.cid.names(held):
                return None
        return await self._blocks(part.cid)

    async def _leave(self) -> None:
        tasks = [part.asked for part in self._line if part.asked is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Larger(Exception):
    """A file has more bytes than were asked for at most: so many, as far as it was read."""


async def write(blocks: Blocks, root: Cid, path: Path, most_bytes: int) -> None:
    """Write the file that `root` names to `path`; what lies there of an earlier try is read again, not brought again.

    Raises what `blocks` raises, Malformed, Larger, and OSError for trouble of the disk.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = await _Assembly(blocks, file).write(root, most_bytes)
        await to_its_end(partial(os.ftruncate, file, size))
    finally:
        os.close(file)
