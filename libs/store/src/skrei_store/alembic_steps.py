"""Migrations as Alembic runs them, over a connection of ours; `skrei_store.migrate` says when.

Apart from it because Alembic and SQLAlchemy take a second to import, and most starts find nothing to do.
"""

import asyncio
import io
import re
from collections.abc import Callable

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from skrei_store.schema import ADVISORY_LOCK, CONNECT_SECONDS, LOCK_MILLISECONDS, MIGRATIONS

WHOLE_HEADER = "-- All migrations, as Alembic writes them for an empty database: `make schema` makes this file.\n\n"
"""Of the file that `whole` fills."""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to a schema, the newest unless another is named."""
    asyncio.run(_locked(url, lambda connection: command.upgrade(_config(connection), revision)))


def revise(url: str, message: str) -> None:
    """Write the migration that brings what the database at `url` has to what the tables say."""

    def write(connection: Connection) -> None:
        command.upgrade(_config(connection), "head")
        number = len(list((MIGRATIONS / "versions").glob("[0-9]*.py"))) + 1
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=f"{number:04d}")

    asyncio.run(_locked(url, write))


def whole() -> str:
    """Return the statements of all migrations in their order, for a database that has nothing."""
    written = io.StringIO()
    command.upgrade(_config(output_buffer=written), "head", sql=True)
    statements = written.getvalue().removeprefix("BEGIN;\n").rstrip().removesuffix("COMMIT;")
    return WHOLE_HEADER + re.sub(r" +$", "", statements, flags=re.MULTILINE).strip() + "\n"


def _config(connection: Connection | None = None, output_buffer: io.StringIO | None = None) -> Config:
    config = Config(attributes={"connection": connection}, output_buffer=output_buffer)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


async def _locked(url: str, work: Callable[[Connection], None]) -> None:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, timeout=CONNECT_SECONDS)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
            await connection.run_sync(work)
    finally:
        await engine.dispose()
