"""Single files below a key as the archive that they were: packed again as they come, in the order of nodes.

Each object says whose result it is a part of; what says so of another, or says nothing, is passed over: who names a key
may put results there, not read with the publisher's credentials what others keep there. Where nothing has changed the
archive is the same to the byte, and its digest tells whether that is so.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from skrei_plugin_api.archives import Packer, walk_order
from skrei_plugin_api.publisher import DestinationAway, NotReadable

if TYPE_CHECKING:
    from skrei_plugin_s3.objects import Objects

_THREAD_BYTES = 32 * 1024
"""Packed in a thread: what is smaller is done sooner than a thread is woken."""


async def packed(objects: "Objects", prefix: str, execution_id: str, *, path: str = "") -> AsyncIterator[bytes]:
    """Yield the tar.gz of what one execution left below a key, or of what of it lies at or below `path`.

    Raises NotReadable where there is nothing, PublishDenied, DestinationAway.
    """
    waiting: list[bytes] = []
    packer = Packer(waiting.append)
    found = 0
    names = [key.removeprefix(prefix) for key in await objects.below(prefix + path)]
    names = [name for name in names if not path or name.rstrip("/") == path or name.startswith(f"{path}/")]
    for folder in _folders(names):
        packer.folder(folder)
    for name in sorted((name for name in names if name and not name.endswith("/")), key=walk_order):
        async with objects.whole(prefix + name) as (stored, pieces):
            if stored is None or stored.execution != execution_id:
                continue
            found += 1
            packer.begin(name, stored.size)
            size = 0
            async for piece in pieces:
                size += len(piece)
                await (asyncio.to_thread(packer.more, piece) if len(piece) > _THREAD_BYTES else _at_once(packer, piece))
                while waiting:
                    yield waiting.pop(0)
            if size != stored.size:
                raise DestinationAway(f"{prefix}{name} broke off after {size} of {stored.size} bytes")
            packer.end(size)
    if not found and not path:
        raise NotReadable("its files are not there any more", execution_id=execution_id)
    packer.close()
    for piece in waiting:
        yield piece


async def _at_once(packer: Packer, piece: bytes) -> None:
    packer.more(piece)


def _folders(names: Iterable[str]) -> list[str]:
    """Return the folders of these files, and those that are marked, in the order of a walk; the result itself first."""
    found = set[tuple[str, ...]]()
    for name in names:
        parts = tuple(name.rstrip("/").split("/"))
        found.update(parts[:depth] for depth in range(1, len(parts) + name.endswith("/")))
    return [".", *("/".join(parts) for parts in sorted(found))]
