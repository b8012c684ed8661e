"""A part on its way to a publisher: pieces as they come, or its connection itself, read by a thread into memory that is
used again and again.

Of each gigabyte that goes through an HTTP library piece by piece, a third of its processor time is spent on making,
joining and handing over pieces.
"""

import asyncio
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from skrei_plugin_api.publisher import UploadIncomplete

LINGER_MILLISECONDS = 2
"""A thread waits so long for what follows where a lot has just come: it is mostly there before the thread were back."""
LEAST_BYTES = 256 * 1024
"""What is waited for before a thread is asked to take it: a slow link brings some hundred bytes at once."""


class Tap:
    """A connection that brings the rest of a part, after what came `early`. `taken` is what was read from it."""

    def __init__(self, connection: socket.socket, early: list[bytes]) -> None:
        self._connection = connection
        self.early = early
        self.taken = 0

    def read(self, into: memoryview, *, patient: bool = False) -> int:
        """Return how many bytes were there, 0 when none is. Blocks while bytes are copied, and for a moment where it is
        `patient`. Raises UploadIncomplete once the link is cut."""
        try:
            got = self._read(into)
            if got is None and patient and self._lingers():
                got = self._read(into)
        except OSError as error:
            raise UploadIncomplete("The link was cut.") from error
        if got == 0:
            raise UploadIncomplete("The link was cut.")
        self.taken += got or 0
        return got or 0

    async def wait(self, left: int, seconds: float) -> None:
        """Return when something is worth to be read, of the `left` bytes that are to come, or after so long."""
        loop = asyncio.get_running_loop()
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(1, min(LEAST_BYTES, left)))
        there = asyncio.Event()
        loop.add_reader(self._connection, there.set)
        try:
            async with asyncio.timeout(seconds):
                await there.wait()
        except TimeoutError:
            pass  # what has come may be less than is waited for
        finally:
            loop.remove_reader(self._connection)

    def _read(self, into: memoryview) -> int | None:
        try:
            return self._connection.recv_into(into)
        except BlockingIOError:
            return None

    def _lingers(self) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(LINGER_MILLISECONDS))


class Straight(ABC, AsyncIterator[bytes]):
    """The body of a request whose connection may be read by a thread, if it is a plain one."""

    @abstractmethod
    def straight(self) -> AbstractAsyncContextManager[Tap | None]:
        """Give the connection away until the end of the block, in which no other piece comes; None where it cannot be.

        No thread may read of it any more at the end of the block.
        """
