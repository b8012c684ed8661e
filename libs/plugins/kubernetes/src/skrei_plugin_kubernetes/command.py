"""A command in a container, over the cluster's WebSocket: what it says, what it is told, and how it ended."""

import json
import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

PROTOCOL = "v4.channel.k8s.io"
"""Each message begins with the number of its stream; every cluster since 1.4 speaks it."""
STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
PIECE_BYTES = 32 * 1024


class Broken(ConnectionError):
    """The connection ended before the command did."""


class Command:
    """One command that runs. `code` is known once `frames` has ended."""

    def __init__(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        self._socket = socket
        self.code: int | None = None
        self.problem = ""

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what it says as (stream, data): 1 is stdout, 2 stderr. Raises Broken where its end was not told."""
        from aiohttp import WSMsgType  # who has a socket has the library

        async for message in self._socket:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            stream, data = message.data[0], message.data[1:]
            if stream == STATUS:
                self.code, self.problem = ended(data)
                return
            if data:
                yield stream, data
        raise Broken("the connection to a command in a pod was cut")

    async def said(self, most: int = 64 * 1024) -> tuple[bytes, bytes]:
        """Return what it says in all, at most so much of each stream."""
        told = {STDOUT: bytearray(), STDERR: bytearray()}
        async for stream, data in self.frames():
            told[stream] += data[: most - len(told[stream])]
        return bytes(told[STDOUT]), bytes(told[STDERR])

    async def first(self) -> bytes:
        """Return the first that it says on stdout. Raises Broken where it ends without a word there."""
        async for stream, data in self.frames():
            if stream == STDOUT:
                return data
        raise Broken(f"a command in a pod ended without a word: {self.problem}")

    async def tell(self, data: bytes) -> None:
        """Send it something."""
        for at in range(0, len(data), PIECE_BYTES):
            await self._socket.send_bytes(bytes([STDIN]) + data[at : at + PIECE_BYTES])

    async def tell_whole(self, pieces: AsyncIterator[bytes]) -> None:
        """Send it pieces in the form that `runner whole` reads: no end of stdin could be told from a cut."""
        async for piece in pieces:
            await self.tell(struct.pack(">I", len(piece)) + piece)
        await self.tell(struct.pack(">I", 0))


def ended(data: bytes) -> tuple[int, str]:
    """Return the exit code that a status tells, 0 for success, and its words. Pure."""
    try:
        status: dict[str, Any] = json.loads(data)
    except ValueError:
        return -1, data.decode("utf-8", "replace")
    if status.get("status") == "Success":
        return 0, ""
    causes = (status.get("details") or {}).get("causes") or []
    code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), "")
    return int(code) if str(code).isdecimal() else -1, str(status.get("message") or "it does not say why")
