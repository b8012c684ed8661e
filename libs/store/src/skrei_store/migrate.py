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
from collections.abc import Callable
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from skrei_domain.errors import SkreiError, Unavailable

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
    _run(url, lambda connection: command.upgrade(_config(connection), "head"))


def revise(url: str, message: str) -> None:
    """Write the migration that brings what the database at `url` has to what the tables say."""

    def write(connection: Connection) -> None:
        command.upgrade(_config(connection), "head")
        number = len(list((MIGRATIONS / "versions").glob("[0-9]*.py"))) + 1
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=f"{number:04d}")

    _run(url, write)


async def check(connection: asyncpg.Connection) -> None:
    """Raise Behind unless the database has the schema of this version."""
    have = await connection.fetchval("SELECT to_regclass('alembic_version')")
    if have is not None:
        have = await connection.fetchval("SELECT version_num FROM alembic_version")
    want = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if have != want:
        raise Behind(
            f"the database has schema {have or 'none'}, this version needs {want}",
            hint="run `python -m skrei_store.migrate`",
        )


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _run(url: str, work: Callable[[Connection], None]) -> None:
    try:
        asyncio.run(_locked(url, work))
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.InvalidAuthorizationSpecificationError,
    ) as e:
        raise Unavailable(f"the database cannot be reached: {e}", hint="check --database-url") from e


async def _locked(url: str, work: Callable[[Connection], None]) -> None:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, timeout=10)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
            await connection.run_sync(work)
    finally:
        await engine.dispose()


def current(connection: Connection) -> str | None:
    """Return the revision that a database has."""
    return MigrationContext.configure(connection).get_current_revision()


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
