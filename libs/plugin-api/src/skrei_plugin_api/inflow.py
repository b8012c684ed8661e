"""Bytes of a body from their connection itself, read by a thread into memory that is used again and again.

Of each gigabyte that goes through an HTTP library piece by piece, a third of its processor time is spent on making,
joining and handing over pieces. So the library parses the head, and keeps count of the body: a thread reads the rest
past it, from a duplicate of the socket, so that nobody closes it meanwhile; then as many bytes of filler as were read
are told to the library's protocol, by the method that every protocol has. Its count is right again, whatever happened,
and the connection goes on as any other.
"""

import asyncio
import os
import select
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import StreamReader

LEAST_BODY_BYTES = 1024 * 1024
"""Of a body of which less is still to come, the library makes pieces: giving the connection away costs as much."""
FILLER = bytes(128 * 1024)
"""Told at once: it is copied once, within a processor's cache."""
LINGER_MILLISECONDS = 2
"""A thread waits so long for what follows where a lot has just come: it is mostly there before the thread were back."""
LEAST_BYTES = 256 * 1024
"""What is waited for before a thread is asked to take it: a slow link brings some hundred bytes at once."""


CUT = "the connection was cut"


class Tap:
    """A connection that brings the rest of a body, after what came `early`. `taken` is what was read from it."""

    def __init__(self, connection: socket.socket, early: list[bytes]) -> None:
        self._connection = connection
        self.early = early
        self.taken = 0

    def read(self, into: memoryview, *, patient: bool = False) -> int:
        """Return how many bytes were there, 0 when none is. Blocks while bytes are copied, and for a moment where it is
        `patient`. Raises ConnectionError once the link is cut."""
        try:
            got = self._read(into)
            if got is None and patient and self._lingers():
                got = self._read(into)
        except OSError as error:
            raise ConnectionError(CUT) from error
        if got == 0:
            raise ConnectionError(CUT)
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


@contextmanager
def given_away(
    content: "StreamReader", transport: asyncio.Transport | None, protocol: asyncio.Protocol | None, left: int
) -> Iterator[Tap | None]:
    """Give the connection of a body away until the end of the block, of which `left` bytes have not come to `content`.

    None where it is no plain one, or where less is left than is worth it: then all of it comes by `content`.
    """
    connection = _second(transport) if left >= LEAST_BODY_BYTES else None
    if transport is None or protocol is None or connection is None:
        yield None
        return
    try:
        early = _early(content)
    except BaseException:
        connection.close()
        raise
    transport.pause_reading()  # after that: who reads what was early lets it go on
    lowest = connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
    tap = Tap(connection, early)
    try:
        yield tap
    finally:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, lowest)
        connection.close()
        told = 0
        while told < tap.taken and not transport.is_closing():  # then nobody counts any more
            some = min(len(FILLER), tap.taken - told)
            protocol.data_received(FILLER[:some])
            if content.exception() is None:
                content.read_nowait()
            told += some
        transport.resume_reading()


def _second(transport: asyncio.Transport | None) -> socket.socket | None:
    """Return a second socket of a connection on which bytes come as they were sent; None where there is none."""
    if sys.platform != "linux" or transport is None or transport.get_extra_info("sslcontext") is not None:
        return None
    plain = transport.get_extra_info("socket")
    try:
        connection = None if plain is None else socket.socket(fileno=os.dup(plain.fileno()))
    except OSError:
        return None  # as many files are open as may be, or it is just being closed: pieces need no other
    if connection is not None:
        connection.setblocking(False)
    return connection


def _early(content: "StreamReader") -> list[bytes]:
    """Return what has come already."""
    found: list[bytes] = []
    while piece := content.read_nowait():
        found.append(piece)
    return found
