"""How much of a cluster's disk a pod may take, and for what. Pure, but for `measured`.

A cluster adds up what a pod's containers may take, counts their volumes too, and evicts a pod that takes more. So the
program's share is Resources.Disk, and a helper beside it has the share of inputs and streams.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from skrei_plugin_api.engine import RunRequest

RESOURCE = "ephemeral-storage"
"""What a cluster calls it."""
STREAM_ROOM_BYTES = 64 * 1024 * 1024
"""What the volume of the two streams holds besides them."""
INPUT_SHARE = 1.25
"""What inputs may take, of their bytes: the file system's own needs."""
FILE_BYTES = 8 * 1024
"""What a file or folder may take beside that: its last block, and its entry."""


def measured(source: Path) -> tuple[int, int]:
    """Return the bytes of an input, and how many files and folders it is; what goes meanwhile counts nothing."""
    size = count = 0
    source = source.resolve()  # what a link leads to is what is sent
    for path in (source, *(source.rglob("*") if source.is_dir() else ())):
        with contextlib.suppress(FileNotFoundError):
            size, count = size + path.lstat().st_size, count + 1
    return size, count


def taken(inputs: Iterable[tuple[int, int]]) -> int:
    """Return what inputs take that were measured so."""
    return sum(int(size * INPUT_SHARE) + count * FILE_BYTES for size, count in inputs)


def stream_room(request: RunRequest) -> int:
    """Return what the volume of the two streams, and of our runner, may hold."""
    return 2 * request.max_stream_bytes + STREAM_ROOM_BYTES


def output_room(request: RunRequest) -> int:
    """Return what result paths may hold: without Resources.Disk far more than is taken of them, not the whole disk."""
    return request.resources.disk_bytes or 2 * request.max_output_bytes + STREAM_ROOM_BYTES


def of_helper(request: RunRequest, sent_bytes: int) -> tuple[int, int]:
    """Return what a pod asks for beside its program's share, and may take: nothing where that has no bound."""
    if not request.resources.disk_bytes:
        return 0, 0
    asked = sent_bytes + STREAM_ROOM_BYTES
    return asked, asked + stream_room(request)
