"""A proxy for one container: CONNECT and plain HTTP to whom its rules allow, everything else is refused by name.

A connection carries one request. Bodies are streamed; what waits on one side holds the other back.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from skrei_plugin_api.outbound import Forbidden, Found, Outbound, internet
from skrei_plugin_docker.gate.closing import close
from skrei_plugin_docker.gate.request import BadRequest, Body, Request, read

MOST_CONNECTIONS = 128
"""Connections of one container at once: more than clients pool, too few to fill the node's tables."""
HEAD_BYTES = 32 * 1024
"""A request's head: four times what servers take."""
HEAD_SECONDS = 30.0
"""How long a client may take for it."""
CONNECT_SECONDS = 15.0
"""Look-up and connection together: who is not there by then is told as unreachable."""
IDLE_SECONDS = 300.0
"""A connection on which nothing moves for so long is ended: slower answers are rare, forgotten connections are not."""
LINGER_SECONDS = 1.0
"""How long what is still sent is read after a refusal."""
PIECE_BYTES = 64 * 1024
"""A piece on its way."""
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t\x20-\x7e]{0,256})?\r\n")

Resolve = Callable[[str, int], Awaitable[list[Found]]]


class _Closed(Exception):
    """One of both sides is gone."""


class Side(Protocol):
    """What is needed of a stream to read from it."""

    async def read(self, n: int = -1) -> bytes:
        """Return what is there, at most `n` bytes; nothing at the end."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a container may, and the headers that its plain requests get."""

    outbound: Outbound
    extra: tuple[tuple[str, str], ...] = ()


async def resolve(host: str, port: int) -> list[Found]:
    """Look a name up, once."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    return internet(found)


class Proxy:
    """Serves the clients of one listener."""

    def __init__(self, rules: Rules, resolve: Resolve = resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; never raises for what a client or a server does."""
        self._open += 1
        try:
            if self._open > MOST_CONNECTIONS:
                await _say(reader, writer, 503, f"more than {MOST_CONNECTIONS} connections at once")
            else:
                await self._serve(reader, writer)
        except (_Closed, OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # who went knows it
        finally:
            self._open -= 1
            await close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            try:
                async with asyncio.timeout(HEAD_SECONDS):
                    request = read(await reader.readuntil(b"\r\n\r\n"))
            except TimeoutError:
                await _say(reader, writer, 408, f"no request came within {HEAD_SECONDS:g} s")
                return
            self._rules.outbound.check(request.host, request.port)
            there = await self._connect(request)
        except asyncio.LimitOverrunError:
            await _say(reader, writer, 431, f"its head has more than {HEAD_BYTES} bytes")
        except BadRequest as error:
            await _say(reader, writer, 400, str(error))
        except Forbidden as error:
            await _say(reader, writer, 403, str(error))
        except (OSError, TimeoutError) as error:
            await _say(reader, writer, 502, f"it cannot be reached: {error or 'it does not answer'}")
        else:
            try:
                await self._pass(request, (reader, writer), there)
            finally:
                await close(there[1])

    async def _connect(self, request: Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                found = await self._resolve(request.host, request.port)
            except (socket.gaierror, UnicodeError) as error:
                raise OSError(f"{request.host} is not known") from error
            trouble: OSError | None = None
            for family, _, _, _, address in self._rules.outbound.choose(request.host, found):
                try:
                    return await asyncio.open_connection(
                        str(address[0]), request.port, family=family, flags=socket.AI_NUMERICHOST, limit=PIECE_BYTES
                    )
                except OSError as error:
                    trouble = error
            raise trouble or OSError("no address")

    async def _pass(
        self,
        request: Request,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        clock = _Clock()
        if request.tunnel:
            here[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            up = _pump(here[0], there[1], clock)
        else:
            there[1].write(request.passed_on(self._rules.extra))
            up = _upload(request, here[0], there[1], clock)
        sending = asyncio.ensure_future(_quietly(up))
        answering = asyncio.ensure_future(_quietly(_pump(there[0], here[1], clock)))
        ticking = asyncio.ensure_future(clock.watch())
        # What has answered a message is done with it; a tunnel is done when both sides are.
        done = asyncio.gather(sending, answering) if request.tunnel else answering
        try:
            await asyncio.wait({done, ticking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, answering, ticking):
                task.cancel()
            await asyncio.gather(sending, answering, ticking, done, return_exceptions=True)


class _Clock:
    """Ends a connection on which nothing moves."""

    def __init__(self) -> None:
        self.moved = asyncio.get_running_loop().time()

    def tick(self) -> None:
        self.moved = asyncio.get_running_loop().time()

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self.moved + IDLE_SECONDS - loop.time()) > 0:  # noqa: ASYNC110 - it is time that is awaited
            await asyncio.sleep(left)


async def _pump(source: Side, sink: asyncio.StreamWriter, clock: _Clock, size: int | None = None) -> None:
    """Pass bytes on to their end (or `size` of them), and say that they have ended."""
    left = size
    while left is None or left > 0:
        data = await source.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        if not data:
            break
        clock.tick()
        sink.write(data)
        await sink.drain()
        clock.tick()
        left = None if left is None else left - len(data)
    if size is None and sink.can_write_eof():
        sink.write_eof()
    if left:
        raise _Closed


async def _upload(request: Request, source: asyncio.StreamReader, sink: asyncio.StreamWriter, clock: _Clock) -> None:
    """Pass exactly one body on: what follows it on the connection is nobody's."""
    if request.body is Body.LENGTH:
        await _pump(source, sink, clock, request.length)
    elif request.body is Body.CHUNKED:
        while True:
            line = _CHUNK.fullmatch(await source.readuntil(b"\r\n"))
            if line is None:
                raise _Closed
            size = int(line[1], 16)
            sink.write(f"{size:x}\r\n".encode())
            await _pump(source, sink, clock, size)
            if await source.readexactly(2) != b"\r\n":  # after the last chunk: no trailers are passed on
                raise _Closed
            sink.write(b"\r\n")
            if size == 0:
                break
    await sink.drain()


async def _quietly(work: Awaitable[None]) -> None:
    """Do `work`; a side that went ends it."""
    with contextlib.suppress(_Closed, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await work


async def _say(reader: Side, writer: asyncio.StreamWriter, status: int, text: str) -> None:
    """Refuse, and read on for a moment: who still sends would otherwise lose the answer with the connection."""
    body = f"skrei: {text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    writer.write_eof()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(PIECE_BYTES):
                pass
