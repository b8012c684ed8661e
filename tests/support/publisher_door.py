"""A real upload door over a real store in this process, and a TCP proxy in front of it that a test can cut."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from skrei_kit.signing_keys import new_key
from skrei_kit.tokens import Receipt, TokenSigner, TokenVerifier, UploadGrant
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_api.publisher import Publisher
from skrei_plugin_api.staged import DEFAULTS
from skrei_plugin_api.upload_staging import StagingLimits
from skrei_publisher.app import build
from skrei_publisher.destinations import Destinations
from skrei_publisher.doorkeeper import SignedDoor
from skrei_publisher.store_publisher import StorePublisher
from skrei_publisher.uploads import UploadDoor


class _Nothing:
    async def fetch(self, _: str) -> bytes | None:
        return None


@dataclass
class Door:
    """Where the door is, who opens it, and what came in: (method, path) of each request that was answered well, and how
    many were `refused` while it was `broken`."""

    root: Path
    limits: StagingLimits = DEFAULTS
    url: str = ""
    answered: list[tuple[str, str]] = field(default_factory=list)
    broken: bool = False
    refused: int = 0
    keys: tuple[bytes, bytes] = field(default_factory=new_key)
    receipt_keys: tuple[bytes, bytes] = field(default_factory=new_key)
    others: dict[str, Publisher] = field(default_factory=dict)
    publisher: StorePublisher = field(init=False)
    destinations: Destinations = field(init=False)
    _runner: web.AppRunner | None = None
    _port: int = 0

    async def start(self) -> None:
        """Open, on the port of the last time."""
        self.publisher = StorePublisher(PluginContext(self.root), self.limits)
        await self.publisher.start()
        keeper = SignedDoor(TokenVerifier(self.keys[1]))
        self.destinations = Destinations(self.publisher, PluginContext(self.root / "plugins"), made=self.others)
        uploads = UploadDoor(self.destinations, keeper, TokenSigner(self.receipt_keys[0]))
        app = build(
            self.publisher.store,
            _Nothing(),
            keeper,
            uploads=uploads,
            destinations=self.destinations,
        )

        @web.middleware
        async def note(request: web.Request, handler: object) -> web.StreamResponse:
            if self.broken:
                self.refused += 1
                return web.Response(status=503)
            response: web.StreamResponse = await handler(request)  # type: ignore[operator]
            if response.status < 300:
                self.answered.append((request.method, request.path))
            return response

        app.middlewares.append(note)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """End as a process does that is killed: what is under way is cut off."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            await self.publisher.close()

    def token(
        self,
        execution_id: str = "e-1",
        *,
        most: int = 1 << 40,
        seconds: float = 600.0,
        to: str = "store",
        params: Mapping[str, object] | None = None,
    ) -> str:
        """A run token that opens it."""
        grant = UploadGrant(to, most, seconds, params or {})
        return TokenSigner(self.keys[0]).run(execution_id, "n-1", (), seconds=60, upload=grant)

    def read(self, receipt: str) -> Receipt:
        """What a receipt of it says."""
        return TokenVerifier(self.receipt_keys[1]).receipt(receipt)

    def parts(self) -> int:
        """How many parts were taken."""
        return sum(1 for method, _ in self.answered if method == "PUT")


@asynccontextmanager
async def a_door(root: Path, limits: StagingLimits = DEFAULTS, **others: Publisher) -> AsyncIterator[Door]:
    door = Door(root, limits, others=others)
    await door.start()
    try:
        yield door
    finally:
        await door.stop()


class Proxy:
    """Passes bytes on to a port; `cut_after` bytes of what comes in, every connection breaks, once.

    With `back` it is what goes out, to whoever has connected, that counts.
    With `hold_after`, nothing more comes in after so many bytes, until it is set higher. With `crumbs`, bytes go on in
    pieces of at most so many, both ways, as over a network whose packets are small.
    """

    def __init__(
        self, to_port: int, *, cut_after: int | None = None, crumbs: int = 256 * 1024, back: bool = False
    ) -> None:
        self.passed = 0
        self.hold_after = 1 << 62
        self.cuts = 0
        self.url = ""
        self.loop: asyncio.AbstractEventLoop
        self.ended: asyncio.Event
        self._to_port = to_port
        self._cut_after = cut_after
        self._crumbs = crumbs
        self._counts_back = back
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen on a free port; returns the address."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break every connection that there is."""
        self.cuts += 1
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        """Stop listening."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
                self._writers.add(back)
                try:
                    counts = self._counts_back
                    if counts:
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._crumbs)
                    await asyncio.gather(
                        self._pass(reader, back, count=not counts), self._pass(there, writer, count=counts)
                    )
                finally:
                    self._writers.discard(back)
                    back.close()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self._crumbs):
                if count:
                    while self.passed >= self.hold_after:  # noqa: ASYNC110 - another thread sets it
                        await asyncio.sleep(0.01)
                    self.passed += len(data)
                    if self._cut_after is not None and self.passed >= self._cut_after:
                        self._cut_after = None
                        self.cut()
                        return
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0)  # the other side, in this same loop, takes each piece by itself
        writer.close()


@contextmanager
def a_proxy_beside(to_port: int) -> Iterator[Proxy]:
    """Run a proxy in a thread of its own; `cut` it with `proxy.loop.call_soon_threadsafe(proxy.cut)`."""
    proxy = Proxy(to_port)
    started = threading.Event()

    async def run() -> None:
        proxy.url = await proxy.start()
        proxy.loop = asyncio.get_running_loop()
        proxy.ended = asyncio.Event()
        started.set()
        await proxy.ended.wait()
        await proxy.stop()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        proxy.loop.call_soon_threadsafe(proxy.ended.set)
        thread.join(10)
