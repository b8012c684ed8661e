"""Which schema a database has, and which one this version works with."""

from pathlib import Path

import asyncpg

from skrei_domain.errors import SkreiError

CONNECT_SECONDS = 10.0
"""How long a database may take to let us in: one that recovers from a crash is waited for by whoever starts us."""
MIGRATIONS = Path(__file__).with_name("migrations")


class Behind(SkreiError):
    """The database's schema is not the one that this version works with."""

    code = "schema-behind"


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


async def is_newest(url: str) -> bool:
    """Return whether the database at `url` has it. Raises what asyncpg raises where it cannot be reached."""
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        return await current(connection) == newest()
    finally:
        await connection.close()
