"""The proxy against real sockets: what it lets through, what it refuses, and that it never takes more than one body."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from skrei_plugin_api.outbound import Found, Outbound, networks
from skrei_plugin_api.testing import eventually
from skrei_plugin_docker.gate import proxy as proxies
from skrei_plugin_docker.gate.proxy import HEAD_BYTES, Proxy, Rules

LOCAL = networks(["127.0.0.0/8"])
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def local(host: str, port: int) -> list[Found]:
    """Every name is this machine."""
    if host == "nowhere.example.com":
        raise socket.gaierror
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


class Upstream:
    """A server that keeps what it hears, and answers once with what it is given."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> None:
        self.answer = answer
        self.heard = b""
        self.port = 0
        self.until = b"\r\n\r\n"
        self.done = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self.until not in self.heard and (data := await reader.read(65536)):
            self.heard += data
        writer.write(self.answer)
        await writer.drain()
        writer.close()
        self.done.set()


@asynccontextmanager
async def serving(handler: Handler, limit: int = HEAD_BYTES) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0, limit=limit)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def proxied(upstream: Upstream, *domains: str) -> AsyncIterator[int]:
    rules = Rules(Outbound(domains or ("example.com",), LOCAL), (("X-Bacalhau-Job-ID", "j-1"),))
    async with serving(upstream.handle) as upstream.port, serving(Proxy(rules, local).serve) as port:
        yield port


async def ask(port: int, data: bytes) -> bytes:
    """Send all, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said


async def test_a_message_comes_through_with_the_jobs_id() -> None:
    upstream = Upstream()
    async with proxied(upstream) as port:
        said = await ask(port, f"GET http://example.com:{upstream.port}/x HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert said.endswith(b"\r\n\r\nok")
    assert upstream.heard.splitlines() == [
        b"GET /x HTTP/1.1",
        f"Host: example.com:{upstream.port}".encode(),
        b"X-Bacalhau-Job-ID: j-1",
        b"Connection: close",
        b"",
    ]


@pytest.mark.parametrize(
    ("request_head", "status", "words"),
    [
        (b"GET http://other.org:{port}/ HTTP/1.1", 403, b"host not allowed: other.org"),
        (b"GET http://127.0.0.1:{port}/ HTTP/1.1", 403, b"host not allowed: 127.0.0.1"),
        (b"CONNECT other.org:443 HTTP/1.1", 403, b"host not allowed: other.org"),
        (b"CONNECT example.com:25 HTTP/1.1", 403, b"port not allowed: 25"),
        (b"GET / HTTP/1.1", 400, b"wants whole addresses"),
        (b"GET http://nowhere.example.com/ HTTP/1.1", 502, b"nowhere.example.com is not known"),
        (b"CONNECT example.com:1025 HTTP/1.1", 502, b"it cannot be reached"),
    ],
)
async def test_what_is_refused_is_told_why(request_head: bytes, status: int, words: bytes) -> None:
    upstream = Upstream()
    async with proxied(upstream, "example.com", "nowhere.example.com") as port:
        said = await ask(port, request_head.replace(b"{port}", str(upstream.port).encode()) + b"\r\n\r\n")
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert words in said
    assert upstream.heard == b""


async def test_a_name_that_leads_to_a_private_address_is_refused() -> None:
    rules = Rules(Outbound(("example.com",)))
    async with serving(Proxy(rules, local).serve) as port:
        said = await ask(port, b"CONNECT example.com:443 HTTP/1.1\r\n\r\n")
    assert b"403" in said
    assert b"example.com is 127.0.0.1, which is no public address" in said


async def test_a_tunnel_passes_bytes_both_ways_until_both_have_ended() -> None:
    upstream = Upstream(answer=b"world")
    upstream.until = b"hello"
    async with proxied(upstream) as port:
        said = await ask(port, f"CONNECT example.com:{upstream.port} HTTP/1.1\r\n\r\nhello".encode())
    assert said == b"HTTP/1.1 200 Connection established\r\n\r\nworld"
    assert upstream.heard == b"hello"


async def test_a_second_request_on_the_connection_reaches_nobody() -> None:
    upstream = Upstream()
    upstream.until = b"12345"
    async with proxied(upstream) as port:
        first = f"POST http://example.com:{upstream.port}/ HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345"
        await ask(port, first.encode() + b"GET /secret HTTP/1.1\r\nHost: other.org\r\n\r\n")
    assert b"secret" not in upstream.heard
    assert upstream.heard.endswith(b"\r\n\r\n12345")


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        (b"3;x=y\r\nabc\r\n0\r\n\r\nrest", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"0x3\r\nabc\r\n0\r\n\r\n", b""),
        (b"-1\r\nabc", b""),
        (b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nabc"),
        (b"0\r\nTrailer: x\r\n\r\n", b"0\r\n"),
    ],
)
async def test_chunks_are_passed_on_one_by_one_and_nothing_else(body: bytes, passed: bytes) -> None:
    upstream = Upstream()
    upstream.until = passed or b"\r\n\r\n"
    async with proxied(upstream) as port:
        head = f"POST http://example.com:{upstream.port}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        await ask(port, head.encode() + body)
    assert upstream.heard.partition(b"\r\n\r\n")[2] == passed


async def test_a_head_beyond_its_limit_is_refused() -> None:
    async with proxied(Upstream()) as port:
        said = await ask(port, b"GET http://example.com/ HTTP/1.1\r\nA: " + b"x" * HEAD_BYTES + b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 431 ")


@pytest.mark.row("5.2/http-rate")
async def test_large_bodies_are_streamed_whole() -> None:
    body = bytes(range(256)) * 20_000 + b"the end"
    upstream = Upstream(answer=b"HTTP/1.1 200 OK\r\n\r\n" + body)
    upstream.until = b"the end"
    async with proxied(upstream) as port:
        head = f"PUT http://example.com:{upstream.port}/ HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        said = await ask(port, head.encode() + body)
    assert upstream.heard.endswith(body)
    assert said.endswith(body)


async def test_connections_beyond_the_limit_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "MOST_CONNECTIONS", 1)
    proxy = Proxy(Rules(Outbound(())), local)
    async with serving(proxy.serve) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        await eventually(lambda: proxy._open == 1)
        said = await ask(port, b"CONNECT other.org:443 HTTP/1.1\r\n\r\n")
        first.close()
        await eventually(lambda: proxy._open == 0)
    assert b"more than 1 connections at once" in said


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "HEAD_SECONDS", 0.05)
    async with proxied(Upstream()) as port:
        assert b"408" in await ask(port, b"GET ")


async def test_a_tunnel_on_which_nothing_moves_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "IDLE_SECONDS", 0.05)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    rules = Rules(Outbound(("example.com",), LOCAL))
    async with serving(silent) as upstream, serving(Proxy(rules, local).serve) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"CONNECT example.com:{upstream} HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(10):
            said = await reader.read()
        writer.close()
    assert said == b"HTTP/1.1 200 Connection established\r\n\r\n"
