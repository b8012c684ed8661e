"""What an execution said, from what the publisher keeps of it: its result, or what was sent while it ran.

Everything is read piece by piece as its reader takes it, so a gigabyte of output holds no more memory than a line.
"""

import asyncio
import codecs
import gzip
import io
import tarfile
import urllib.error
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, BinaryIO, TypeVar

from skrei_domain.errors import NotFound, Unavailable
from skrei_orchestrator_api.log_pieces import cut_marker
from skrei_orchestrator_api.publishing import DIRECTLY

T = TypeVar("T")

STREAMS = {"stdout": 1, "stderr": 2}
"""Members of a result's archive, and the numbers that log readers know them by."""

PIECE_BYTES = 64 * 1024
"""Held of an output at once."""
MAX_OUTPUT_BYTES = 1024**3 + 4096
"""Shown of one stream, what nodes keep and the line with which they say so: a small archive may claim to hold more."""
HEADER_BYTES = 1024 * 1024
"""Of an archive beyond the entries that it has named: headers are held in memory."""
ENTRY_BYTES = 8 * 1024
"""What one entry of an archive may take beside its content."""
FETCH_SECONDS = 10


async def unpacked(archive: bytes) -> AsyncIterator[tuple[int, str]]:
    """Yield (stream, text) of stdout, then stderr, of a result's tar.gz. Raises Unavailable for a damaged one."""
    async for piece in _threaded(lambda: _of_archive(io.BytesIO(archive))):
        yield piece


async def stored(url: str) -> AsyncIterator[tuple[int, str]]:
    """Yield the same of the result that the publisher serves at `url`. Raises NotFound or Unavailable."""

    def read() -> Iterator[tuple[int, str]]:
        with _open(url) as response:
            yield from _of_archive(response)

    async for piece in _threaded(read):
        yield piece


@dataclass(frozen=True, slots=True)
class Shipped:
    """One stream as far as it was sent while it ran: until when, and whether that is all of it."""

    stream: int
    until: str
    complete: bool
    cut: bool


async def shipped(url: Callable[[str], str]) -> AsyncIterator[tuple[int, str] | Shipped]:
    """Yield what was sent of each stream, each followed by a Shipped; `url` returns where a stream is kept.

    Nothing is yielded for a stream of which nothing was sent. Raises Unavailable.
    """
    for name, number in STREAMS.items():
        try:
            async for piece in _threaded(partial(_of_log, url(name), number)):
                yield piece
        except NotFound:
            continue


def _of_log(url: str, number: int) -> Iterator[tuple[int, str] | Shipped]:
    with _open(url) as response:
        yield from _text(response, number)
        changed = response.headers.get("Last-Modified", "")
        yield Shipped(
            stream=number,
            until=f"{parsedate_to_datetime(changed):%Y-%m-%d %H:%M:%S} UTC" if changed else "",
            complete=response.headers.get("X-Skrei-Log-Complete") == "1",
            cut=response.headers.get("X-Skrei-Log-Cut") == "1",
        )


def _of_archive(source: BinaryIO) -> Iterator[tuple[int, str]]:
    found = 0
    try:
        with gzip.GzipFile(fileobj=source) as plain:
            gauge = _Gauge(plain)
            with tarfile.open(fileobj=gauge, mode="r|", bufsize=PIECE_BYTES) as members:
                while found < len(STREAMS) and (member := members.next()) is not None:
                    members.members = []  # type: ignore[attr-defined]  # the library keeps what it has passed
                    gauge.allow(member.size)
                    stream = STREAMS.get(member.name.removeprefix("./"))
                    if stream is not None and member.isfile() and (file := members.extractfile(member)) is not None:
                        found += 1
                        yield from _text(file, stream)
    except (tarfile.TarError, EOFError, zlib.error, OSError, HTTPException) as error:
        raise Unavailable("the stored result cannot be read") from error


class _Gauge(io.BufferedIOBase):
    """An unpacked archive that ends with an error where its headers are longer than any result's."""

    def __init__(self, plain: gzip.GzipFile) -> None:
        self._plain = plain
        self._left = HEADER_BYTES

    def allow(self, size: int) -> None:
        """Expect the content of one entry."""
        self._left += size + ENTRY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        data = self._plain.read(PIECE_BYTES if size is None or size < 0 else size)
        self._left -= len(data)
        if self._left < 0:
            raise EOFError("its headers are too long")
        return data


def _text(file: Any, stream: int) -> Iterator[tuple[int, str]]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    left = MAX_OUTPUT_BYTES
    while left and (data := file.read(min(PIECE_BYTES, left))):
        left -= len(data)
        if text := decoder.decode(data):
            yield stream, text
    if text := decoder.decode(b"", final=True):
        yield stream, text
    if not left:
        yield stream, cut_marker(MAX_OUTPUT_BYTES)


@contextmanager
def _open(url: str) -> Iterator[Any]:
    """Open what the publisher holds at `url`. Raises NotFound or Unavailable."""
    try:
        with DIRECTLY.open(url, timeout=FETCH_SECONDS) as response:  # the publisher's own, from settings
            yield response
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise NotFound("the result is not stored any more") from error
            raise Unavailable(f"the publisher answered {error.code}") from error
    except (OSError, HTTPException) as error:
        raise Unavailable("the publisher cannot be reached", hint="try again in a moment") from error


async def _threaded(read: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Yield what `read` yields, each step of it in a thread; whoever stops early closes it."""
    steps = read()
    try:
        while (step := await asyncio.to_thread(_step, steps)) is not None:
            yield step[0]
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


def _step(steps: Iterator[T]) -> tuple[T] | None:
    for item in steps:
        return (item,)
    return None
