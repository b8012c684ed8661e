"""A real HTTP proxy on loopback: CONNECT for what has TLS, whole addresses for what has none, and a name asked for.

It resolves names of its own, so that what reaches `cp.test` through it has come through it: nobody else knows them.
"""

import asyncio
import base64
import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HEAD_BYTES = 64 * 1024
USER, PASSWORD = "edge", "let me@out"
SHOWN = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


@dataclass
class HttpProxy:
    """Runs on a loop of its own. `asked` are the request lines that came, `refused` those of them without the name."""

    names: Mapping[str, str]
    port: int = 0
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _links: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{USER}:let%20me%40out@127.0.0.1:{self.port}"

    @property
    def nameless(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client: one request, then bytes both ways."""
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # an end went away, or the proxy does: so does this link
        finally:
            self._links.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, _, rest = head.partition("\r\n")
        method, target, version = line.split(" ")
        self.asked.append(line)
        lines = rest.split("\r\n")
        if f"proxy-authorization: {SHOWN}".lower() not in {each.lower() for each in lines}:
            self.refused.append(line)
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = self.names.get(parts.hostname or "", parts.hostname or "")
        there, out = await asyncio.open_connection(host, parts.port or 80)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
                kept = [each for each in lines if not each.lower().startswith(("proxy-", "connection:"))]
                out.write("\r\n".join([f"{method} {path} {version}", "Connection: close", *kept]).encode("latin-1"))
            await asyncio.gather(_pump(reader, out), _pump(there, writer))
        finally:
            out.close()

    async def close(self) -> None:
        """End every link."""
        links = tuple(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(HEAD_BYTES):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()


@contextmanager
def running_proxy(**names: str) -> Iterator[HttpProxy]:
    """A proxy in a thread; `cp_test="127.0.0.1"` is the address that it has for `cp.test`."""
    proxy = HttpProxy({name.replace("_", "."): address for name, address in names.items()})
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def run() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=HEAD_BYTES)
        proxy.port = server.sockets[0].getsockname()[1]
        ending.append(asyncio.Event())
        started.set()
        await ending[0].wait()
        server.close()
        await proxy.close()

    ending: list[asyncio.Event] = []
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    started.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ending[0].set)
        thread.join(10)
        loop.close()
