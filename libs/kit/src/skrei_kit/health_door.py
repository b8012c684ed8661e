"""The small door for who looks after a service: `/healthz`, `/readyz` and `/metrics` on a port of their own.

Two of the four services hold no HTTP server, and an edge box has no room for one; this answers GET and HEAD of three
paths, one request a connection, and takes nothing in. It knows no token: nothing that it tells names a job, a user or
what somebody runs, and it listens nowhere unless a setting says so.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from skrei_domain.errors import Unavailable
from skrei_kit.health import Answer, Health
from skrei_kit.observability import get_logger
from skrei_kit.settings import host_and_port

log = get_logger()

HEAD_BYTES = 8 * 1024
"""Of a request: what servers take, and people's proxies add."""
REQUEST_SECONDS = 5.0
"""How long a request may take to come, and its answer to go: who asks is near."""
CONNECTIONS = 32
"""At once: a scraper, a prober and a person. More are closed at once."""


@asynccontextmanager
async def listening(listen: str, health: Health) -> AsyncIterator[None]:
    """Answer at `listen`, `host:port`, meanwhile; empty: nowhere. Raises Unavailable where somebody else has it."""
    if not listen:
        yield
        return
    host, port = host_and_port(listen)
    served: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None, "the server makes one for each connection"
        served.add(own)
        try:
            if len(served) <= CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await _serve(reader, writer, health)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()  # it went away, or takes nothing: what it was to be told would be kept for it
        finally:
            served.discard(own)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(connected, host, port, limit=HEAD_BYTES)
    except OSError as error:
        raise Unavailable(
            f"{listen} cannot be listened on: {error.strerror or error}",
            hint="stop what listens there, or name another address with SKREI_HEALTH_LISTEN",
        ) from error
    log.info("health_listening", port=server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()
        for task in (left := list(served)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, health: Health) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        answer, method = _problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), "GET"
    else:
        method, answer = await _answer(head, health)
    status = HTTPStatus(answer.status)
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {answer.media}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    writer.write("\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + (b"" if method == "HEAD" else answer.body))
    await writer.drain()


async def _answer(head: bytes, health: Health) -> tuple[str, Answer]:
    """Return the method, and the answer to a request's head."""
    method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
    target, _, protocol = rest.partition(" ")
    if not protocol.startswith("HTTP/1."):
        return method, _problem(HTTPStatus.BAD_REQUEST)
    if method not in ("GET", "HEAD"):
        return method, _problem(HTTPStatus.METHOD_NOT_ALLOWED)
    found = await health.answer(target.partition("?")[0])
    return method, found or _problem(HTTPStatus.NOT_FOUND)


def _problem(status: HTTPStatus) -> Answer:
    text = f"{status.value} {status.phrase}: GET /healthz, /readyz or /metrics\n"
    return Answer(status.value, "text/plain; charset=utf-8", text.encode())
