"""The right to lead: a lease in Postgres, kept by its own thread on its own connection.

A scheduler whose event loop is busy still renews, and one whose process is frozen does not. Whoever lost the lease
learns it here; whoever did not learn it (frozen) is refused by the record at its next commit.
"""

import asyncio
import threading
import time
from collections.abc import Callable

import asyncpg

from skrei_kit.observability import get_logger
from skrei_store import leases
from skrei_store.db import connect

log = get_logger()

TRY_SECONDS = 0.5  # a standby looks this often: with the lease's 3 s a takeover ends within 4


class LeaseKeeper:
    """Acquires the lease when it is free, renews it, and calls back in the caller's loop on every change.

    `changed(epoch)` at a takeover, `changed(None)` when it is lost or cannot be renewed in time.
    """

    def __init__(self, database_url: str, holder: str, seconds: float, changed: Callable[[int | None], None]) -> None:
        self._url = database_url
        self._holder = holder
        self._seconds = seconds
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._yield = threading.Event()
        self._thread = threading.Thread(target=self._main, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    async def stop(self) -> None:
        """Release the lease and end the thread."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 5)

    def give_up(self) -> None:
        """Stop leading this epoch (a commit was refused, or its outcome is unknown); try again as a new one."""
        self._yield.set()

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        while not self._stop.is_set():
            connection = None
            try:
                connection = await connect(self._url, application_name="skrei-lease")
                await self._follow(connection)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.debug("lease_unreachable", error=str(error))
                await asyncio.sleep(TRY_SECONDS)
            finally:
                if connection is not None:
                    await _close(connection)

    async def _follow(self, connection: asyncpg.Connection) -> None:
        while not self._stop.is_set():
            asked = time.monotonic()
            epoch = await leases.acquire(connection, self._holder, self._seconds)
            if epoch is None:
                await asyncio.sleep(TRY_SECONDS)
                continue
            self._yield.clear()
            self._tell(epoch)
            try:
                await self._hold(connection, epoch, asked)
            finally:
                self._tell(None)

    async def _hold(self, connection: asyncpg.Connection, epoch: int, since: float) -> None:
        """Renew until the lease is lost, or given up, or we are to stop."""
        renewed = since
        while not self._stop.is_set() and not self._yield.is_set():
            await asyncio.sleep(min(1.0, self._seconds / 3))
            asked = time.monotonic()
            if asked - renewed > self._seconds:
                log.warning("lease_expired_here", epoch=epoch, late_seconds=round(asked - renewed, 1))
                return
            async with asyncio.timeout(self._seconds):
                kept = await leases.renew(connection, epoch, self._holder, self._seconds)
            if not kept:
                log.warning("lease_taken", epoch=epoch)
                return
            renewed = asked
        await leases.release(connection, epoch, self._holder)

    def _tell(self, epoch: int | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed, epoch)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        connection.terminate()
