"""The body of a part's request, read from its connection itself while aiohttp looks elsewhere.

aiohttp has parsed the head, and keeps count of the body. A thread reads the rest past it, from a duplicate of the
socket, so that nobody closes it meanwhile; then as many bytes of filler as were read are told to aiohttp, by the
method that every protocol has. Its count is right again, whatever happened, and the connection goes on as any other.
"""

import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import ClientPayloadError, StreamReader, web

from skrei_plugin_api.inflow import Straight, Tap
from skrei_plugin_api.publisher import UploadIncomplete

LEAST_BYTES = 1024 * 1024
"""Of a body of which less is still to come, aiohttp makes pieces: giving the connection away costs as much."""
FILLER = bytes(128 * 1024)
"""Told at once: it is copied once, within a processor's cache."""


class StraightBody(Straight):
    """The body of a request."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._pieces = pieces(request.content)

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    @asynccontextmanager
    async def straight(self) -> AsyncIterator[Tap | None]:
        """Give the connection away where it is a plain one whose body is sent as it is."""
        with _away(self._request) as tap:
            yield tap


@contextmanager
def _away(request: web.Request) -> Iterator[Tap | None]:
    content, transport, protocol = request.content, request.transport, request.protocol
    left = (request.content_length or 0) - content.total_bytes
    connection = _plain(request) if left >= LEAST_BYTES else None
    if transport is None or connection is None:
        yield None
        return
    try:
        early = _early(content)
    except UploadIncomplete:
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
        while told < tap.taken:
            some = min(len(FILLER), tap.taken - told)
            protocol.data_received(FILLER[:some])
            if content.exception() is None:
                content.read_nowait()
            told += some
        transport.resume_reading()


def _plain(request: web.Request) -> socket.socket | None:
    """Return a second socket of a connection on which the body's bytes come as they are; None where there is none."""
    transport = request.transport
    if sys.platform != "linux" or transport is None or "Content-Encoding" in request.headers:
        return None
    if transport.get_extra_info("sslcontext") is not None:
        return None
    plain = transport.get_extra_info("socket")
    try:
        connection = None if plain is None else socket.socket(fileno=os.dup(plain.fileno()))
    except OSError:
        return None  # as many files are open as may be, or it is just being closed: pieces need no other
    if connection is not None:
        connection.setblocking(False)
    return connection


def _early(content: StreamReader) -> list[bytes]:
    """Return what has come already."""
    found: list[bytes] = []
    try:
        while piece := content.read_nowait():
            found.append(piece)
    except (ClientPayloadError, ConnectionError) as error:
        raise UploadIncomplete("The link was cut.") from error
    return found


async def pieces(content: StreamReader) -> AsyncIterator[bytes]:
    """Yield what comes, as it came: nothing is copied. A link that is cut is UploadIncomplete."""
    try:
        async for piece, _ in content.iter_chunks():
            if piece:
                yield piece
    except (ClientPayloadError, ConnectionError) as error:
        raise UploadIncomplete("The link was cut.") from error
