"""What is saved of a record comes back whole, in a new timeline, at any later schema; or nothing of it does."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skrei_domain.errors import Conflict, Invalid
from skrei_domain.spec import JobSpec, SpecConfig, TaskSpec, encode
from skrei_store import alembic_steps, backup, schema
from skrei_store.admission import Admission
from skrei_store.submission import Submission
from skrei_store.submit import submit_many
from tests.support.record import connection
from tests.support.servers import Database


@pytest.fixture
async def other(database: Database) -> AsyncIterator[str]:
    """One more database with nothing in it."""
    url = await database.create()
    yield url
    await database.drop(url)


async def filled(url: str, text: str = "plain") -> None:
    """Put a job, a node and what the two need into a record."""
    spec = JobSpec(name=text, tasks=(TaskSpec(name="main", engine=SpecConfig(type="wasm")),))
    async with connection(url) as db:
        await submit_many(db, [Submission("j-1", "v-1", spec, encode(spec), actor="me")], Admission())
        await db.execute("UPDATE leases SET epoch = 7")


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def content(url: str) -> dict[str, list[Any]]:
    async with connection(url) as db:
        names = [row["relname"] for row in await db.fetch(backup._TABLES)]
        return {name: [tuple(row) for row in await db.fetch(f"SELECT * FROM {name} ORDER BY 1, 2")] for name in names}


async def test_a_record_comes_back_whole_in_a_new_timeline(postgres_url: str, other: str, tmp_path: Path) -> None:
    await filled(postgres_url, "tab\tnew\nline \\ quote' \u2028 ünï")
    before = await content(postgres_url)
    made = await backup.save(postgres_url, tmp_path / "record.tar")
    assert made["tables"]["jobs"]["rows"] == 1
    assert made["schema"] == schema.newest()
    assert (tmp_path / "record.tar").stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["record.tar"]
    told = await backup.load(other, tmp_path / "record.tar")
    after = await content(other)
    assert told["timeline"] == 2
    apart = {"cluster", "leases"}
    assert {name: rows for name, rows in after.items() if name not in apart} == {
        name: rows for name, rows in before.items() if name not in apart
    }
    async with connection(other) as db:
        assert await db.fetchval("SELECT timeline FROM cluster") == 2
        installed = await db.fetchval("SELECT installation_id::text FROM cluster")
        next_number = await db.fetchval(
            "INSERT INTO audit (at, actor, action, object, details) VALUES (now(), 'a', 'b', 'c', '{}') RETURNING id"
        )
        assert next_number == 1 + max(row[0] for row in before["audit"])
    async with connection(postgres_url) as db:
        assert installed == await db.fetchval("SELECT installation_id::text FROM cluster")


async def test_a_record_that_holds_something_is_never_written_over(
    postgres_url: str, database: Database, tmp_path: Path
) -> None:
    await filled(postgres_url)
    await backup.save(postgres_url, tmp_path / "record.tar")
    before = await content(postgres_url)
    with pytest.raises(Conflict, match="holds a record already"):
        await backup.load(postgres_url, tmp_path / "record.tar")
    assert await content(postgres_url) == before


async def test_what_an_older_version_saved_comes_back_at_the_newest_schema(
    empty_postgres_url: str, other: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(alembic_steps.upgrade, empty_postgres_url, "0012")
    async with connection(empty_postgres_url) as db:
        await db.execute("INSERT INTO audit (at, actor, action, object, details) VALUES (now(), 'a', 'b', 'c', '{}')")
    assert (await backup.save(empty_postgres_url, tmp_path / "record.tar"))["schema"] == "0012"
    await backup.load(other, tmp_path / "record.tar")
    async with connection(other) as db:
        await schema.check(db)
        assert await db.fetchval("SELECT count(*) FROM audit") == 1


async def test_what_is_damaged_foreign_or_of_a_later_version_changes_nothing(
    postgres_url: str, other: str, tmp_path: Path
) -> None:
    await filled(postgres_url)
    whole = tmp_path / "record.tar"
    await backup.save(postgres_url, whole)

    def changed(name: str, **manifest: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        backup.read(whole, folder)
        told = json.loads((folder / backup.MANIFEST).read_text()) | manifest
        (folder / backup.MANIFEST).write_text(json.dumps(told))
        if name == "damaged":
            (folder / "jobs.copy.gz").write_bytes((folder / "nodes.copy.gz").read_bytes())
        backup._pack(folder, tmp_path / f"{name}.tar")
        return tmp_path / f"{name}.tar"

    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:3_000])
    nothing = tmp_path / "nothing.tar"
    nothing.write_bytes(b"no tar")
    for path, why in (
        (changed("damaged"), "damaged: table jobs"),
        (changed("later", schema="9999"), "made by a later version"),
        (changed("format", format=2), "made by a later version"),
        (cut, "no backup of a record"),
        (nothing, "no backup of a record"),
        (tmp_path / "absent.tar", "no backup of a record"),
    ):
        with pytest.raises(Invalid, match=why):
            await backup.load(other, path)
    async with connection(other) as db:
        assert await schema.current(db) is None


async def test_a_record_that_came_back_otherwise_is_given_a_new_timeline_and_nobody_leads_it(postgres_url: str) -> None:
    await filled(postgres_url)
    assert await backup.reopen(postgres_url) == 2
    async with connection(postgres_url) as db:
        row = await db.fetchrow("SELECT epoch, expires_at <= now() AS over FROM leases")
        assert row is None or (row["epoch"], row["over"]) == (8, True)


async def test_an_empty_database_has_nothing_to_save(empty_postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no record"):
        await backup.save(empty_postgres_url, tmp_path / "record.tar")
    assert names_in(tmp_path) == []


async def test_a_place_that_cannot_be_written_is_named(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be written"):
        await backup.save(postgres_url, tmp_path / "no" / "record.tar")
