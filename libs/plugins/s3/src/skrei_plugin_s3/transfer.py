"""The bytes of one object: in ranges side by side, straight to their place in the file, gone on with where they broke
off. What came is noted beside the file, so that another try, also by a later process, asks for the rest alone.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import aiohttp

from skrei_plugin_api.aside import to_its_end, together
from skrei_plugin_api.pieces import DATA
from skrei_plugin_api.pouring import pour
from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_s3.again import again
from skrei_plugin_s3.failures import Asked, Cut, changed
from skrei_plugin_s3.identity import Sight
from skrei_plugin_s3.wire import Wire, check

PART_BYTES = 8 * 1024 * 1024
"""Asked for at once: short enough for several at a time, long enough for a line to come up to speed."""
LONGEST_PART_BYTES = 32 * 1024 * 1024
"""The same of an object of which there are enough for all that may be under way: a request, and the pause after it, for
each eight mebibytes took a fifth of what a fast line brings."""
PARTS_AT_ONCE = 8
"""Of one object: one connection alone seldom fills a line."""
NOTE_BYTES = 8 * 1024 * 1024
"""After so many more of a part they are noted: what a process that dies asks for again at most, of each part."""
SMALL_BYTES = 64 * 1024
"""Up to here an object is written at once: handing it to a thread would cost more."""

NOTE = "came"
"""Beside what came of an object: how much of each part, and in which run of the machine."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Signs(Protocol):
    """What makes requests that a server answers."""

    wire: Wire

    async def signed(
        self, bucket: str, key: str, version: str, headers: Mapping[str, str]
    ) -> tuple[str, Mapping[str, str]]:
        """Return address and headers of a request for the bytes of an object."""


@dataclass(slots=True)
class Came:
    """How many bytes of each part of a file are here."""

    size: int
    parts: dict[int, int] = field(default_factory=dict)

    @property
    def part_bytes(self) -> int:
        """How long each part is but the last."""
        return min(max(PART_BYTES, -(-self.size // PARTS_AT_ONCE)), LONGEST_PART_BYTES)

    def of(self, part: int) -> int:
        """Return how much of a part came."""
        return self.parts.get(part, 0)

    def length(self, part: int) -> int:
        """Return how long a part is."""
        return min(self.part_bytes, self.size - part * self.part_bytes)

    def missing(self) -> Iterator[int]:
        """Yield the parts that are not whole, in order."""
        return (part for part in range(-(-self.size // self.part_bytes)) if self.of(part) < self.length(part))


class Transfer:
    """Brings one object as `DATA` into a folder; its methods raise as `PieceStorage.bring` does."""

    def __init__(self, client: Signs, asked: Asked, sight: Sight, size: int, folder: Path) -> None:
        self._client = client
        self._asked = asked
        self._sight = sight
        self._came = Came(size)
        self._data, self._note = folder / DATA, folder / NOTE

    async def run(self) -> None:
        """Bring all that is missing."""
        if self._came.size <= SMALL_BYTES:
            await again(self._whole, self._asked.what)
            return
        self._came.parts = await asyncio.to_thread(_read_note, self._note, self._data, self._came)
        file = _open(self._data, self._came.size)  # at once: nothing may come between this and its end
        missing = list(self._came.missing())
        waiting = iter(missing)
        try:
            await together(self._work(waiting, file) for _ in missing[:PARTS_AT_ONCE])
        finally:
            await to_its_end(partial(_end, file, self._note, self._came.parts))

    async def _work(self, waiting: Iterator[int], file: int) -> None:
        for part in waiting:
            await again(partial(self._part, part, file), self._asked.what, partial(self._came.of, part))

    async def _part(self, part: int, file: int) -> None:
        """Bring the rest of a part; what came of it before it was cut counts."""
        length, have = self._came.length(part), self._came.of(part)
        if have == length:
            return
        first = part * self._came.part_bytes + have
        whole = length == self._came.size and not have
        async with self._open({} if whole else {"Range": f"bytes={first}-{first + length - have - 1}"}) as response:
            self._check_range(response, 0 if whole else first)
            came = have + await pour(response, file, first, length - have, partial(self._wrote, part))
        if came != length:
            raise Cut(f"{came:,} of {length:,} bytes came")

    def _wrote(self, part: int, more: int) -> None:
        """Count what came, and note it now and then: of what is on its way nothing is noted if this process dies."""
        before = self._came.of(part)
        self._came.parts[part] = came = before + more
        if came // NOTE_BYTES > before // NOTE_BYTES or came == self._came.length(part):
            _add_note(self._note, {part: came})

    async def _whole(self) -> None:
        """Bring a small object in one piece."""
        data = bytearray()
        async with self._open({}) as response:
            async for some in response.content.iter_any():
                data += some
                if len(data) > self._came.size:
                    raise Cut("more came than was listed")
        if len(data) != self._came.size:
            raise Cut(f"{len(data):,} of {self._came.size:,} bytes came")
        self._data.write_bytes(data)

    @asynccontextmanager
    async def _open(self, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for the very bytes that were listed, and make sure that it is they that come."""
        sight = self._sight
        if sight.etag:
            headers["If-Match"] = f'"{sight.etag}"'
        elif sight.modified:
            headers["If-Unmodified-Since"] = formatdate(sight.modified, usegmt=True)
        url, signed = await self._client.signed(sight.bucket, sight.key, sight.version, headers)
        async with self._client.wire.request("GET", url, signed) as response:
            await check(response, self._asked)
            told = response.headers.get("ETag", "").strip('"')
            if sight.etag and told and told != sight.etag:  # a server that knows no If-Match
                raise changed(self._asked)
            yield response

    def _check_range(self, response: aiohttp.ClientResponse, first: int) -> None:
        """Raise StageFailed for a server that sends something else than was asked for."""
        if first == 0 and response.status == HTTPStatus.OK and self._came.size <= self._came.part_bytes:
            return
        begins = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if response.status != HTTPStatus.PARTIAL_CONTENT or begins != str(first):
            raise StageFailed(
                StageProblem.INVALID, f"{self._asked.where} sends other parts of {self._asked.what} than were asked for"
            )


def _open(path: Path, size: int) -> int:
    """Open a file of a size, with what it has so far."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.truncate(file, size)
    return file


def _end(file: int, note: Path, parts: Mapping[int, int]) -> None:
    os.close(file)
    _add_note(note, parts)


def _add_note(path: Path, parts: Mapping[int, int]) -> None:
    with path.open("a") as file:
        file.writelines(f"{part} {came}\n" for part, came in parts.items())


def _read_note(path: Path, data: Path, came: Came) -> dict[int, int]:
    """Return what is here of each part, and begin a new note where none can be believed.

    After a power cut the disk may hold less than was noted: the note names the run of the machine that it is of.
    """
    begin = f"{_boot()} {came.size} {came.part_bytes}"
    lines = path.read_text("ascii", "replace").split("\n") if path.exists() else [""]
    if lines[0] != begin or not data.exists():
        path.write_text(begin + "\n", "ascii")
        data.unlink(missing_ok=True)
        return {}
    if lines[-1]:  # cut by a full disk: what is noted next begins on a line of its own
        with path.open("a") as file:
            file.write("\n")
    pairs = (pair for line in lines[1:-1] if len(pair := line.split()) == 2)  # what was cut says less than came
    return {int(pair[0]): min(int(pair[1]), came.length(int(pair[0]))) for pair in pairs}


def _boot() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return "-"
