"""Connections to the record: how sessions are set up, and nothing about what is asked through them.

Every session avoids plans that a stale statistic could choose: scans of whole tables, and compiling a query because
a discouraged plan looks expensive. The leader's writing session goes further: see `WRITER`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from skrei_store import arrays
from skrei_store.ready import ReadyPool

arrays.seen_by_type()

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""A connection, taken from a pool or not."""

AWAY: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it is starting or shutting down
    asyncpg.InsufficientResourcesError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,  # the link is closed; as a ValueError it is an argument that cannot be encoded: see `away`
)
"""What may mean that the record cannot be reached for now; what was under way may have been stored or not."""

CONNECT_SECONDS = 5.0
"""How long connecting may take: a Postgres that starts answers within it, or the caller tries again."""
COMMAND_SECONDS = 30.0
"""The client's own limit for one statement of a reader: that of one HTTP request."""
COMMIT_SECONDS = 10.0
"""The client's own limit for one statement of the leader: long past its lease, so only a dead link gets here."""
STATEMENT_CACHE = 256
"""Prepared statements a connection keeps: more than there are in this package."""

SESSION = {
    "jit": "off",
    "enable_seqscan": "off",  # every statement has an index, and a table that was small when it was planned has grown
    "enable_mergejoin": "off",  # it would read two whole indexes in order, for the sake of a few rows
    "plan_cache_mode": "force_generic_plan",  # planning for every new value costs more than most statements here
    "timezone": "UTC",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""What every session sets. A client that vanished is noticed within about ten seconds, and its locks go."""

READER = {**SESSION, "statement_timeout": "20000", "idle_in_transaction_session_timeout": "5000"}

LEADER_READER = {**SESSION, "statement_timeout": "60000", "idle_in_transaction_session_timeout": "5000"}

WRITER = {
    **SESSION,
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "1000",
    # A bulk update is a hash join of the arrays with lookups by primary key (`id = ANY`), and nothing else: with
    # stale statistics the planner would rather compare every array element with every row.
    "enable_nestloop": "off",
    "enable_indexonlyscan": "off",  # else an index that holds the column is read from end to end, once it was small
}
"""What the leader's writing session sets beside: a frozen leader's locks go after a second, so a takeover can pass."""


async def connect(
    url: str, *, application_name: str = "skrei", settings: dict[str, str] = READER, seconds: float = COMMAND_SECONDS
) -> asyncpg.Connection:
    """Return one connection. Raises what asyncpg raises: OSError, asyncpg.PostgresError, TimeoutError."""
    connection = await asyncpg.connect(url, **_options(application_name, settings, seconds))
    arrays.known_to(connection)
    return connection


def away(error: Exception) -> bool:
    """Whether an error means that the record cannot be reached for now, not that it refused what it was given."""
    return isinstance(error, AWAY) and not isinstance(error, ValueError)


@asynccontextmanager
async def open_pool(
    url: str,
    *,
    application_name: str = "skrei",
    size: int = 8,
    settings: dict[str, str] = READER,
    seconds: float = COMMAND_SECONDS,
) -> AsyncIterator[asyncpg.Pool]:
    """A pool that connects when somebody asks, and hands connections back without a round trip to reset them."""
    pool = ReadyPool(
        url,
        min_size=0,
        max_size=size,
        max_queries=1_000_000_000,  # prepared statements are the point of a connection: it is never renewed by count
        max_inactive_connection_lifetime=0,
        init=_told,
        reset=_nothing_to_reset,
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        **_options(application_name, settings, seconds),
    )
    async with pool:
        yield pool


class LeaderPool:
    """The leader's connections: one that writes, and a few that read. Opened when they are first used."""

    def __init__(self, url: str, reads: asyncpg.Pool) -> None:
        self.reads = reads
        self._url = url
        self._writer: asyncpg.Connection | None = None
        self._opening = asyncio.Lock()

    async def writer(self) -> asyncpg.Connection:
        """Return the connection that commits. It is not opened again after it broke: that ends the leadership."""
        async with self._opening:
            if self._writer is None:
                self._writer = await connect(
                    self._url, application_name="skrei-leader", settings=WRITER, seconds=COMMIT_SECONDS
                )
        return self._writer

    async def close(self) -> None:
        """End the writer at once: what it had not committed is rolled back."""
        if self._writer is not None:
            self._writer.terminate()


@asynccontextmanager
async def leader_pool(url: str) -> AsyncIterator[LeaderPool]:
    """The connections of one epoch of leadership."""
    async with open_pool(url, application_name="skrei-leader-reads", size=2, settings=LEADER_READER) as reads:
        pool = LeaderPool(url, reads)
        try:
            yield pool
        finally:
            await pool.close()
            reads.terminate()


async def _told(connection: asyncpg.Connection) -> None:
    """What a pool's new connection is told before anyone asks through it."""
    arrays.known_to(connection)


async def _nothing_to_reset(connection: object) -> None:
    """Nobody changes a session of ours: sets nothing, listens to nothing, leaves no cursor."""


def _options(application_name: str, settings: dict[str, str], seconds: float) -> dict[str, object]:
    return {
        "timeout": CONNECT_SECONDS,
        "command_timeout": seconds,
        "statement_cache_size": STATEMENT_CACHE,
        "max_cached_statement_lifetime": 0,
        "server_settings": {"application_name": application_name, **settings},
    }
