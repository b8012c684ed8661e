"""Migrations as Alembic runs them, over a connection of ours; `skrei_store.migrate` says when.

Apart from it because Alembic and SQLAlchemy take a second to import, and most starts find nothing to do.
"""

import asyncio
from collections.abc import Callable

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from skrei_store.schema import CONNECT_SECONDS, MIGRATIONS

LOCK_MILLISECONDS = 5_000
"""How long one statement may wait for a table: whoever came after it waits as long."""
ADVISORY_LOCK = 0x5_6B_72_65_69
"""One migration at a time; the number spells the name."""


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest schema."""
    asyncio.run(_locked(url, lambda connection: command.upgrade(_config(connection), "head")))


def revise(url: str, message: str) -> None:
    """Write the migration that brings what the database at `url` has to what the tables say."""

    def write(connection: Connection) -> None:
        command.upgrade(_config(connection), "head")
        number = len(list((MIGRATIONS / "versions").glob("[0-9]*.py"))) + 1
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=f"{number:04d}")

    asyncio.run(_locked(url, write))


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
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
