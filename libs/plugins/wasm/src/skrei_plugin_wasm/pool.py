"""The agent's side of zygote and children: who is free, when another is forked, and how one is ended.

Nothing here waits for a program: a child that does not answer is killed by the zygote, which only forks, kills and
reaps. When the zygote dies its children die with it; the next run starts another.
"""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from skrei_plugin_wasm.settings import WasmSettings
from skrei_plugin_wasm.wire import LENGTHS, frame, parse_head

START_SECONDS = 30.0
"""How long the zygote may take to fork its first child: importing wasmtime takes 0.1 s, when starved seconds."""

END_SECONDS = 5.0
"""How long the zygote may take to end its children and itself before it is killed, and they with it."""

Reply = tuple[dict[str, Any], bytes]


class PoolClosed(Exception):
    """There are no children any more, and no more will be made."""


class ChildLost(Exception):
    """The child's socket ended before it answered: it was killed, or crashed."""


class Child(asyncio.Protocol):
    """One child process: idle, or busy with one order."""

    def __init__(self, pool: "Pool", number: int) -> None:
        self._pool = pool
        self.number = number
        self.pid = 0
        self.runs = 0
        self.interrupted = False
        self.idle_since = 0.0
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None
        self._reply: asyncio.Future[Reply] | None = None
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
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the process is gone."""
        del exc
        if not self.gone.done():
            self.gone.set_result(None)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ChildLost("the process that ran it is gone"))
        self._pool.forget(self)

    async def ask(self, order: dict[str, Any]) -> Reply:
        """Send an order and wait for its answer. Raises ChildLost. Cancelled: the child is in an unknown state."""
        assert self._transport is not None
        if self.gone.done():
            raise ChildLost("the process that was to run it is gone")
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(frame(order))
        try:
            return await self._reply
        finally:
            self._reply = None
            self.runs += 1

    def release(self) -> None:
        """Let an idle child end by itself."""
        if self._transport is not None:
            self._transport.close()


class _Waiter(NamedTuple):
    since: float
    child: "asyncio.Future[Child]"


class Pool:
    """Children for runs: warm ones are reused, more are forked by demand, idle ones end."""

    def __init__(self, settings: WasmSettings, cache: Path) -> None:
        self._settings = settings
        self._cache = cache
        self._zygote: _Zygote | None = None
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._closed = False
        self._growing = False
        self._freed = 0
        self._waiting: deque[_Waiter] = deque()
        self._numbers = itertools.count(1)
        self._tidy: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_work = 0.0

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the children."""
        return tuple(child.pid for child in self._children)

    @property
    def zygote_pid(self) -> int | None:
        """The process of the zygote while there is one."""
        return None if self._zygote is None else self._zygote.pid

    async def take(self) -> Child:
        """Return a child that is the caller's until `give` or `kill`.

        Raises OSError where none can be made, PoolClosed after `close`.
        """
        if self._closed:
            raise PoolClosed
        while self._idle:
            child = self._idle.pop()
            if not child.gone.done():
                return child
        loop = asyncio.get_running_loop()
        mine = _Waiter(loop.time(), loop.create_future())
        self._waiting.append(mine)
        if not self._growing:
            self._growing = True
            self._keep(self._grow())
        try:
            return await mine.child
        except asyncio.CancelledError:
            if mine.child.done() and not mine.child.cancelled() and mine.child.exception() is None:
                self.give(mine.child.result())
            raise
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)

    def give(self, child: Child, *, rss_kib: int = 0) -> None:
        """Take a child back that answered; one that has run enough ends."""
        self._last_work = asyncio.get_running_loop().time()
        self._freed += 1
        if child.gone.done():
            return
        if child.interrupted or child.runs >= self._settings.most_runs or rss_kib > self._settings.most_rss_kib:
            child.release()
            return
        while self._waiting:
            waiter = self._waiting.popleft().child
            if not waiter.done():
                waiter.set_result(child)
                return
        child.idle_since = self._last_work
        self._idle.append(child)
        if self._tidy is None:
            self._plan_tidying()

    def interrupt(self, child: Child) -> None:
        """Let a child's program trap where it is; the child is not to be reused."""
        child.interrupted = True
        if self._zygote is not None:
            self._zygote.send({"interrupt": child.number})

    async def kill(self, child: Child) -> None:
        """End a child whatever it does; returns when it is gone."""
        if self._zygote is not None and not child.gone.done():
            self._zygote.send({"kill": child.number})
        await asyncio.shield(child.gone)

    def forget(self, child: Child) -> None:
        """Drop a child whose socket ended."""
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)

    async def close(self) -> None:
        """End children and zygote; returns when they are gone. Runs that wait or go on end by it."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.child.done():
                waiter.child.set_exception(PoolClosed())
        if self._tidy is not None:
            self._tidy.cancel()
            self._tidy = None
        if self._zygote is not None:
            self._zygote.let_go()
            self._zygote = None
        children = list(self._children)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for child in children:
            child.release()
        await asyncio.gather(*(child.gone for child in children))

    # ------------------------------------------------------------ growing

    async def _grow(self) -> None:
        """Fork children while runs wait: at once up to the warm ones, then as many again whenever none became free.

        Children that become free in time are enough: more of them would only share the same cores.
        """
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if len(self._children) >= self._settings.warm_children:
                    freed = self._freed
                    await asyncio.sleep(self._settings.grow_seconds)
                    overdue = self._waiting and loop.time() - self._waiting[0].since > self._settings.overdue_seconds
                    if self._freed != freed and not overdue:
                        continue
                room = self._settings.most_children - len(self._children)
                for _ in range(min(len(self._waiting), room, max(1, len(self._children)))):
                    if not self._waiting:
                        break
                    self.give(await self._new_child())
        except OSError as error:
            for waiter in self._waiting:
                if not waiter.child.done():
                    waiter.child.set_exception(error)
        finally:
            self._growing = False

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="wasm pool")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _new_child(self) -> Child:
        """Return a new child. Raises OSError."""
        try:
            return await self._fork()
        except ConnectionError:  # the zygote was killed a moment ago
            return await self._fork()

    async def _fork(self) -> Child:
        if self._closed:
            raise ConnectionError("the pool is closed")
        if self._zygote is None or self._zygote.gone.done():
            self._zygote = _Zygote.start(self._cache, self._settings.cache_bytes)
            self._keep(self._zygote.reap())
        zygote = self._zygote
        child = Child(self, next(self._numbers))
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
            try:
                child.pid = await zygote.fork(child.number, theirs)
            except BaseException:
                child.release()
                raise
        self._children.add(child)
        return child

    # ------------------------------------------------------------ shrinking

    def _plan_tidying(self) -> None:
        self._tidy = asyncio.get_running_loop().call_later(self._settings.idle_seconds / 2, self._end_idle)

    def _end_idle(self) -> None:
        self._tidy = None
        now = asyncio.get_running_loop().time()
        busy = len(self._idle) < len(self._children) or self._growing
        everything = not busy and now - self._last_work >= self._settings.idle_seconds
        keep = 0 if everything else self._settings.warm_children
        for child in list(self._idle):  # the longest idle ones come first
            if len(self._children) <= keep:
                break
            if now - child.idle_since >= self._settings.idle_seconds:
                self._idle.remove(child)
                self._children.discard(child)
                child.release()
        if everything and self._zygote is not None:
            self._zygote.let_go()
            self._zygote = None
            return
        self._plan_tidying()


class _Zygote:
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
    def start(cls, cache: Path, cache_bytes: int) -> "_Zygote":
        """Start a fresh Python: it has none of the agent's memory, variables or open files."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        config = json.dumps({"cache": str(cache), "cache_bytes": cache_bytes})
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "skrei_plugin_wasm.zygote", str(theirs.fileno()), config],
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ},
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
