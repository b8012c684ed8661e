"""What the suites share: how long a step may take, and how a packed result is read."""

import asyncio
import gzip
import io
import tarfile
from collections.abc import Callable

LONGEST_SECONDS = 20.0
"""No step of a suite takes this long on any machine that works."""


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until `holds()`, looking again and again. Raises TimeoutError."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while not holds():  # noqa: ASYNC110 - files tell nobody that they have changed
            await asyncio.sleep(0.002)


def unpacked(packed: bytes) -> dict[str, bytes | None]:
    """Return what a packed result holds by name, in its order; None for a folder."""
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        for member in tar:
            file = tar.extractfile(member)
            found[member.name] = None if file is None else file.read()
    return found
