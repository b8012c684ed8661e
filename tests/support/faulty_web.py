"""A web server that goes wrong on demand: it cuts, refuses, lies about lengths, redirects, and counts what it sent."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.web import listening


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FaultyWeb:
    """Files by path. `cuts` are how many bytes of a body the next answers send before the line is cut; `refusals` are
    statuses that they have instead."""

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    lengths: bool = True
    heads: bool = True
    empty_heads: bool = False
    asked: list[Request] = field(default_factory=list)
    sent: int = 0
    port: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the address of a path."""
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = (line.split(": ", 1) for line in head[1:] if ": " in line)
        request = Request(method, path, {name.lower(): value for name, value in pairs})
        self.asked.append(request)
        if self.refusals and method == "GET":
            return _say(writer, self.refusals.pop(0), {})
        if path in self.redirects:
            return _say(writer, 302, {"Location": self.redirects[path]})
        if path not in self.files or (method == "HEAD" and not self.heads):
            return _say(writer, 404 if self.heads else 405, {})
        await self._send(writer, request, self.files[path])
        return None

    async def _send(self, writer: asyncio.StreamWriter, request: Request, data: bytes) -> None:
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": etag} if self.etags else {}
        first = int(request.headers.get("range", "bytes=0-")[6:].rstrip("-"))
        part = self.ranges and first > 0 and request.headers.get("if-range", etag) == etag
        body = data[first:] if part else data
        if self.lengths:
            headers["Content-Length"] = "0" if self.empty_heads and request.method == "HEAD" else str(len(body))
        if part:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        _say(writer, 206 if part else 200, headers | self.headers)
        if request.method == "HEAD":
            return
        cut = self.cuts.pop(0) if self.cuts else None
        body = body if cut is None else body[:cut]
        self.sent += len(body)
        writer.write(body)
        await writer.drain()


def _say(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} Status", "Connection: close", *(f"{name}: {text}" for name, text in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


@asynccontextmanager
async def faulty_web(**settings: object) -> AsyncIterator[FaultyWeb]:
    """Serve on a free port of loopback."""
    made = FaultyWeb(**settings)  # type: ignore[arg-type]  # the caller's names
    async with listening(made.serve) as made.port:
        yield made
