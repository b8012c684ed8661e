"""What lies below a name: the files of a directory, however many blocks it is spread over."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from skrei_plugin_api.aside import together
from skrei_plugin_ipfs.cid import RAW, Cid
from skrei_plugin_ipfs.unixfs import Kind, Link, Malformed, Node, read

T = TypeVar("T")

AT_ONCE = 16
"""Blocks that are asked for at a time: a daemon answers from its disk, and others in the network answer it late."""
DEEPEST = 64
"""Directories within directories, and nodes within a file: deeper ones run into the limits of paths."""
MOST_NODES = 200_000
"""Blocks that are read to list one input."""

Blocks: TypeAlias = Callable[[Cid], Awaitable[bytes]]
"""Returns the block of a name, checked against it."""


class NotThere(LookupError):
    """A directory has no such entry; the message says which."""


class TooMany(Exception):
    """There are more files than were asked for at most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file at a path below what was named, empty if it is that itself; `size` is in bytes."""

    path: str
    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """What lies below a name, in the order of paths: files, and directories that have nothing in them."""

    files: list[Entry]
    folders: list[str]


class _Walk:
    def __init__(self, blocks: Blocks, most_files: int) -> None:
        self._blocks = blocks
        self._most_files = most_files
        self._nodes = 0
        self.files: list[Entry] = []
        self.folders: list[str] = []

    async def node(self, cid: Cid) -> Node:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise Malformed(f"more than {MOST_NODES:,} blocks say what is in it")
        return read(cid, await self._blocks(cid))

    async def below(self, path: str, cid: Cid, node: Node, depth: int = 0) -> None:
        """Note the files below a node."""
        if depth > DEEPEST:
            raise Malformed(f"it is more than {DEEPEST} directories deep")
        match node.kind:
            case Kind.FILE:
                self._note(Entry(path, cid, node.size))
            case Kind.LINK:
                raise Malformed(f"{path or 'it'} is a symbolic link, which no input may have")
            case Kind.DIRECTORY | Kind.SHARD:
                entries = await self.entries(node)
                if not entries and path:
                    self.folders.append(path)
                await self._each(path, entries, depth)

    async def _each(self, path: str, entries: Sequence[Link], depth: int) -> None:
        rest = []
        for entry in entries:
            if not entry.name or "/" in entry.name:
                raise Malformed(f"{entry.name[:200]!r} is no name of an entry of a directory")
            name = f"{path}/{entry.name}" if path else entry.name
            if entry.cid.codec == RAW:  # the name says that it is a file, and the link how large
                self._note(Entry(name, entry.cid, entry.size))
            else:
                rest.append((name, entry.cid))
        for some in _batches(rest):
            nodes = await together(self.node(cid) for _, cid in some)
            for (name, cid), node in zip(some, nodes, strict=True):
                await self.below(name, cid, node, depth + 1)

    async def entries(self, node: Node, depth: int = 0) -> list[Link]:
        """Return what a directory has, one by one also where it is spread over many nodes."""
        if node.kind is Kind.DIRECTORY:
            return list(node.links)
        if depth > DEEPEST:
            raise Malformed(f"a large directory is more than {DEEPEST} nodes deep")
        found: list[Link] = []
        shards: list[Cid] = []
        for link in node.links:
            if len(link.name) > node.prefix:
                found.append(Link(link.name[node.prefix :], link.cid, link.size))
            else:
                shards.append(link.cid)
        for some in _batches(shards):
            for shard in await together(self.node(cid) for cid in some):
                if shard.kind is not Kind.SHARD:
                    raise Malformed(f"{shard.kind.value} is where a part of a large directory should be")
                found += await self.entries(shard, depth + 1)
            self._check(len(self.files) + len(found))
        return found

    def _note(self, entry: Entry) -> None:
        self.files.append(entry)
        self._check(len(self.files))

    def _check(self, files: int) -> None:
        if files > self._most_files:
            raise TooMany


async def files(blocks: Blocks, root: Cid, path: Sequence[str], most_files: int) -> list[Entry]:
    """Return the files below `path` of what `root` names, in the order of their paths.

    Raises what `blocks` raises, Malformed, NotThere for a path that leads nowhere, and TooMany.
    """
    walk = _Walk(blocks, most_files)
    cid, node = root, await walk.node(root)
    for name in path:
        if node.kind not in (Kind.DIRECTORY, Kind.SHARD):
            raise NotThere(f"{name!r} is looked for in {node.kind.value}")
        found = [link.cid for link in await walk.entries(node) if link.name == name]
        if not found:
            raise NotThere(f"it has no {name!r}")
        cid = found[0]
        node = await walk.node(cid)
    await walk.below("", cid, node)
    return sorted(walk.files, key=lambda entry: entry.path)


async def tree(blocks: Blocks, root: Cid, most_files: int) -> Tree:
    """Return all that `root` names. Raises what `blocks` raises, Malformed, and TooMany."""
    walk = _Walk(blocks, most_files)
    await walk.below("", root, await walk.node(root))
    return Tree(sorted(walk.files, key=lambda entry: entry.path), sorted(walk.folders))


def _batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[first : first + AT_ONCE] for first in range(0, len(items), AT_ONCE))
