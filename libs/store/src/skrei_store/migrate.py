"""Bring a database to the newest schema: `python -m skrei_store.migrate --database-url postgresql://…`.

Safe to run from many processes at once (an advisory lock lets one through), and again. A migration that cannot get
its lock within seconds gives up instead of stopping everybody behind it. `revision "what it does"` writes the next
one from the difference between tables and migrations.
"""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from skrei_domain.errors import SkreiError, Unavailable

CONNECT_SECONDS = 10.0
"""How long a database may take to let us in: one that recovers from a crash is waited for by whoever starts us."""
LOCK_MILLISECONDS = 5_000
"""How long one statement may wait for a table: whoever came after it waits as long."""
ADVISORY_LOCK = 0x5_6B_72_65_69
"""One migration at a time; the number spells the name."""
MIGRATIONS = Path(__file__).with_name("migrations")


class Behind(SkreiError):
    """The database's schema is not the one that this version works with."""

    code = "schema-behind"


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest schema. Raises Unavailable where it cannot be reached or locked."""
    with _reached():
        if asyncio.run(_is_newest(url)):
            return
        from skrei_store import alembic_steps

        alembic_steps.upgrade(url)


def revise(url: str, message: str) -> None:
    """Write the migration that brings what the database at `url` has to what the tables say."""
    from skrei_store import alembic_steps

    with _reached():
        alembic_steps.revise(url, message)


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


async def _is_newest(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        return await current(connection) == newest()
    finally:
        await connection.close()


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.InvalidAuthorizationSpecificationError,
    ) as e:
        raise Unavailable(f"the database cannot be reached: {e}", hint="check --database-url") from e


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="skrei_store.migrate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database-url", default=os.environ.get("SKREI_DATABASE_URL"), help="or SKREI_DATABASE_URL")
    parser.add_argument("action", nargs="?", choices=("upgrade", "revision"), default="upgrade")
    parser.add_argument("message", nargs="?", default="")
    given = parser.parse_args()
    if not given.database_url:
        parser.error("which database? Give --database-url or set SKREI_DATABASE_URL")
    if given.action == "revision" and not re.search(r"\w", given.message):
        parser.error("what does the revision do? Give a message")
    try:
        if given.action == "upgrade":
            upgrade(given.database_url)
        else:
            revise(given.database_url, given.message)
    except SkreiError as error:
        sys.exit(f"{error.message}; {error.hint}")


if __name__ == "__main__":
    main()
