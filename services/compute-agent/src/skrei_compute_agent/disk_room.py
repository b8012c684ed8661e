"""How much of the disk inputs may take: what does not fit is not brought, and what turns out not to is cut off."""

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from skrei_compute_agent.cached_files import CachedFiles
from skrei_plugin_api.storage import StageFailed, StageProblem

T = TypeVar("T")

FREE_BYTES = 256 * 1024**2
"""What stays free of the disk, for journal and logs."""
UNWATCHED_BYTES = 1024**2
"""Up to here a file is brought without a look at the disk meanwhile: a look costs as much as bringing a small one."""
LOOK_SECONDS = 0.1
"""Between two looks while a file is brought: a fast line brings a hundred megabytes by then, less than stays free."""

_HINT = "make room on the node, part the input (`Count`, `Partition`), or ask for `Resources.Disk`"


class NoRoom(StageFailed):
    """The disk has no room for an input now: it may have later, and other nodes may have it at once."""

    retryable = True


class BeyondDisk(NoRoom):
    """The disk will not have the room either once all other inputs are gone: only another node may."""


class DiskRoom:
    """The disk that a cache lies on; inputs that nobody uses make way."""

    def __init__(self, folder: Path, files: CachedFiles) -> None:
        self._folder = folder
        self._files = files

    @property
    def free(self) -> int:
        """How many bytes inputs may take now; negative where they have taken too much."""
        return shutil.disk_usage(self._folder).free - FREE_BYTES

    def check(self, missing: int) -> None:
        """Make room for so many bytes. Raises NoRoom where that cannot be, before any of them is brought."""
        free = self.free
        if missing <= free or missing <= free + self._files.shrink(missing - free):
            return
        room = max(0, self.free)
        never = missing > room + self._files.size_bytes
        kind, problem = (BeyondDisk, StageProblem.BEYOND_DISK) if never else (NoRoom, StageProblem.TOO_LARGE)
        raise kind(
            problem,
            f"{missing:,} bytes of the input are not on this node, whose disk has room for {room:,}",
            hint=_HINT,
        )

    async def within(self, work: Awaitable[T], size: int | None) -> T:
        """Return what bringing a file comes to, of `size` bytes if that is known; cut off where the disk runs full.

        Raises BeyondDisk then, and what `work` raises.
        """
        if size is not None and size <= UNWATCHED_BYTES:
            return await work
        running = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([running], timeout=LOOK_SECONDS))[0]:
                if (free := self.free) < 0 and self._files.shrink(-free) < -free:
                    raise BeyondDisk(
                        StageProblem.BEYOND_DISK,
                        "the disk of this node runs full with the input, of which nobody says how large it is"
                        if size is None
                        else f"the disk of this node runs full with the {size:,} bytes of the input",
                        hint=_HINT,
                    )
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
        return running.result()
