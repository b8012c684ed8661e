"""A part of a file as the body of a request: from the page cache to the socket where the connection is a plain one.

Read and sent by hand, a gigabyte costs a copy into Python, one into the transport's buffer and some thousand trips to
a thread; `sendfile` costs none of them.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from io import FileIO

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from skrei_compute_agent.pace import FREE, Pace

READ_BYTES = 512 * 1024
"""Read at once where TLS has to see the bytes: threads are rarely asked; times the parts at once it bounds memory."""
SLICE_BYTES = 1024 * 1024
"""Sent before the connection is listened to again: an answer that comes early (no room) is heard after so much."""


class FileRange(Payload):
    """`size` bytes of an open file from `first` on. Several of one file may be on their way at once.

    `short` once it turned out that the file has less: sending fails then, in whatever words the HTTP library finds.
    """

    def __init__(self, file: FileIO, first: int, size: int, pace: Pace = FREE) -> None:
        super().__init__(file, content_type="application/octet-stream")
        self._file = file
        self._first = first
        self._end = first + size
        self._size = size
        self._pace = pace
        self.short = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raise TypeError: it is sent, never shown."""
        raise TypeError("a part of a file is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it."""
        if hasattr(os, "posix_fadvise"):  # macOS has none, and reads ahead by itself
            await asyncio.to_thread(
                os.posix_fadvise, self._file.fileno(), self._first, self._end - self._first, os.POSIX_FADV_WILLNEED
            )
        position = self._first
        if (transport := _plain(writer)) is not None:
            position = await self._hand_over(transport, writer)
        async for piece in self._pieces(position):
            await writer.write(piece)

    async def _hand_over(self, transport: asyncio.Transport, writer: AbstractStreamWriter) -> int:
        """Let the kernel send; returns how far it came: to the end, or nowhere where it cannot."""
        loop = asyncio.get_running_loop()
        position, end = self._first, self._end
        writer.send_headers()
        while position < end:
            wanted = min(self._pace.slice(SLICE_BYTES), end - position)
            await self._pace.wait(wanted)
            try:
                sent = await loop.sendfile(transport, self._file, position, wanted, fallback=False)
            except (
                asyncio.SendfileNotAvailableError
            ):  # this file system has none, or the link is gone, as writing tells
                return position
            if not sent:
                raise self._ended()
            position += sent
            await asyncio.sleep(0)  # what came meanwhile is read
        return position

    async def _pieces(self, position: int) -> AsyncIterator[bytes]:
        while position < self._end:
            wanted = min(self._pace.slice(READ_BYTES), self._end - position)
            await self._pace.wait(wanted)
            piece = await asyncio.to_thread(os.pread, self._file.fileno(), wanted, position)
            if not piece:
                raise self._ended()
            position += len(piece)
            yield piece

    def _ended(self) -> EOFError:
        self.short = True
        return EOFError("the file is shorter than it was")


def _plain(writer: AbstractStreamWriter) -> asyncio.Transport | None:
    """Return the connection beneath a writer where nothing has to see the bytes on their way."""
    transport = getattr(writer, "transport", None)
    if not isinstance(transport, asyncio.Transport) or transport.get_extra_info("sslcontext") is not None:
        return None
    return transport
