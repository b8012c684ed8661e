"""A narrow line to the rest of the world, for trying what a ship has: `uplink.py BITS_PER_SECOND PORT:HOST[:PORT] ...`.

Listens on each PORT and passes what comes on to HOST; all of it together goes no faster than so many bits a second each
way, or as fast as it can (`inf`): so it is the way in of the compose file's profile `edge` too.
"""

import asyncio
import math
import signal
import sys
import time
from collections.abc import Sequence

PIECE_BYTES = 4_096
"""Passed on at once: small, so that a heartbeat waits for a few milliseconds of a large file and no more."""
WIDE_PIECE_BYTES = 256 * 1024
"""The same where nothing is narrow: each piece costs two turns of the loop."""
BURST_SECONDS = 0.05
"""How much of the line may be made up for after a pause."""
CONNECT_SECONDS = 10.0
"""For the other end to be reached."""


class Line:
    """One direction: whoever sends waits until its bytes are through."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0
        self.piece_bytes = PIECE_BYTES if math.isfinite(bytes_per_second) else WIDE_PIECE_BYTES

    async def send(self, count: int) -> None:
        """Wait until so many bytes have gone, behind all that were sent before."""
        now = time.monotonic()
        begin = max(self._free_at, now - BURST_SECONDS)
        self._free_at = begin + count / self._rate
        await asyncio.sleep(max(0.0, self._free_at - now))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
    """Pass on until one end closes."""
    try:
        while piece := await reader.read(line.piece_bytes):
            await line.send(len(piece))
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, OSError):
        writer.close()


async def serve(bits_per_second: float, ways: Sequence[str]) -> None:
    """Serve until cancelled."""
    out, back = Line(bits_per_second / 8), Line(bits_per_second / 8)

    async def open_one(port: int, host: str, there: int) -> None:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    far_reader, far_writer = await asyncio.open_connection(host, there)
            except (OSError, TimeoutError):
                writer.close()
                return
            await asyncio.gather(pass_on(reader, far_writer, out), pass_on(far_reader, writer, back))
            for each in (writer, far_writer):
                each.close()

        server = await asyncio.start_server(meet, "0.0.0.0", port)
        async with server:
            await server.serve_forever()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sys.exit, 0)  # the first process of a container
    async with asyncio.TaskGroup() as group:
        for way in ways:
            port, host, *there = way.split(":")
            group.create_task(open_one(int(port), host, int(there[0] if there else port)))


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), sys.argv[2:]))
