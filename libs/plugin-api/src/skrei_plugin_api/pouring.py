"""The body of an answer to a file: read from its connection by a thread where that is a plain one, in pieces else.

A thread leaves a connection as soon as it brings nothing more, or has brought some for long, so that slow lines hold
none; few are enough for all that a node brings, since the bytes of the others wait in their connections.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import aiohttp

from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.inflow import Tap, given_away
from skrei_plugin_api.judged_http import SILENCE_SECONDS
from skrei_plugin_api.writing import write_all_at

READERS = 4
"""Threads of a process that read from connections: with more the memory that they copy is in no processor's cache."""
SLOT_BYTES = 256 * 1024
"""Read and written at once by one of them: with more the copy in between leaves a processor's cache."""
VISIT_BYTES = 8 * 1024 * 1024
"""After so many a thread turns to another connection, if one waits."""
VISIT_SECONDS = 0.05
"""The same after so long: a line that brings a little each millisecond would hold its thread, and whoever ends it, for
hours. Fast ones bring their bytes sooner."""
GATHER_BYTES = 1 << 20
"""Of what comes in pieces, written at once: a trip to a thread for each would cost more than the disk."""
LOOK_SECONDS = 5.0
"""How often a connection is looked at that brings less than what is waited for."""

Wrote = Callable[[int], None]
"""Hears, in a thread, how many more bytes lie in the file."""


async def pour(response: aiohttp.ClientResponse, file: int, first: int, size: int, wrote: Wrote) -> int:
    """Write what comes of an answer, `size` bytes at most, to an open file from byte `first` on.

    Nothing of it was read before. Returns how many bytes came, or would have: then not all is written. Whatever came
    before a line was cut is. When this ends, however it does, nothing is written any more. Raises what requests raise.
    """
    told = response.content_length
    if told is not None and told > size:
        return told
    place = _Place(file, first, first + size, wrote)
    connection = response.connection
    transport = None if connection is None else connection.transport
    protocol = None if connection is None else connection.protocol
    with given_away(response.content, transport, protocol, _left(response)) as tap:
        if tap is None or protocol is None or told is None:
            return await _gather(response.content, place) - first
        protocol.read_timeout = None  # what comes past it would not begin its wait anew
        protocol.start_timeout()
        place.end = first + told
        await _draw(tap, place)
        return place.at - first


@dataclass(slots=True)
class _Place:
    """Where the next bytes go, and where the last of them end."""

    file: int
    at: int
    end: int
    wrote: Wrote

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write what came. Blocks."""
        size = sum(map(len, pieces))
        write_all_at(self.file, pieces, self.at)
        self.at += size
        self.wrote(size)


async def _draw(tap: Tap, place: _Place) -> None:
    """Write all of a body that its connection brings; a thread is at it as long as more is there."""
    now = asyncio.get_running_loop().time
    slot, heard = memoryview(bytearray(SLOT_BYTES)), now()
    if tap.early:
        await to_its_end(partial(place.write, tap.early), _readers())
    while place.at < place.end:
        if await to_its_end(partial(_visit, tap, place, slot), _readers()):
            heard = now()
        elif now() - heard >= SILENCE_SECONDS:
            raise TimeoutError
        if left := place.end - place.at:
            await tap.wait(left, LOOK_SECONDS)


def _visit(tap: Tap, place: _Place, slot: memoryview) -> bool:
    """Write what there is of the next bytes, and say whether there was any. Blocks."""
    began, leave = place.at, time.monotonic() + VISIT_SECONDS
    stop = min(place.end, began + VISIT_BYTES)
    while place.at < stop and (got := tap.read(slot[: stop - place.at], patient=True)):
        place.write([slot[:got]])
        if time.monotonic() >= leave:
            break
    return place.at > began


async def _gather(content: aiohttp.StreamReader, place: _Place) -> int:
    """Write a body that comes in pieces, and return where it ends."""
    held: list[bytes] = []
    end = place.at
    try:
        async for piece, _ in content.iter_chunks():  # as they came: nothing is joined
            end += len(piece)
            if end > place.end:
                break
            held.append(piece)
            if end - place.at >= GATHER_BYTES:
                full, held = held, []
                await to_its_end(partial(place.write, full))
    finally:
        if held:
            await to_its_end(partial(place.write, held))
    return end


def _left(response: aiohttp.ClientResponse) -> int:
    """Return how much of a body is still to come that is sent as it is; 0 where nobody says."""
    if response.content_length is None or not {"Transfer-Encoding", "Content-Encoding"}.isdisjoint(response.headers):
        return 0
    return response.content_length - response.content.total_bytes


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READERS, thread_name_prefix="pour")
