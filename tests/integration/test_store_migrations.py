"""Migrations make exactly what the tables say, once, whoever starts them, and never wait for long."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint
from sqlalchemy.ext.asyncio import create_async_engine

from skrei_domain.errors import Unavailable
from skrei_store import alembic_steps, migrate, schema
from skrei_store.tables import Base
from skrei_store.work import HELD
from tests.support.record import blocked
from tests.support.record import connection as connected
from tests.support.servers import Database


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as opened:
        yield opened


def run(url: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "skrei_store.migrate", "--database-url", url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def test_migrations_and_tables_do_not_drift_apart(postgres_url: str) -> None:
    async def open_link() -> asyncpg.Connection:
        return await asyncpg.connect(postgres_url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=open_link)
    try:
        async with engine.connect() as link:
            differences = await link.run_sync(
                lambda sync: compare_metadata(
                    MigrationContext.configure(sync, opts={"compare_type": True, "compare_server_default": True}),
                    Base.metadata,
                )
            )
    finally:
        await engine.dispose()
    assert differences == []


async def test_conditions_collations_and_settings_do_not_drift_apart(db: asyncpg.Connection) -> None:
    """What the comparison of tables does not look at."""
    for table in Base.metadata.sorted_tables:
        checks = {
            row["conname"]
            for row in await db.fetch(
                "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = $1::regclass", table.name
            )
        }
        assert checks == {str(each.name) for each in table.constraints if isinstance(each, CheckConstraint)}
        options = await db.fetchval("SELECT reloptions FROM pg_class WHERE oid = $1::regclass", table.name)
        wanted = table.dialect_options["postgresql"]["with"] or {}
        assert dict(option.split("=") for option in options or []) == wanted
        for column in table.columns:
            collation = await db.fetchval(
                "SELECT collname FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation"
                " WHERE attrelid = $1::regclass AND attname = $2",
                *(table.name, column.name),
            )
            assert collation == (getattr(column.type, "collation", None) or collation), column
        for index in table.indexes:
            condition = index.dialect_options["postgresql"]["where"]
            made = await db.fetchval(
                "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = $1::regclass", index.name
            )
            assert words(str(condition)) == words(made or "None"), index.name


def words(condition: str) -> set[str]:
    """The columns and values in a condition, however Postgres writes it."""
    return set(re.findall(r"[a-zA-Z_]+", condition)) - {"IN", "ANY", "ARRAY", "text"}


async def test_the_words_of_the_leaders_queries_are_those_of_their_index() -> None:
    index = next(i for i in Base.metadata.tables["executions"].indexes if i.name == "ix_executions_held")
    assert f"({index.dialect_options['postgresql']['where']})" == HELD


DESCRIBED = """
    SELECT 'column', attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod), attnotnull::text,
        attstorage::text, coalesce(attcollation::regcollation::text, ''), coalesce(pg_get_expr(adbin, adrelid), '')
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), '', '', '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'index', tablename::text, indexname::text, indexdef, '', '', '', '' FROM pg_indexes
    WHERE schemaname = 'public'
    UNION ALL SELECT 'relation', relname::text, relkind::text, coalesce(reloptions::text, ''), '', '', '', ''
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3
"""


async def test_a_database_made_in_one_go_is_one_that_took_every_step(database: Database) -> None:
    urls = [await database.create(), await database.create()]
    await asyncio.to_thread(migrate.upgrade, urls[0])
    await asyncio.to_thread(alembic_steps.upgrade, urls[1])
    described = []
    for url in urls:
        async with connected(url) as db:
            described.append(await db.fetch(DESCRIBED))
            assert await db.fetchval("SELECT count(*) FROM cluster") == 1
            await schema.check(db)
        await database.drop(url)
    assert len(described[0]) > 200
    assert described[0] == described[1]


async def test_an_older_database_takes_the_steps_that_it_has_not(empty_postgres_url: str) -> None:
    async with connected(empty_postgres_url) as db:
        await db.execute(schema.WHOLE.read_text().partition("-- Running upgrade 0002")[0])
        assert await schema.current(db) == "0002"
        await asyncio.to_thread(migrate.upgrade, empty_postgres_url)
        await schema.check(db)


async def test_migrating_again_and_side_by_side_changes_nothing(empty_postgres_url: str) -> None:
    runs = [run(empty_postgres_url) for _ in range(3)]
    outputs = [each.communicate(timeout=60)[0] for each in runs]
    assert [each.returncode for each in runs] == [0, 0, 0], outputs
    async with connected(empty_postgres_url) as db:
        assert await db.fetchval("SELECT count(*) FROM cluster") == 1
        await schema.check(db)


async def test_a_migration_waits_for_another_one(empty_postgres_url: str) -> None:
    async with connected(empty_postgres_url) as holder, connected(empty_postgres_url) as watcher:
        await holder.execute(f"SELECT pg_advisory_lock({schema.ADVISORY_LOCK})")
        waiting = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_postgres_url))
        await blocked(watcher)
        with pytest.raises(schema.Behind, match="schema none"):
            await schema.check(holder)
        await holder.execute(f"SELECT pg_advisory_unlock({schema.ADVISORY_LOCK})")
        await waiting
        await schema.check(holder)


async def test_a_database_that_is_away_is_said_to_be_away() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await asyncio.to_thread(migrate.upgrade, "postgresql://nobody@127.0.0.1:1/none")


async def test_the_command_needs_a_database() -> None:
    command = [sys.executable, "-m", "skrei_store.migrate"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env={"PATH": "/usr/bin"})
    assert done.returncode == 2
    assert "SKREI_DATABASE_URL" in done.stderr


def test_the_newest_migration_is_known_without_alembic() -> None:
    assert schema.newest() == ScriptDirectory(str(schema.MIGRATIONS)).get_current_head()


def test_every_migration_can_be_read_back_in_order() -> None:
    files = sorted(path.name for path in (Path(migrate.__file__).parent / "migrations/versions").glob("[0-9]*.py"))
    assert [name[:4] for name in files] == [f"{number:04d}" for number in range(1, len(files) + 1)]
