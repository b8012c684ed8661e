"""The body of an answer to a file: past the HTTP library where it may be, and what is left where it ends early."""

import asyncio
import os
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from skrei_plugin_api import pouring
from skrei_plugin_api.inflow import LEAST_BODY_BYTES, Tap
from skrei_plugin_api.pouring import pour
from tests.support.certificates import make_certificate

BODY = bytes(range(251)) * (3 * LEAST_BODY_BYTES // 251)
LENGTH = b"Content-Length: %d" % len(BODY)
BEFORE = 1000
"""What lies in the file before the place that a body is written to."""

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A server of one file, which `say` answers with, and what is asked of it over how many connections."""

    url: str = ""
    trusted: ssl.SSLContext | bool = True
    connections: int = 0
    ended: list[asyncio.Event] = field(default_factory=list)


@asynccontextmanager
async def site(say: Say, tls: Path | None = None) -> AsyncIterator[Site]:
    made, context = Site(), None
    if tls is not None:
        pair = make_certificate(tls, "site.test")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.file, pair.key)
        made.trusted = ssl.create_default_context(cafile=pair.file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        made.ended.append(end := asyncio.Event())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await say(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            end.set()
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        made.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield made


def said(*pieces: bytes) -> Say:
    """Send an answer as it stands; one that ends with `cut` is cut there."""

    async def say(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            if piece == b"cut":
                writer.transport.close()  # after what is still to be sent
                return
            writer.write(piece)
            await writer.drain()

    return say


@dataclass
class Poured:
    """A file that a body goes into, and how much of it was told by whom."""

    path: Path
    told: int = 0
    by: set[str] = field(default_factory=set)

    def wrote(self, more: int) -> None:
        self.told += more
        self.by.add(threading.current_thread().name.partition("_")[0])

    async def of(self, session: aiohttp.ClientSession, site: Site, size: int = len(BODY)) -> int:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT)
        try:
            async with session.get(site.url, ssl=site.trusted) as response:
                return await pour(response, file, BEFORE, size, self.wrote)
        finally:
            os.close(file)

    @property
    def content(self) -> bytes:
        return self.path.read_bytes()[BEFORE:]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(sock_read=30)) as made:
        yield made


HEAD = b"HTTP/1.1 200 OK\r\n"
PLAIN = [HEAD + LENGTH + b"\r\n\r\n", BODY]
CHUNKED = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(BODY), BODY, b"\r\n0\r\n\r\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere bodies come in pieces")
@pytest.mark.parametrize(("answer", "tls", "by"), [(PLAIN, 0, "pour"), (PLAIN, 1, "asyncio"), (CHUNKED, 0, "asyncio")])
async def test_a_body_comes_whole_and_its_connection_goes_on_as_any_other(
    session: aiohttp.ClientSession, tmp_path: Path, answer: list[bytes], tls: int, by: str
) -> None:
    poured = Poured(tmp_path / "file")
    async with site(said(*answer), tmp_path if tls else None) as server:
        for _ in range(3):
            assert await poured.of(session, server) == len(BODY)
            assert poured.content == BODY
        assert (server.connections, poured.told, poured.by) == (1, 3 * len(BODY), {by})
        await session.close()


@pytest.mark.parametrize("sent", [0, 10, LEAST_BODY_BYTES, len(BODY) - 1])
@pytest.mark.parametrize("length", [LENGTH, b"Transfer-Encoding: chunked\r\n\r\n%x" % len(BODY)])
async def test_of_a_line_that_is_cut_everything_that_came_is_kept(
    session: aiohttp.ClientSession, tmp_path: Path, sent: int, length: bytes
) -> None:
    end = b"\r\n" if b"chunked" in length else b"\r\n\r\n"
    poured = Poured(tmp_path / "file")
    async with site(said(HEAD + length + end, BODY[:sent], b"cut")) as server:
        with pytest.raises((aiohttp.ClientPayloadError, ConnectionError)):
            await poured.of(session, server)
    assert poured.told == sent
    assert poured.content == BODY[:sent]


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
async def test_what_is_longer_than_it_may_be_is_told_and_never_written(
    session: aiohttp.ClientSession, tmp_path: Path, answer: list[bytes]
) -> None:
    poured = Poured(tmp_path / "file")
    async with site(said(*answer)) as server:
        assert await poured.of(session, server, size=len(BODY) - 1) > len(BODY) - 1
        await session.close()
    assert len(poured.content) < len(BODY)


async def test_a_server_that_falls_silent_is_not_waited_for_without_end(
    session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pouring, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(pouring, "LOOK_SECONDS", 0.0)
    async with site(said(PLAIN[0])) as server:
        with pytest.raises(TimeoutError):
            await Poured(tmp_path / "file").of(session, server)
        await server.ended[0].wait()


async def test_one_that_is_cancelled_writes_nothing_more_and_closes_its_connection(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    there, loop = asyncio.Event(), asyncio.get_running_loop()
    poured = Poured(tmp_path / "file")

    def wrote(more: int) -> None:
        Poured.wrote(poured, more)
        loop.call_soon_threadsafe(there.set)

    poured.wrote = wrote  # type: ignore[method-assign]  # it tells us too
    async with site(said(PLAIN[0], BODY[:LEAST_BODY_BYTES])) as server:
        running = asyncio.ensure_future(poured.of(session, server))
        await there.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        came = poured.told
        await server.ended[0].wait()
    assert came == poured.told > 0
    assert poured.content == BODY[:came]


def test_a_line_that_always_brings_a_little_more_holds_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is followed by another as soon as it is written."""
    monkeypatch.setattr(pouring, "VISIT_SECONDS", 0.0)
    theirs, ours = socket.socketpair()
    with theirs, ours, (tmp_path / "file").open("wb") as file:
        ours.setblocking(False)
        place = pouring._Place(file.fileno(), 0, len(BODY), lambda _: theirs.sendall(b"."))
        theirs.sendall(b".")
        assert pouring._visit(Tap(ours, []), place, memoryview(bytearray(10)))
    assert place.at == 1
