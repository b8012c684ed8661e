"""The files of a result put below a key, several side by side; the archive is read in one thread at a time."""

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from skrei_plugin_s3.plain import File, files
from skrei_plugin_s3.targets import PART_BYTES, Target, part_bytes

if TYPE_CHECKING:
    from skrei_plugin_s3.objects import Objects

FILES_AT_ONCE = 8
"""Single files put side by side: their requests wait for answers, not for the link."""


async def put_all(objects: "Objects", target: Target, archive: Path, execution_id: str) -> None:
    """Put the files of an archive, each with whose it is, and a mark for each folder without any.

    Raises PublishDenied, DestinationAway.
    """
    folders: set[str] = set()
    found = files(archive, folders)
    meta = {"execution": execution_id}
    waiting: set[asyncio.Task[None]] = set()
    try:
        while (file := await asyncio.to_thread(next, found, None)) is not None:
            key = target.key + file.name
            if file.size > PART_BYTES:
                await _put_large(objects, key, file, meta)  # its bytes are read from the archive, so nothing else is
                continue
            data = await asyncio.to_thread(file.content.read)
            waiting.add(asyncio.create_task(_put(objects, key, data, meta)))
            if len(waiting) >= FILES_AT_ONCE:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        for folder in sorted(folders):
            await _put(objects, f"{target.key}{folder}/", b"", meta)
        await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _put(objects: "Objects", key: str, data: bytes, meta: Mapping[str, str]) -> None:
    await objects.put(key, data, _checksum(data), meta)


async def _put_large(objects: "Objects", key: str, file: File, meta: Mapping[str, str]) -> None:
    """Put a file in parts, one after another; what fails leaves nothing behind."""
    upload = await objects.begin(key, meta)
    try:
        size, number = part_bytes(file.size), 0
        while data := await asyncio.to_thread(file.content.read, size):
            number += 1
            await objects.put_part(key, upload, number, data, _checksum(data))
        await objects.complete(key, upload, await objects.parts(key, upload))
    except BaseException:
        await asyncio.shield(objects.abort(key, upload))
        raise


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
