"""An archive that the publisher's process has itself, put as the parts of one upload, each once."""

import asyncio
import base64
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from skrei_plugin_s3.upload_notes import Note

if TYPE_CHECKING:
    from skrei_plugin_s3.objects import Objects

PARTS_AT_ONCE = 2
"""Parts put side by side: each is held in memory."""
READ_BYTES = 1024 * 1024
"""Read at once where digests are computed."""


def digests(content: Path, part_bytes: int) -> tuple[str, ...]:
    """Return the digests (base64 of SHA-256) of a file's parts. Blocks."""
    found: list[str] = []
    with content.open("rb") as file:
        while True:
            hasher, left = hashlib.sha256(), part_bytes
            while left and (data := file.read(min(left, READ_BYTES))):
                hasher.update(data)
                left -= len(data)
            if left == part_bytes:
                return tuple(found)
            found.append(base64.b64encode(hasher.digest()).decode())


async def put_missing(objects: "Objects", note: Note, came: Collection[int], content: Path) -> None:
    """Put the parts that have not come. Raises PublishDenied, DestinationAway, UploadGone."""
    missing = iter([number for number in range(1, note.parts + 1) if number not in came])

    async def work() -> None:
        for number in missing:
            data = await asyncio.to_thread(_read, content, *note.span(number))
            await objects.put_part(note.target.key, note.upload, number, data, note.pieces[number - 1])

    waiting = [asyncio.create_task(work()) for _ in range(PARTS_AT_ONCE)]
    try:
        for task in waiting:
            await task
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _read(content: Path, first: int, size: int) -> bytes:
    with content.open("rb") as file:
        file.seek(first)
        return file.read(size)
