"""What running executions write to this node's disk, and which have written more than they may.

Counting a folder costs a look at each of its files, so it is done only where it may matter: when the whole file system
has lost as much room as an execution had left, and now and then, since others may have made room meanwhile. In between
a look is one question to the file system, whatever runs.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skrei_kit.observability import get_logger
from skrei_plugin_api.engine import MAX_OUTPUT_BYTES, EngineFailure, FailureCode
from skrei_plugin_api.packing import RESULT_FILE
from skrei_plugin_api.streams import NAMES

log = get_logger()

LOOK_SECONDS = 0.25
"""Between two looks at the room: what a fast disk takes in that time is what an execution may write too much."""
COUNT_SECONDS = 10.0
"""The longest between two counts of one execution: as much as others remove may hide what it writes for so long."""
COUNT_SHARE = 20
"""A count that took long is not repeated before so many times its own time: a twentieth of a core at most."""
ENTRY_BYTES = 512
"""What a file or folder counts for that holds nothing: it takes a place in the file system's tables."""
OUTPUTS = "outputs"
"""Where the outputs lie in an execution's folder: see `skrei_plugin_api.engine`."""
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class DiskLimit:
    """How many bytes an execution may have on the disk; `asked` where its job said so (Resources.Disk)."""

    bytes: int
    asked: bool

    @classmethod
    def of(cls, disk_bytes: int) -> "DiskLimit":
        """Return the limit of a task: what it asked for, else what a result may hold."""
        return cls(disk_bytes, asked=True) if disk_bytes else cls(MAX_OUTPUT_BYTES, asked=False)

    def held(self, folder: Path) -> int:
        """Return what counts of an execution's folder: a stream counts where its job said how much disk it wants."""
        return held_bytes(folder, self.bytes, streams=self.asked)

    def exceeded(self, found: int) -> EngineFailure:
        """Return the failure of an execution that has written so much."""
        if self.asked:
            return EngineFailure(
                FailureCode.DISK_LIMIT_EXCEEDED,
                f"disk limit exceeded: it wrote {found} bytes, and its limit is {self.bytes} (Resources.Disk); ask for "
                "more (`--disk`), or write less",
            )
        return EngineFailure(
            FailureCode.OUTPUT_TOO_LARGE,
            f"it wrote {found} bytes into its result paths and was ended: at most {self.bytes} are kept; "
            "write less into them",
        )


@dataclass(slots=True)
class _Watched:
    folder: Path
    limit: DiskLimit
    cut: "asyncio.Future[EngineFailure]"
    left: int
    free: int
    counted: float
    not_before: float = 0.0

    def due(self, free: int, now: float) -> bool:
        """Whether it may have written more than it may since it was counted."""
        return now >= self.not_before and (self.free - free >= self.left or now - self.counted >= COUNT_SECONDS)


class DiskWatch:
    """Watches the folders of running executions while there are any; `close` at the end."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._watched: dict[str, _Watched] = {}
        self._task: asyncio.Task[None] | None = None

    def watch(self, execution_id: str, folder: Path, limit: DiskLimit) -> "asyncio.Future[EngineFailure]":
        """Return what is set, with the reason, once an execution has written more than it may. Until `forget`."""
        loop = asyncio.get_running_loop()
        cut: asyncio.Future[EngineFailure] = loop.create_future()
        self._watched[execution_id] = _Watched(folder, limit, cut, limit.bytes, _free(folder), self._now())
        if self._task is None:
            self._task = loop.create_task(self._run(), name="disk-watch")
        return cut

    def forget(self, execution_id: str) -> None:
        """An execution has ended, or will not be watched; doing it twice is fine."""
        self._watched.pop(execution_id, None)

    async def close(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while self._watched:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # whatever it is, a machine out of threads, say: it is told, and looked at again
                log.exception("disk_not_looked_at")
        self._task = None

    async def look(self) -> None:
        """Count those that may have written too much, and cut off who has."""
        if not self._watched:
            return
        free = _free(next(iter(self._watched.values())).folder)
        for execution_id, each in list(self._watched.items()):
            if each.cut.done() or not each.due(free, self._now()):
                continue
            began = self._now()
            found = await asyncio.to_thread(each.limit.held, each.folder)
            each.free, each.left, each.counted = free, each.limit.bytes - found, self._now()
            each.not_before = each.counted + COUNT_SHARE * (each.counted - began)
            if found > each.limit.bytes and self._watched.get(execution_id) is each and not each.cut.done():
                log.info("disk_limit_exceeded", execution_id=execution_id, found=found, limit=each.limit.bytes)
                each.cut.set_result(each.limit.exceeded(found))


def held_bytes(folder: Path, most: int, *, streams: bool = True) -> int:
    """Return what an execution has written to its folder; counting ends once that is above `most`.

    What takes the room counts, not what a file says of its length: a sparse one holds little. The packed result is the
    node's, and a file that also lies elsewhere outside of the outputs is an input. `streams`: stdout and stderr count,
    which have a limit of their own.
    """
    total = 0
    outputs = os.fspath(folder / OUTPUTS)
    left_out = {os.fspath(folder / name) for name in (RESULT_FILE, *(() if streams else NAMES.values()))}
    folders = [os.fspath(folder)]
    while folders and total <= most:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:  # removed while we looked
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.path in left_out or (found.st_nlink > 1 and not entry.path.startswith(outputs)):
                        continue
                    total += max(found.st_blocks * _BLOCK, ENTRY_BYTES)
                    if total > most:
                        break
        except OSError:  # the same of the folder, or it may not be read: the next count sees what is left
            continue
    return total


def _free(folder: Path) -> int:
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize
