"""A pool whose connections stay at hand between two statements.

asyncpg's own pool makes a proxy, a future and a task for each statement, to reset a session that may have been changed:
as much as the statement itself costs its caller. Ours never changes a session, so a connection that has answered is
kept for whoever asks next, and goes back to the pool where somebody waits for one, or where anything went wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeAlias

import asyncpg

Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy


class ReadyPool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg tells no types
    """What `db.open_pool` makes: asked by `fetch`, `fetchrow`, `fetchval`, `execute`, and `async with acquire()`."""

    def __init__(self, *where: Any, **options: Any) -> None:
        super().__init__(*where, **options)
        self._at_hand: list[Connection] = []
        self._asking = 0

    def acquire(self, *, timeout: float | None = None) -> "Turn":
        """Return a context that yields a connection; it waits for one for so many seconds at most."""
        return Turn(self, timeout)

    async def fetch(self, query: str, *args: object, **how: Any) -> Any:
        """Return the rows of one statement."""
        return await self._ask(lambda connection: connection.fetch(query, *args, **how))

    async def fetchrow(self, query: str, *args: object, **how: Any) -> Any:
        """Return the first row of one statement."""
        return await self._ask(lambda connection: connection.fetchrow(query, *args, **how))

    async def fetchval(self, query: str, *args: object, **how: Any) -> Any:
        """Return the first value of one statement."""
        return await self._ask(lambda connection: connection.fetchval(query, *args, **how))

    async def execute(self, query: str, *args: object, **how: Any) -> Any:
        """Run one statement."""
        return await self._ask(lambda connection: connection.execute(query, *args, **how))

    async def close(self) -> None:
        """Close all connections, once those in use are back."""
        self._asking += 1  # for all of them, and for good: none that comes back now stays at hand
        while self._at_hand:
            await super().release(self._at_hand.pop())
        await super().close()

    async def take(self) -> Connection:
        """Return a connection; it is to be given back."""
        while self._at_hand:
            connection = self._at_hand.pop()
            if _is_open(connection):
                return connection
            await super().release(connection)  # the record went away: the pool connects again
        self._asking += 1
        try:
            return await super().acquire()
        finally:
            self._asking -= 1

    async def give(self, connection: Connection, *, sound: bool) -> None:
        """Take a connection back; one of which all is known to be well stays at hand, unless somebody waits."""
        if sound and not self._asking and _is_open(connection) and not connection.is_in_transaction():
            self._at_hand.append(connection)
        else:
            await super().release(connection)

    async def _ask(self, ask: Callable[[Connection], Awaitable[Any]]) -> Any:
        connection = await self.take()
        try:
            answer = await ask(connection)
        except BaseException:
            await self.give(connection, sound=False)
            raise
        if self._asking:
            await super().release(connection)
        else:
            self._at_hand.append(connection)  # one statement leaves nothing behind; `take` finds out what is closed
        return answer


def _is_open(connection: Connection) -> bool:
    """Whether a connection can be asked; of one that the record closed the pool has taken the rest back already."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


class Turn:
    """A connection for the length of a block."""

    def __init__(self, pool: ReadyPool, seconds: float | None) -> None:
        self._pool = pool
        self._seconds = seconds
        self._connection: Connection

    async def __aenter__(self) -> Connection:
        async with asyncio.timeout(self._seconds):
            self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.give(self._connection, sound=kind is None)
