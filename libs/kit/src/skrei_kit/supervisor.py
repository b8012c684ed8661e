"""Loops that cannot die quietly, stops that end, and processes that do not outlive their parent."""

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from skrei_domain.clock import Clock
from skrei_kit.cancelling import ended
from skrei_kit.observability import get_logger

log = get_logger()

T = TypeVar("T")
Step: TypeAlias = Callable[[], Awaitable[object]]

PARENT_PIPE = "SKREI_PARENT_PIPE"
"""Names an inherited pipe whose end of file means that the parent is gone (where the kernel cannot tell us)."""
ORPHAN_SECONDS = 4.0
"""How long a process whose parent died may take to stop: what it talks to is gone too, and a crash is survived."""
GATE = "SKREI_START_GATE"
"""Names an inherited pipe whose end of file means that all we need is there."""
MOST_FILES = 65_536
"""Descriptors that a process asks to be allowed: sixty times what the busiest has, and less than any kernel refuses."""
COLLECTED_AFTER = 20_000
"""How many more objects than were given back are made before Python looks for cycles among them: some tens of requests.
By itself it looks after 700, within each: an eighth of what a job of a burst costs. A look takes 1 ms."""
_PR_SET_PDEATHSIG = 1


class _Stopped(Exception):
    """Ends a task group from inside when a stop was asked for."""


async def every(interval: timedelta, step: Step, *, name: str, clock: Clock, give_up_after: int = 10) -> None:
    """Run `step` now and then once per `interval`, until cancelled.

    A failing step is logged and tried again; `give_up_after` failures in a row end the loop with the last error,
    which takes the service down so that its supervisor restarts it.
    """
    failures = 0
    while True:
        try:
            await step()
        except Exception:
            failures += 1
            log.exception("loop_step_failed", loop=name, failures=failures)
            if failures >= give_up_after:
                raise
        else:
            failures = 0
        await clock.sleep(interval)


async def run_until_stopped(stop: asyncio.Event, **loops: Awaitable[None]) -> None:
    """Run named loops side by side until `stop` is set, then cancel and await them all.

    A loop that ends, with or without an error, ends the others too and surfaces: nothing goes missing quietly.
    """

    async def watch() -> None:
        await stop.wait()
        raise _Stopped

    async def named(name: str, loop: Awaitable[None]) -> None:
        running = asyncio.ensure_future(loop)
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            await ended(running)
            if not running.cancelled():
                running.result()  # what went wrong in its end surfaces too
            raise
        if running.cancelled():  # by whom it waited for: a task group would take that for an end as any other
            raise RuntimeError(f"the loop {name!r} was cancelled, and nobody has asked for that")
        running.result()
        raise RuntimeError(f"the loop {name!r} returned; it should run until it is stopped")

    try:
        async with asyncio.TaskGroup() as group:
            for name, loop in loops.items():
                group.create_task(named(name, loop), name=name)
            group.create_task(watch(), name="stop-watch")
    except* _Stopped:
        log.debug("service_stopped")


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what `work` returns, or None when `stop` is set first: then `work` is cancelled and has ended."""
    working = asyncio.create_task(work, name="unless-stopped")
    stopping = asyncio.create_task(stop.wait(), name="stop-watch")
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(stopping)
        await ended(working)
    return None if working.cancelled() else working.result()


def open_as_many_files_as_allowed() -> None:
    """Raise the soft limit of descriptors as far as the hard one lets it go: the usual 1,024 is for who uses select().

    Idempotent; never lowers it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # not on every platform's loop
            loop.add_signal_handler(number, stop.set)


def die_with_parent() -> None:
    """Arrange that this process ends when its parent does. Call it first thing in a child's `main`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1 and os.environ.get(PARENT_PIPE):
            os.kill(os.getpid(), signal.SIGTERM)  # it died before we asked
    fd = os.environ.get(PARENT_PIPE)
    if fd is not None:
        threading.Thread(target=_end_with_pipe, args=(int(fd),), daemon=True, name="parent-watch").start()


def await_start() -> None:
    """Wait, with everything imported, until our supervisor says that the servers are up; nobody else makes us wait."""
    gc.freeze()  # what was imported stays: no collection looks through it again
    gc.set_threshold(COLLECTED_AFTER)
    fd = os.environ.pop(GATE, None)
    if fd is not None:
        os.read(int(fd), 1)
        os.close(int(fd))


def _end_with_pipe(fd: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(fd, 64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)  # it waits for something that died with its parent


class Watchdog:
    """Says where the event loop is when something holds it longer than `limit_seconds`."""

    def __init__(self, limit_seconds: float = 1.0) -> None:
        self._limit = limit_seconds
        self._seen = time.monotonic()
        self._ended = threading.Event()

    async def run(self) -> None:
        """Beat until cancelled."""
        thread = threading.Thread(target=self._watch, daemon=True, name="loop-watchdog")
        thread.start()
        try:
            while True:
                self._seen = time.monotonic()
                await asyncio.sleep(self._limit / 4)
        finally:
            self._ended.set()

    def _watch(self) -> None:
        told = 0.0
        while not self._ended.wait(self._limit / 2):
            seen = self._seen
            if time.monotonic() - seen > self._limit and seen != told:
                told = seen
                sys.stderr.write("event loop blocked; stacks follow\n")
                faulthandler.dump_traceback(file=sys.stderr)
