"""What a block says of a file or directory: UnixFS in DAG-PB (github.com/ipfs/specs: UNIXFS.md). Pure.

Read strictly: a block's hash says only that it is the one that was named, not that whoever named it meant well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from skrei_plugin_ipfs.cid import RAW, Cid, InvalidCid, from_bytes

MOST_LINKS = 100_000
"""Of one block: one of 4 MiB has no room for more."""
SHARD_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Of a node of a large directory, which is spread over many."""


class Malformed(ValueError):
    """A block is no part of a file or directory; the message says why."""


class Kind(Enum):
    """What a node is."""

    FILE = "a file"
    DIRECTORY = "a directory"
    SHARD = "a part of a large directory"
    LINK = "a symbolic link"


@dataclass(frozen=True, slots=True)
class Link:
    """A node that another one holds: `size` is what the part of the file has, or the whole entry, as it is said."""

    name: str
    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class Node:
    """One block, read. Of a file, `data` comes before what `links` hold, and `size` is all of it."""

    kind: Kind
    data: bytes = b""
    links: tuple[Link, ...] = ()
    size: int = 0
    prefix: int = 0
    """Of a shard: how many letters of a link's name are its place in the shard."""


def read(cid: Cid, block: bytes) -> Node:
    """Return what a block says whose name has been checked. Raises Malformed."""
    if cid.codec == RAW:
        return Node(Kind.FILE, block, size=len(block))
    links: list[Link] = []
    told: bytes | None = None
    for number, value in _fields(block):
        if number == 2 and isinstance(value, bytes):
            links.append(_link(value))
        elif number == 1 and isinstance(value, bytes):
            told = value
    if len(links) > MOST_LINKS:
        raise Malformed(f"it has {len(links):,} links; {MOST_LINKS:,} are read")
    if told is None:
        raise Malformed("it is no file and no directory")
    return _node(told, links)


def _node(told: bytes, links: list[Link]) -> Node:
    kind, data, size, width = -1, b"", None, 0
    sizes: list[int] = []
    for number, value in _fields(told):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            data = value
        elif number == 3 and isinstance(value, int):
            size = value
        elif number == 4:
            sizes += [value] if isinstance(value, int) else _packed(value)
        elif number == 6 and isinstance(value, int):
            width = value
    match kind:
        case 0 | 2:
            return _file(data, links, sizes, size)
        case 1:
            return Node(Kind.DIRECTORY, links=tuple(links))
        case 4:
            return Node(Kind.LINK, data)
        case 5:
            if width not in SHARD_WIDTHS:
                raise Malformed(f"a part of a directory has {width:,} places")
            return Node(Kind.SHARD, links=tuple(links), prefix=len(f"{width - 1:X}"))
    raise Malformed(f"it is of a kind that nobody knows ({kind})")


def _file(data: bytes, links: list[Link], sizes: list[int], size: int | None) -> Node:
    if len(sizes) != len(links):
        raise Malformed("it does not say how large its parts are")
    if links and not all(sizes):
        raise Malformed("it has a part without a byte")
    whole = len(data) + sum(sizes)
    if size is not None and size != whole:
        raise Malformed(f"it says {size:,} bytes, its parts {whole:,}")
    parts = tuple(Link(link.name, link.cid, part) for link, part in zip(links, sizes, strict=True))
    return Node(Kind.FILE, data, parts, whole)


def _link(raw: bytes) -> Link:
    cid: Cid | None = None
    name, size = "", 0
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            try:
                cid = from_bytes(value)
            except InvalidCid as error:
                raise Malformed(f"it links to what cannot be read: {error}") from error
        elif number == 2 and isinstance(value, bytes):
            try:
                name = value.decode()
            except UnicodeDecodeError as error:
                raise Malformed("it has a name that is no text") from error
        elif number == 3 and isinstance(value, int):
            size = value
    if cid is None:
        raise Malformed("it has a link to nothing")
    return Link(name, cid, size)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protocol buffer (protobuf.dev, encoding): numbers and bytes; others are passed over."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        match key & 7:
            case 0:
                value, at = _varint(raw, at)
                yield key >> 3, value
            case 2:
                size, at = _varint(raw, at)
                if size > len(raw) - at:
                    raise Malformed("it ends in the middle")
                yield key >> 3, raw[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case _:
                raise Malformed("it is no protocol buffer")
    if at > len(raw):
        raise Malformed("it ends in the middle")


def _packed(raw: bytes) -> list[int]:
    found, at = [], 0
    while at < len(raw):
        number, at = _varint(raw, at)
        found.append(number)
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = 0
    for index in range(10):
        if at + index >= len(raw):
            raise Malformed("it ends in the middle")
        byte = raw[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if number >= 1 << 64:
                break
            return number, at + index + 1
    raise Malformed("it has a number beyond 64 bits")
