"""The right to lead, as a row: who holds it, until when (by the database's clock), and in which epoch."""

from skrei_store.db import Connection

SCHEDULER = "scheduler"
"""The lease that every commit of the leader is checked against."""


async def acquire(connection: Connection, holder: str, seconds: float, *, name: str = SCHEDULER) -> int | None:
    """Take a lease that is free or has expired; return its new epoch, or None while another one holds it."""
    epoch: int | None = await connection.fetchval(
        """
        INSERT INTO leases (name, epoch, holder, expires_at)
        VALUES ($1, 1, $2, clock_timestamp() + make_interval(secs => $3))
        ON CONFLICT (name) DO UPDATE
        SET epoch = leases.epoch + 1, holder = excluded.holder, expires_at = excluded.expires_at
        WHERE leases.expires_at < clock_timestamp()
        RETURNING epoch
        """,
        name,
        holder,
        seconds,
    )
    return epoch


async def renew(connection: Connection, epoch: int, holder: str, seconds: float, *, name: str = SCHEDULER) -> bool:
    """Hold on to a lease; False means that it is somebody else's now. One that expired unnoticed is kept."""
    kept = await connection.fetchval(
        """
        UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $4)
        WHERE name = $1 AND epoch = $2 AND holder = $3
        RETURNING true
        """,
        name,
        epoch,
        holder,
        seconds,
    )
    return kept is not None


async def release(connection: Connection, epoch: int, holder: str, *, name: str = SCHEDULER) -> bool:
    """Give a lease back, so that nobody waits for it to expire. False means that it was not ours any more."""
    given = await connection.fetchval(
        """
        UPDATE leases SET expires_at = '-infinity'
        WHERE name = $1 AND epoch = $2 AND holder = $3
        RETURNING true
        """,
        name,
        epoch,
        holder,
    )
    return given is not None
