"""Which schema a database has, and which one this version works with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from skrei_domain.errors import SkreiError, Unavailable

CONNECT_SECONDS = 10.0
"""How long a database may take to let us in: one that recovers from a crash is waited for by whoever starts us."""
MIGRATIONS = Path(__file__).with_name("migrations")
WHOLE = MIGRATIONS / "whole.sql"
"""What all migrations together do to an empty database, as Alembic writes it (`make schema`)."""
LOCK_MILLISECONDS = 5_000
"""How long one statement may wait for a table: whoever came after it waits as long."""
ADVISORY_LOCK = 0x5_6B_72_65_69
"""One migration at a time; the number spells the name."""


class Behind(SkreiError):
    """The database's schema is not the one that this version works with."""

    code = "schema-behind"


@contextmanager
def reached(hint: str) -> Iterator[None]:
    """Say of a database that cannot be reached what to do about it. Raises Unavailable."""
    try:
        yield
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.InvalidAuthorizationSpecificationError,
    ) as e:
        raise Unavailable(f"the database cannot be reached: {e}", hint=hint) from e


def newest() -> str:
    """Return the revision of the newest migration: their files are numbered, each following the one before."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


async def current(connection: asyncpg.Connection) -> str | None:
    """Return the revision that a database has; None for an empty one."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


async def check(connection: asyncpg.Connection) -> None:
    """Raise Behind unless the database has the schema of this version."""
    have, want = await current(connection), newest()
    if have != want:
        raise Behind(
            f"the database has schema {have or 'none'}, this version needs {want}",
            hint="run `python -m skrei_store.migrate`",
        )


async def bring(url: str) -> bool:
    """Return whether the database at `url` has the newest schema; an empty one is given it, in one transaction.

    So has one that a later version has migrated: who goes back a release works with it. What has an older one is left
    to Alembic. Raises what asyncpg raises where it cannot be reached.
    """
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        if await current(connection) is None:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
                if await current(connection) is None:  # nobody was quicker
                    await connection.execute(WHOLE.read_text("utf-8"))
        have = await current(connection)
        return have is not None and have >= newest()  # a newer one has all of ours: migrations only add
    finally:
        await connection.close()
