"""The agent's ends of the sockets to the zygote and to each child, and what their ends mean."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skrei_plugin_wasm.wire import LENGTHS, frame, parse_head

START_SECONDS = 30.0
"""How long the zygote may take to fork its first child: importing wasmtime takes 0.1 s, when starved seconds."""
END_SECONDS = 5.0
"""How long the zygote may take to end its children and itself before it is killed, and they with it."""

ONE_PROGRAM = {
    "TOKIO_WORKER_THREADS": "1",  # of wasmtime's, which by itself starts one for each core in each child
    "MALLOC_ARENA_MAX": "1",  # of the C library, which by itself gives each thread one
    "LD_BIND_NOW": "1",  # its symbols are looked up once, in the zygote
}
"""What libraries read from the zygote's environment: a child runs one program, so it needs little beside it."""

Reply = tuple[dict[str, Any], bytes]


class ChildLost(Exception):
    """The child's socket ended before it answered: it was killed, or crashed."""


class Child(asyncio.Protocol):
    """One child process: idle, or busy with one order."""

    def __init__(self, number: int, forget: Callable[["Child"], None]) -> None:
        self._forget = forget
        self.number = number
        self.pid = 0
        self.runs = 0
        self.interrupted = False
        self.idle_since = 0.0
        self.made = asyncio.get_running_loop().time()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        """What the last order came to; ChildLost where the process went. Whoever asked may be gone by then."""
        self._transport: asyncio.WriteTransport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the child."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Gather the answer to the one order that is out."""
        self._buffer += data
        if len(self._buffer) < LENGTHS.size:
            return
        head_size, body_size = LENGTHS.unpack_from(self._buffer)
        cut = LENGTHS.size + head_size
        if len(self._buffer) < cut + body_size:
            return
        reply = parse_head(self._buffer[LENGTHS.size : cut]), bytes(self._buffer[cut : cut + body_size])
        self._buffer.clear()  # it answers once to each order, and nothing else
        if not self.answer.done():
            self.answer.set_result(reply)
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the process is gone."""
        del exc
        if not self.gone.done():
            self.gone.set_result(None)
        if not self.answer.done():
            self.answer.set_exception(ChildLost("the process that ran it is gone"))
            self.answer.exception()  # it may be that nobody asked
            self._wake()
        self._forget(self)

    @property
    def busy(self) -> bool:
        """Whether an order is out that it has not answered, as far as we have read."""
        return self.runs > 0 and not self.answer.done()

    async def ask(self, order: dict[str, Any]) -> Reply:
        """Send an order and wait for its answer. Raises ChildLost. Cancelled: the child goes on, and `answer` tells.

        What waits is a future of its own, woken in the turn in which the answer comes: `shield` would take one more.
        """
        assert self._transport is not None
        if self.gone.done():
            raise ChildLost("the process that was to run it is gone")
        loop = asyncio.get_running_loop()
        self.answer, self._waiter = loop.create_future(), loop.create_future()
        self.runs += 1
        self._transport.write(frame(order))
        try:
            await self._waiter
        finally:
            self._waiter = None
        return self.answer.result()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> None:
        """Let an idle child end by itself."""
        if self._transport is not None:
            self._transport.close()


class Zygote:
    """The one process that forks children."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.pid = process.pid
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._process = process
        self._sock = sock
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._buffer = bytearray()
        self._loop.add_reader(sock, self._readable)

    @classmethod
    def start(cls, cache: Path, cache_bytes: int) -> "Zygote":
        """Start a fresh Python: it has none of the agent's memory, variables or open files."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        config = json.dumps({"cache": str(cache), "cache_bytes": cache_bytes, "wasmtime": version("wasmtime")})
        passed = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "skrei_plugin_wasm.zygote", str(theirs.fileno()), config],
                pass_fds=(theirs.fileno(),),
                env=passed | ONE_PROGRAM,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return cls(process, ours)

    async def fork(self, number: int, theirs: socket.socket) -> int:
        """Return the process id of a new child at the other end of `theirs`. Raises OSError."""
        if self.gone.done():
            raise ConnectionError("the wasm engine's zygote is gone")
        answer: asyncio.Future[int] = self._loop.create_future()
        self._forks[number] = answer
        try:
            socket.send_fds(self._sock, [frame({"fork": number})], [theirs.fileno()])
            async with asyncio.timeout(START_SECONDS):
                return await answer
        finally:
            self._forks.pop(number, None)

    def send(self, message: dict[str, Any]) -> None:
        """Send a small message; the zygote always reads at once, so the socket never fills."""
        if not self.gone.done():
            try:
                self._sock.send(frame(message))
            except OSError:
                self.let_go()

    def let_go(self) -> None:
        """Close our end: the zygote, if it lives, ends its children and itself; see `reap`."""
        if self.gone.done():
            return
        self.gone.set_result(None)
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for answer in self._forks.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the wasm engine's zygote is gone"))

    async def reap(self) -> None:
        """Wait until it was let go, or died, and collect its exit, so that no zombie stays."""
        await self.gone
        patience = self._loop.time() + END_SECONDS
        while self._process.poll() is None:
            if self._loop.time() > patience:
                self._process.kill()
            await asyncio.sleep(0.002)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.let_go()
            return
        self._buffer += data
        while len(self._buffer) >= LENGTHS.size:
            whole = LENGTHS.size + LENGTHS.unpack_from(self._buffer)[0]
            if len(self._buffer) < whole:
                return
            message = parse_head(self._buffer[LENGTHS.size : whole])
            del self._buffer[:whole]
            answer = self._forks.get(message["forked"])
            if answer is None or answer.done():
                continue
            if "why" in message:
                answer.set_exception(OSError(f"no process can be forked: {message['why']}"))
            else:
                answer.set_result(message["pid"])


def runnable(pids: Iterable[int], enough: int) -> int:
    """Return how many of these processes compute, or would if a core were free or the disk had answered, counted up to
    `enough`; 0 where the kernel does not tell."""
    count = 0
    for pid in pids:
        if count >= enough:
            break
        try:
            text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
        except OSError:  # gone, or no Linux
            continue
        count += text.rpartition(") ")[2].startswith(("R", "D"))
    return count
