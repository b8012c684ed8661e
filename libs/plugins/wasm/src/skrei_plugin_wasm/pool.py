"""The agent's side of zygote and children: who is free, when another is forked, and how one is ended.

Nothing here waits for a program: a child that does not answer is killed by the zygote, which only forks, kills and
reaps. When the zygote dies its children die with it; the next run starts another.
"""

import asyncio
import itertools
import os
import socket
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import NamedTuple

from skrei_plugin_wasm.process import Child, Zygote, runnable
from skrei_plugin_wasm.settings import WasmSettings

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""That we may use, which may be fewer than the machine has."""
CROWD = 4
"""Children for each core that are added while others end: what waits then waits for the cores, not for a child."""
LOOKS = 2
"""In a row that find all stuck, before more are added: one may find them in the moment between two steps."""
BEGINNING_SECONDS = 0.02
"""So long a child that computes is no sign of anything: it does for some 4 ms before its program begins, and many do at
once."""
LOOK_SECONDS = 0.0002
"""Before a look for each child that there is: a look at one takes a twentieth to a tenth of a millisecond, and looks at
some hundred should take no more than half of the agent's time."""
FORKS_AT_ONCE = 16
"""Asked of the zygote before it has answered: it forks one after another, and need not wait to be asked again."""

_ROUNDS = 2
"""Rounds of the loop, after which it has read what was there to be read."""


class PoolClosed(Exception):
    """There are no children any more, and no more will be made."""


class _Waiter(NamedTuple):
    since: float
    child: "asyncio.Future[Child]"


class Pool:
    """Children for runs: warm ones are reused, more are forked by demand, idle ones end."""

    def __init__(self, settings: WasmSettings, cache: Path) -> None:
        self._settings = settings
        self._cache = cache
        self._zygote: Zygote | None = None
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._closed = False
        self._growing = False
        self._freed = 0
        self._eased = 0.0
        self._stuck = 0
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

    @property
    def pause_seconds(self) -> float:
        """How long before the children are looked at: the more there are, the longer a look takes."""
        return max(self._settings.grow_seconds, LOOK_SECONDS * len(self._children))

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

    def give(self, child: Child, *, rss_kib: int = 0, spent: bool = False) -> None:
        """Take a child back that answered; one that has run enough, or is not worth keeping (`spent`), ends."""
        self._last_work = asyncio.get_running_loop().time()
        self._freed += 1
        if child.gone.done():
            return
        enough = child.runs >= self._settings.most_runs or rss_kib > self._settings.most_rss_kib
        if spent or enough or child.interrupted:
            child.release()
            return
        while self._waiting:
            waiter = self._waiting.popleft().child
            if not waiter.done():
                waiter.set_result(child)
                return
        child.idle_since = self._last_work
        self._idle.append(child)

    def interrupt(self, child: Child) -> None:
        """Let a child's program trap where it is; the child is not to be reused."""
        child.interrupted = True
        if self._zygote is not None:
            self._zygote.send({"interrupt": child.number})

    def end(self, child: Child) -> None:
        """Have a child killed, without waiting for that."""
        if self._zygote is not None and not child.gone.done():
            self._zygote.send({"kill": child.number})

    async def kill(self, child: Child) -> None:
        """End a child whatever it does; returns when it is gone."""
        self.end(child)
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
        """Fork children while runs wait: at once up to the warm ones, then as many as `_too_few` says."""
        self._stuck = 0
        try:
            while self._waiting:
                more = max(1, self._settings.warm_children)  # with none kept there is still none to look at
                if len(self._children) >= more:
                    more = self._too_few(turning=await self._turns())
                await self._add(min(more, self._settings.most_children - len(self._children)))
        except OSError as error:
            for waiter in self._waiting:
                if not waiter.child.done():
                    waiter.child.set_exception(error)
        finally:
            self._growing = False

    async def _add(self, most: int) -> None:
        """Fork children for what waits, `most` at most, until nothing waits any more."""
        while self._waiting and most > 0:
            batch = min(len(self._waiting), most, FORKS_AT_ONCE)
            made = await asyncio.gather(*(self._give_new() for _ in range(batch)), return_exceptions=True)
            for error in made:
                if error is not None:
                    raise error
            most -= batch

    async def _give_new(self) -> None:
        self.give(await self._new_child())

    async def _turns(self) -> bool:
        """Look on for a moment; whether a child became free, or has answered: on a busy loop that takes until it is."""
        freed = self._freed
        await asyncio.sleep(self.pause_seconds)
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        return self._freed != freed or not all(child.busy for child in self._children)

    def _too_few(self, *, turning: bool) -> int:
        """Return how many children to add: as many as are stuck in runs that leave cores idle.

        Children that become free in time (`turning`), or that keep the cores busy, are enough: more would only share
        them. Whoever waits for long all the same gets company, one at a time, and behind runs that do not end, more.
        """
        now = asyncio.get_running_loop().time()
        waited = now - max(self._waiting[0].since if self._waiting else now, self._eased)
        patient = waited <= self._settings.overdue_seconds
        if turning:
            self._stuck = 0
            if patient or len(self._children) >= CROWD * _CORES:
                return 0
            self._eased = now
            return 1
        if len(self._children) >= self._settings.most_children:
            return 0  # nor is it worth a look at some hundred of them, again and again
        stuck = len(self._children)
        if patient:
            young = {child.pid for child in self._children if now - child.made < BEGINNING_SECONDS}
            computing = runnable(set(self.pids) - young, _CORES)
            if computing >= _CORES:
                self._stuck = 0
                return 0
            stuck -= computing + runnable(young, len(young))
            self._stuck += 1
            if not stuck or self._stuck < LOOKS:
                return 0
        self._eased = now
        return stuck

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
            self._zygote = Zygote.start(self._cache, self._settings.cache_bytes)
            self._keep(self._zygote.reap())
            if self._tidy is None:
                self._plan_tidying()
        zygote = self._zygote
        child = Child(next(self._numbers), self.forget)
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
            try:
                child.pid = await zygote.fork(child.number, theirs)
            except BaseException:
                child.release()
                raise
        if not child.gone.done():  # it may have died as it was born, and was forgotten then
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
