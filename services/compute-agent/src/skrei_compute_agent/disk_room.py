"""How much of the disk inputs may take: what does not fit is not brought, and what turns out not to is cut off.

What is on its way has its room from before its first byte: two inputs of which the disk holds one do not both begin.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from skrei_compute_agent.cached_files import PART, CachedFiles
from skrei_plugin_api.storage import StageFailed, StageProblem

T = TypeVar("T")

FREE_BYTES = 256 * 1024**2
"""What stays free of the disk, for journal and logs."""
UNWATCHED_BYTES = 1024**2
"""Up to here a file is brought without a look at the disk meanwhile: a look costs as much as bringing a small one."""
LOOK_SECONDS = 0.1
"""Between two looks while a file is brought: a fast line brings a hundred megabytes by then, less than stays free."""

SLACK_BYTES = 1024**2
"""What the files of one input may take beyond its size: whole blocks, and notes beside it."""

_BLOCK = 512
"""Bytes of one of `st_blocks`."""
_HINT = (
    "make room on the node, ask for one that has more (`Resources.Disk`, `--disk`), or read it in parts "
    "(`Partition`, or a path of it at a time)"
)


class NoRoom(StageFailed):
    """The disk has no room for an input now: it may have later, and other nodes may have it at once."""

    retryable = True


class BeyondDisk(NoRoom):
    """The disk will not have the room either once all other inputs are gone: only another node may."""


class DiskRoom:
    """The disk that a cache lies on; inputs that nobody uses make way."""

    def __init__(self, folder: Path, files: CachedFiles, half: Callable[[str], bool] = lambda _name: False) -> None:
        """Look after a disk. `half`: whether a file lies half brought there, as an earlier try left it."""
        self._folder = folder
        self._files = files
        self._half = half
        self._coming: dict[str, int] = {}  # names of files that have room and are not here yet, and their sizes
        self._wanted: dict[str, int] = {}  # how many want each of them
        self._promised = 0
        self._at: dict[str, Path] = {}  # where those lie that are brought, as far as they have come

    @property
    def free(self) -> int:
        """How many bytes inputs may take now; negative where they have taken too much."""
        return shutil.disk_usage(self._folder).free - FREE_BYTES

    @contextmanager
    def promised(self, missing: Mapping[str, int]) -> Iterator[None]:
        """Make room for files by name, and keep it for them until each has come (`came`) or the block is left.

        Raises NoRoom where that cannot be, before any of them is brought.
        """
        if fresh := {name: size for name, size in missing.items() if name not in self._coming}:
            self._check(self._left_of(fresh))
            self._at |= self._halves(fresh)
        for name, size in missing.items():
            self._wanted[name] = self._wanted.get(name, 0) + 1
            if name not in self._coming:
                self._coming[name] = size
                self._promised += size
        try:
            yield
        finally:
            for name in missing:
                self._wanted[name] -= 1
                if not self._wanted[name]:
                    del self._wanted[name]
                    self.came(name)

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """Whether there may be room for files by name, as `promised` would make it; nothing is dropped for the look."""
        missing = {name: size for name, size in sizes.items() if not (self._files.has(name) or name in self._coming)}
        kept = sum(size for name, size in sizes.items() if self._files.is_idle(name))
        idle = self._files.idle_bytes - kept + self._files.spared()
        return self._left_of(missing) <= self.free - self._outstanding() + idle

    def check_together(self, sizes: Mapping[str, int]) -> None:
        """Raise BeyondDisk where the disk will never hold files by name at once, each of which may have its room."""
        if self._left_of(sizes) > self._most:
            raise BeyondDisk(
                StageProblem.BEYOND_DISK,
                f"the inputs have {sum(sizes.values()):,} bytes together, more than the disk of this node has room for",
                hint=_HINT,
            )

    def came(self, name: str) -> None:
        """A file is here now: what it takes is no longer free anyway."""
        self._promised -= self._coming.pop(name, 0)
        self._at.pop(name, None)

    def _check(self, missing: int) -> None:
        taken = self._outstanding()
        free = self.free - taken
        if missing <= free or missing <= free + self._files.shrink(missing - free):
            return
        room = max(0, self.free - taken)
        never = missing > self._most
        kind, problem = (BeyondDisk, StageProblem.BEYOND_DISK) if never else (NoRoom, StageProblem.TOO_LARGE)
        others = f" beside {taken:,} bytes that are on their way" if taken else ""
        raise kind(
            problem,
            f"{missing:,} bytes of the input are not on this node, whose disk has room for {room:,}{others}",
            hint=_HINT,
        )

    @property
    def _most(self) -> int:
        """How many bytes of inputs the disk could hold once there are no others."""
        return max(0, self.free) + self._arrived() + self._files.size_bytes

    def _halves(self, names: Iterable[str]) -> dict[str, Path]:
        return {name: self._files.path(name + PART) for name in names if self._half(name)}

    def _left_of(self, sizes: Mapping[str, int]) -> int:
        """Return how many bytes of files are to come, beside those of earlier tries that broke off."""
        here = sum(min(_taken(path), sizes[name]) for name, path in self._halves(sizes).items())
        return sum(sizes.values()) - here

    def _outstanding(self) -> int:
        """Return how many of the promised bytes are still to come."""
        return max(0, self._promised - self._arrived())

    def _arrived(self) -> int:
        """Return what the disk has already taken of files that are half here."""
        return sum(min(_taken(path), self._coming[name]) for name, path in self._at.items() if name in self._coming)

    async def within(self, work: Awaitable[T], size: int | None, at: Path) -> T:
        """Return what bringing a file into the folder `at` comes to, of `size` bytes if that is known; cut off where
        the disk runs full.

        Raises BeyondDisk then where it is larger than it said, or nobody said how large it is; NoRoom where others
        have filled the disk; and what `work` raises.
        """
        if size is not None and size <= UNWATCHED_BYTES:
            return await work
        running = asyncio.ensure_future(work)
        name = at.name.removesuffix(PART)
        self._at[name] = at
        try:
            while not (await asyncio.wait([running], timeout=LOOK_SECONDS))[0]:
                if (free := self.free) < 0 and self._files.shrink(-free) < -free:
                    raise _cut_off(size, _taken(at))
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            if name not in self._coming:  # else it still counts as half here until it is whole, or given up
                del self._at[name]
        return running.result()


def _cut_off(size: int | None, came: int) -> NoRoom:
    if size is None:
        told = "the disk of this node runs full with the input, of which nobody says how large it is"
        return BeyondDisk(StageProblem.BEYOND_DISK, told, hint=_HINT)
    told = f"the disk of this node runs full with the {size:,} bytes of the input"
    if came > size + SLACK_BYTES:
        return BeyondDisk(StageProblem.BEYOND_DISK, f"{told}, of which {came:,} have come already", hint=_HINT)
    return NoRoom(StageProblem.TOO_LARGE, f"{told}: something else has taken the room meanwhile", hint=_HINT)


def _taken(folder: Path) -> int:
    """Return how much of the disk the files of a folder take: one that comes in parts has its whole length at once."""
    found = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
    except OSError:  # it is moved away, or taken over, meanwhile
        pass
    return found
