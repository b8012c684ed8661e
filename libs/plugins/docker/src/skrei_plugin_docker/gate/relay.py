"""A way from one container to one address: bytes are passed on as they come, unread."""

import asyncio
import contextlib
import socket

from skrei_plugin_api.aside import together
from skrei_plugin_docker.gate.closing import close

MOST_CONNECTIONS = 128
"""Connections of one container to one service at once: more than clients pool, too few to fill the node's tables."""
CONNECT_SECONDS = 15.0
"""Look-up and connection together."""
PIECE_BYTES = 64 * 1024
"""A piece on its way."""


class Relay:
    """Serves the clients of one listener: each is connected to `host:port`, until either side has gone.

    Databases keep connections for hours without a word: none is ended for being silent.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; never raises for what a client or a service does."""
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                with contextlib.suppress(OSError, TimeoutError):  # it is closed: as where nothing listens
                    await self._pass(reader, writer)
        finally:
            self._open -= 1
            await close(writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            there, back = await asyncio.open_connection(self._host, self._port, limit=PIECE_BYTES)
        back.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            await together((_pump(reader, back), _pump(there, writer)))
        finally:
            await close(back)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(PIECE_BYTES):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
