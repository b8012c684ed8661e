"""What stays on this node, sent to somebody who fetches it, where the node's owner lets that be.

The API asks for it; it goes to the publisher's door, packed as it was when it was left.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import PurePosixPath

import aiohttp
from yarl import URL

from skrei_compute_agent.leaving import HIDDEN, MARK, opened_folder
from skrei_compute_agent.pace import FREE, Pace
from skrei_domain.errors import SkreiError
from skrei_domain.messages import LeftWanted, Problem
from skrei_domain.paths import Entry
from skrei_kit.observability import get_logger
from skrei_kit.proxies import through
from skrei_plugin_api.allow import Access, access
from skrei_plugin_api.archives import NoArchive, Packer, walk_order

log = get_logger()

AT_ONCE = 2
"""Results sent at once: more only share the same link, and what runs here needs the disk too."""
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""How long the door may take nothing: whoever reads there decides how fast."""
LONGEST_SECONDS = 6 * 3_600.0
"""Of one result: 64 GiB over a slow link."""
PIECE_BYTES = 256 * 1024
"""Read, and sent, at once."""
MOST_FILES = 1_000_000
"""Of one result: their names are held while it is sent."""
REFUSED = Problem(
    code="left-not-sent",
    message="its owner lets nothing of it leave that node (SKREI_SEND_LEFT=true there would)",
)
BUSY = Problem(code="left-busy", message="that node sends as many results as it does at once; try again later")


class LeftSender:
    """Answers requests for results that stay here. `allowed`: the owner's word."""

    def __init__(self, entries: Sequence[Entry], door: Callable[[], str], *, allowed: bool, pace: Pace = FREE) -> None:
        self._entries = entries
        self._door = door
        self._allowed = allowed
        self._pace = pace
        self._running: dict[str, asyncio.Task[None]] = {}

    def take(self, wanted: LeftWanted) -> None:
        """Send what is wanted, or say why not. Never waits."""
        if wanted.request_id in self._running:
            return
        problem = REFUSED if not self._allowed else BUSY if len(self._running) >= AT_ONCE else None
        task = asyncio.get_running_loop().create_task(self._answer(wanted, problem), name=f"send {wanted.execution_id}")
        self._running[wanted.request_id] = task
        task.add_done_callback(lambda done: self._done(wanted, done))

    async def close(self) -> None:
        """Give up what is under way: who fetches asks again."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, wanted: LeftWanted, task: "asyncio.Task[None]") -> None:
        self._running.pop(wanted.request_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("left_result_not_sent", execution_id=wanted.execution_id, problem=str(error))

    async def _answer(self, wanted: LeftWanted, problem: Problem | None) -> None:
        if not (door := self._door()):
            return
        url = URL(door) / "left" / wanted.execution_id / wanted.request_id
        headers = {"Authorization": f"Bearer {wanted.token}"}
        timeout = aiohttp.ClientTimeout(total=LONGEST_SECONDS, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            if problem is None:
                try:
                    packed = packing(wanted.place, wanted.left or wanted.execution_id, self._entries)
                    first = await asyncio.to_thread(next, packed, b"")
                except (SkreiError, NoArchive, OSError) as error:
                    problem = Problem(code="left-gone", message=f"it is not there any more: {error}")
                else:
                    body = _pieces(first, packed, self._pace)
                    async with session.put(url, headers=headers, data=body, proxy=through(door)) as response:
                        log.info("left_result_sent", execution_id=wanted.execution_id, status=response.status)
                    return
            async with session.post(url, headers=headers, json=problem.model_dump(), proxy=through(door)) as response:
                if response.status >= HTTPStatus.BAD_REQUEST:
                    log.debug("left_refusal_unheard", execution_id=wanted.execution_id, status=response.status)


async def _pieces(first: bytes, packed: Iterator[bytes], pace: Pace) -> AsyncIterator[bytes]:
    piece = first
    while piece:
        for at in range(0, len(piece), most := pace.slice(len(piece))):
            part = piece[at : at + most]
            await pace.wait(len(part))
            yield part
        piece = await asyncio.to_thread(next, packed, b"")


def packing(place: str, execution_id: str, entries: Sequence[Entry]) -> Iterator[bytes]:
    """Yield the tar.gz of what an execution left for a place, as it was packed there. Blocks.

    Raises NoArchive for what is not this execution's, or not allowed any more, OSError.
    """
    if access(os.path.realpath(place), entries) is Access.NONE:
        raise NoArchive(f"this node hands out nothing of {place} any more")
    with _found(place, execution_id) as folder:
        folders, files = _survey(folder)
        waiting: list[bytes] = []
        packer = Packer(waiting.append)
        packer.folder(".")
        for name in folders:
            packer.folder(name)
        for name, size in files:
            packer.begin(name, size)
            left = size
            for piece in _read(folder, name, size):
                left -= len(piece)
                packer.more(piece)
                if waiting:
                    yield b"".join(waiting)
                    waiting.clear()
            if left:
                raise NoArchive(f"{name!r} is shorter than it was")
            packer.end(size)
        packer.close()
        yield b"".join(waiting)


@contextlib.contextmanager
def _found(place: str, execution_id: str) -> Iterator[int]:
    """Open it where it lies: as yet unseen, at its place, or beside it where something else came to lie there first.

    The name that it has first is looked at first: it may be shown in this moment, and an open folder stays what it is.
    Raises NoArchive, OSError.
    """
    hidden = str(PurePosixPath(place).with_name(HIDDEN + execution_id))
    with contextlib.ExitStack() as stack:
        for path in (hidden, place, f"{place}.{execution_id}"):
            with contextlib.suppress(OSError):  # not around what is done with it, whose trouble is the caller's
                folder = stack.enter_context(opened_folder(path))
                if _whose(folder) == execution_id:
                    break
        else:
            with opened_folder(place):
                raise NoArchive(f"what lies at {place} is another one's")
        yield folder


def _whose(folder: int) -> str:
    """Return which execution left a folder. Raises OSError where no mark says so."""
    mark = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(mark, 256).decode("utf-8", "replace").strip()
    finally:
        os.close(mark)


def _survey(folder: int) -> tuple[list[str], list[tuple[str, int]]]:
    """Return folders, and files with their sizes, in the order of a packed result."""
    folders: list[str] = []
    files: list[tuple[str, int]] = []
    for at, inside, names, handle in os.fwalk(".", dir_fd=folder):
        below = "" if at == "." else f"{at.removeprefix('./')}/"
        folders += [f"{below}{each}" for each in inside if not _is_link(each, handle)]
        for name in names:
            if below or name != MARK:
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    files.append((f"{below}{name}", found.st_size))
        if len(files) > MOST_FILES:
            raise NoArchive(f"it has more than {MOST_FILES:,} files")
    return sorted(folders, key=lambda each: each.split("/")), sorted(files, key=lambda each: walk_order(each[0]))


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _read(folder: int, name: str, size: int) -> Iterator[bytes]:
    path = PurePosixPath(name)
    with opened_folder(str(path.parent), folder) as inside:
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
    try:
        left = size
        while left and (piece := os.read(file, min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece
    finally:
        os.close(file)
