"""The right to lead: a lease in Postgres, kept by its own thread on its own connection.

A scheduler whose event loop is busy still renews, and one whose process is frozen does not. Whoever lost the lease
learns it here; whoever did not learn it (frozen) is refused by the record at its next commit. A loop that stands still,
in a call that does not return, would lead for ever and do nothing: its process is ended.
"""

import asyncio
import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

import asyncpg

from skrei_kit.observability import get_logger
from skrei_kit.supervisor import unless_stopped
from skrei_store import leases
from skrei_store.db import AWAY, connect

log = get_logger()

STOP_SECONDS = 5.0  # a release takes a millisecond; a Postgres that hangs must not hold the stop
MOST_UNANSWERED = 60  # renewals, of one a second, that a loop lets pass without a turn: it is held for milliseconds
TRY_SECONDS = 0.5  # a standby looks this often: with the lease's 3 s a takeover ends within 4


def end_process() -> None:
    """End this process, telling where it stands: whoever keeps it starts it anew, and another may lead at once."""
    log.error("loop_stands_still", renewals=MOST_UNANSWERED)
    faulthandler.dump_traceback(file=sys.stderr)
    os._exit(1)  # an exception ends a thread, and a signal is heard by the loop


class LeaseKeeper:
    """Acquires the lease when it is free, renews it, and calls back in the caller's loop on every change.

    `changed(epoch)` at a takeover, `changed(None)` when it is lost or cannot be renewed in time. `stuck` is called in
    the keeper's thread where the caller's loop takes no turn any more.
    """

    def __init__(
        self,
        database_url: str,
        holder: str,
        seconds: float,
        changed: Callable[[int | None], None],
        *,
        stuck: Callable[[], None] = end_process,
    ) -> None:
        self._url = database_url
        self._holder = holder
        self._seconds = seconds
        self._changed = changed
        self._stuck = stuck
        self._unanswered = 0  # renewals since the loop took its last turn: written there, and here
        self._loop = asyncio.get_running_loop()
        self._inner = asyncio.new_event_loop()  # the thread's; what follows is touched in it alone
        self._ending = asyncio.Event()
        self._wake = asyncio.Event()
        self._epoch: int | None = None
        self._given_up = False
        self._heard = time.monotonic()  # when the record answered last: one word, written there and read here
        self._thread = threading.Thread(target=self._main, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    async def stop(self) -> None:
        """Release the lease and end the thread."""
        self._in_thread(self._end)
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def give_up(self, epoch: int) -> None:
        """Stop leading this epoch (a commit was refused, or its outcome is unknown); try again as a new one."""
        self._in_thread(self._yield, epoch)

    def wrong(self) -> str:
        """Return what is wrong with the record, as this thread finds it; empty where it answers."""
        silent = time.monotonic() - self._heard
        return "" if silent < self._seconds + TRY_SECONDS else f"the record has not answered for {silent:.0f} s"

    def _in_thread(self, step: Callable[..., None], *args: int) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed: the thread has ended
            self._inner.call_soon_threadsafe(step, *args)

    def _end(self) -> None:
        self._ending.set()
        self._wake.set()

    def _yield(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._given_up = True
            self._wake.set()

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._inner) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        while not self._ending.is_set():
            connection = None
            try:
                connection = await unless_stopped(self._ending, connect(self._url, application_name="skrei-lease"))
                if connection is not None:
                    await self._follow(connection)
            except AWAY as error:
                log.debug("lease_unreachable", error=str(error))
                await self._nap(TRY_SECONDS)
            except Exception:
                log.exception("lease_failed")
                await self._nap(TRY_SECONDS)
            finally:
                if connection is not None:
                    await _close(connection)

    async def _follow(self, connection: asyncpg.Connection) -> None:
        while not self._ending.is_set():
            asked = time.monotonic()
            epoch = await leases.acquire(connection, self._holder, self._seconds)
            self._heard = time.monotonic()
            if epoch is None:
                await self._nap(TRY_SECONDS)
                continue
            self._epoch = epoch
            self._tell(epoch)
            try:
                await self._hold(connection, epoch, asked)
            finally:
                self._epoch, self._given_up = None, False
                self._tell(None)

    async def _hold(self, connection: asyncpg.Connection, epoch: int, since: float) -> None:
        """Renew until the lease is lost, or given up, or we are to stop."""
        renewed = since
        while True:
            await self._nap(min(1.0, self._seconds / 3))
            if self._ending.is_set() or self._given_up:
                break
            asked = time.monotonic()
            self._look_at_loop()
            if asked - renewed > self._seconds:
                log.warning("lease_expired_here", epoch=epoch, late_seconds=round(asked - renewed, 1))
                return
            async with asyncio.timeout(self._seconds):
                kept = await leases.renew(connection, epoch, self._holder, self._seconds)
            self._heard = time.monotonic()
            if not kept:
                log.warning("lease_taken", epoch=epoch)
                return
            renewed = asked
        await leases.release(connection, epoch, self._holder)

    async def _nap(self, seconds: float) -> None:
        """Sleep until it is time, or until there is something to look at."""
        if not self._ending.is_set() and not self._given_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            self._wake.clear()

    def _look_at_loop(self) -> None:
        self._unanswered += 1
        if self._unanswered > MOST_UNANSWERED:
            self._stuck()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._unanswered = 0

    def _tell(self, epoch: int | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed, epoch)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=1)
    except (*AWAY, asyncpg.PostgresError):
        connection.terminate()
