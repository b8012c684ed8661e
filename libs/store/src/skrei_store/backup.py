"""The record in one file, and back: `python -m skrei_store.backup save|load FILE`, and `reopen` for other ways back.

The database is named by SKREI_DATABASE_URL, which may hold a password and is no argument. What is saved is one moment,
table by table in Postgres' own text form, with the schema that it has: any later version of Skrei, and any Postgres
from 14 on, takes it back. No other program is needed for it.

A record that was brought back opens a new timeline: nodes may hold what is newer, and say so with their next hello.
"""

import argparse
import asyncio
import gzip
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from skrei_domain.errors import Conflict, Invalid, SkreiError, Unavailable
from skrei_store import schema

MANIFEST = "manifest.json"
FORMAT = 1
"""Of the file; a later one is refused."""
LEVEL = 6
"""Of compression: half the time of the best, for a few percent more."""

_TABLES = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version' ORDER BY relname
"""
_COLUMNS = """
    SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_SEQUENCES = """
    SELECT t.relname AS of_table, a.attname AS of_column, s.relname AS sequence
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_class t ON t.oid = d.refobjid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND t.relnamespace = 'public'::regnamespace
"""
_REOPEN = "UPDATE cluster SET timeline = timeline + 1, facts_created = '', facts_sequence = 0 RETURNING timeline"
_DEPOSE = "UPDATE leases SET epoch = epoch + 1, expires_at = now()"
"""Whoever leads is refused at its next commit, and reads the record anew."""


async def save(url: str, path: Path) -> dict[str, Any]:
    """Write the record as it is now to `path`, whole or not at all; return its manifest. Raises SkreiError."""
    with _reached():
        connection = await _connect(url)
    half = path.with_name(f"{path.name}.new")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".skrei-backup-") as folder:
            with _reached():
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    manifest = await _write_tables(connection, Path(folder))
            (Path(folder) / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
            _pack(Path(folder), half)
        half.replace(path)
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        half.unlink(missing_ok=True)
        await connection.close()
    return manifest


async def _write_tables(connection: asyncpg.Connection, folder: Path) -> dict[str, Any]:
    revision = await schema.current(connection)
    if revision is None:
        raise Invalid("the database holds no record", hint="name that of a cluster with SKREI_DATABASE_URL")
    tables = {}
    for name in [row["relname"] for row in await connection.fetch(_TABLES)]:
        columns = [row["attname"] for row in await connection.fetch(_COLUMNS, name)]
        digest = hashlib.sha256()
        with gzip.GzipFile(folder / f"{name}.copy.gz", "wb", LEVEL, mtime=0) as out:

            async def write(piece: bytes, out: gzip.GzipFile = out, digest: Any = digest) -> None:
                digest.update(piece)
                out.write(piece)

            told = await connection.copy_from_table(name, columns=columns, schema_name="public", output=write)
        tables[name] = {"rows": int(told.split()[-1]), "columns": columns, "sha256": digest.hexdigest()}
    return {
        "format": FORMAT,
        "version": version("skrei-store"),
        "schema": revision,
        "made_at": datetime.now(UTC).isoformat(),
        "timeline": await connection.fetchval("SELECT timeline FROM cluster"),
        "tables": tables,
    }


def _pack(folder: Path, path: Path) -> None:
    """Write a folder's files as one durable file that its owner alone reads: it holds keys of nodes and all specs."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for each in sorted(folder.iterdir(), key=lambda each: (each.name != MANIFEST, each.name)):
                tar.add(each, each.name)
        file.flush()
        os.fsync(file.fileno())


def _unpack(path: Path, folder: Path) -> None:
    """Write what `_pack` packed to a folder; by hand, since the Python of Debian 12 (3.11.2) has no filters."""
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is None or Path(member.name).name != member.name:
                raise tarfile.ReadError(f"{member.name!r} is no file of a backup")
            with file, (folder / member.name).open("xb") as out:
                shutil.copyfileobj(file, out)


async def load(url: str, path: Path) -> dict[str, Any]:
    """Fill an empty database with what was saved, in a new timeline; return the manifest. Nothing or all of it is there
    then, and at the newest schema. Raises SkreiError.
    """
    with tempfile.TemporaryDirectory(prefix="skrei-restore-") as folder:
        manifest = read(path, Path(folder))
        with _reached():
            await _make(url, str(manifest["schema"]))
            connection = await _connect(url)
        try:
            with _reached():
                async with connection.transaction():
                    await _check_empty(connection)
                    await _fill(connection, Path(folder), manifest)
                    manifest["timeline"] = await connection.fetchval(_REOPEN)
                    await connection.execute(_DEPOSE)
                await connection.execute("ANALYZE")
        finally:
            await connection.close()
    if manifest["schema"] != schema.newest():
        from skrei_store import alembic_steps

        with _reached():
            await asyncio.to_thread(alembic_steps.upgrade, url)
    return manifest


def read(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack what was saved and check that it is whole; return its manifest. Raises Invalid."""
    try:
        _unpack(path, folder)
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        if manifest["format"] > FORMAT or manifest["schema"] > schema.newest():
            raise Invalid(
                f"{path} was made by a later version of Skrei ({manifest['version']})",
                hint="install that one, or a later",
            )
        for name, told in manifest["tables"].items():
            with gzip.open(folder / f"{name}.copy.gz", "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != told["sha256"]:
                    raise Invalid(f"{path} is damaged: table {name} is not what was saved")
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{path} is no backup of a record, or is damaged: {error}") from error
    return manifest


async def _make(url: str, revision: str) -> None:
    """Bring an empty database to the schema that was saved; one that has it is left as it is."""
    connection = await _connect(url)
    try:
        have = await schema.current(connection)
    finally:
        await connection.close()
    if have == revision:
        return
    if have is not None:
        await _refuse_full(url)
        raise Conflict(
            f"the database has schema {have}, what was saved has {revision}", hint="restore into an empty database"
        )
    if revision == schema.newest():
        await schema.bring(url)
        return
    from skrei_store import alembic_steps

    await asyncio.to_thread(alembic_steps.upgrade, url, revision)


async def _refuse_full(url: str) -> None:
    connection = await _connect(url)
    try:
        await _check_empty(connection)
    finally:
        await connection.close()


async def _check_empty(connection: asyncpg.Connection) -> None:
    for name in ("jobs", "nodes", "audit"):
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):
            raise Conflict("the database holds a record already", hint="restore into an empty one; nothing was changed")


async def _fill(connection: asyncpg.Connection, folder: Path, manifest: dict[str, Any]) -> None:
    known = {row["relname"] for row in await connection.fetch(_TABLES)}
    if strange := manifest["tables"].keys() - known:
        raise Invalid(f"the schema has no table {sorted(strange)[0]}")
    await connection.execute("TRUNCATE " + ", ".join(f'public."{name}"' for name in sorted(known)))
    for name, told in manifest["tables"].items():
        with gzip.open(folder / f"{name}.copy.gz", "rb") as file:
            # It reads in pieces from what has `read`.
            done = await connection.copy_to_table(name, source=file, columns=told["columns"], schema_name="public")
        if int(done.split()[-1]) != told["rows"]:
            raise Invalid(f"table {name} has {done.split()[-1]} rows, {told['rows']} were saved")
    for row in await connection.fetch(_SEQUENCES):
        table, column, sequence = (f'"{row[key]}"' for key in ("of_table", "of_column", "sequence"))
        await connection.execute(
            f"SELECT setval('public.{sequence}', (SELECT coalesce(max({column}), 0) + 1 FROM {table}), false)"
        )


async def reopen(url: str) -> int:
    """Open a new timeline of a record that was brought back by other means; return its number. Raises SkreiError."""
    with _reached():
        connection = await _connect(url)
    try:
        with _reached():
            await schema.check(connection)
            async with connection.transaction():
                timeline: int = await connection.fetchval(_REOPEN)
                await connection.execute(_DEPOSE)
    finally:
        await connection.close()
    return timeline


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        url, timeout=schema.CONNECT_SECONDS, server_settings={"application_name": "skrei-backup", "timezone": "UTC"}
    )


@contextmanager
def _reached() -> Iterator[None]:
    try:
        with schema.reached("check SKREI_DATABASE_URL"):
            yield
    except asyncpg.PostgresError as e:
        raise Unavailable(f"the database refused: {e}") from e


def main() -> None:
    """Run the command; the manifest, without its tables, is printed as JSON."""
    parser = argparse.ArgumentParser(prog="skrei_store.backup", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("save", "load", "reopen"))
    parser.add_argument("file", nargs="?", type=Path)
    given, url = parser.parse_args(), os.environ.get("SKREI_DATABASE_URL", "")
    if not url:
        parser.error("which database? Set SKREI_DATABASE_URL")
    if given.action != "reopen" and given.file is None:
        parser.error("which file?")
    try:
        if given.action == "reopen":
            told: dict[str, Any] = {"timeline": asyncio.run(reopen(url))}
        else:
            manifest = asyncio.run((save if given.action == "save" else load)(url, given.file))
            told = manifest | {"tables": {name: each["rows"] for name, each in manifest["tables"].items()}}
    except SkreiError as error:
        sys.exit(f"{error.message}" + (f"; {error.hint}" if error.hint else ""))
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
