"""The `sqlite` storage: what a query finds in a database of the node, as a CSV file.

The node's owner says which databases jobs may read (`SKREI_PLUGIN_OPTIONS=sqlite_databases=/srv/sales.db /srv/hr.db`);
a job names one by its file's name. A query can read and do nothing else: the database is opened read-only, and SQLite
asks us before each thing that a statement would do.
"""

import asyncio
import csv
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.aside import to_its_end
from skrei_plugin_api.engine import Mount
from skrei_plugin_api.plugin import PLUGIN_API, Params, PluginInfo, param
from skrei_plugin_api.storage import BlobReader, SourceSpec, StageFailed, StageLimits, StageProblem, Storage

OPTION = "sqlite_databases"
ROWS = "rows.csv"
QUERY_SECONDS = 60.0
"""How long a query may take: one that joins everything with everything would go on for years."""
STEPS = 10_000
"""Of SQLite's machine between two looks at the clock: a millisecond or so."""
READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""What a statement may do."""


class SqliteStorage(Storage):
    """Rows of a query, in a folder with one file. Of several partitions each gets every so-many-th row."""

    plugin_api = PLUGIN_API
    name = "sqlite"
    version = "0.5.0"

    async def describe(self) -> PluginInfo:
        """Say whether the owner named databases, and which of them are not there: the node looks for those."""
        named = self._named()
        if not named:
            return PluginInfo(available=False, reason=f"its owner names no databases ({OPTION})")
        missing = tuple(str(path) for path in named.values() if not path.is_file())
        return PluginInfo(available=len(missing) < len(named), version=sqlite3.sqlite_version, missing_paths=missing)

    def validate(self, params: Params) -> list[FieldProblem]:
        """Name what is no database's name, and what is no query. Pure: which tables there are, only the node knows."""
        problems = []
        database, query = param(params, "Database"), param(params, "Query")
        if not isinstance(database, str) or not database or "/" in database:
            problems.append(FieldProblem("Database", show(database), "the name of a file, such as `sales.db`"))
        if not isinstance(query, str) or not query.strip():
            problems.append(FieldProblem("Query", show(query), "a SELECT statement"))
        return problems

    async def size(self, source: SourceSpec) -> int | None:
        """Return None: only the query tells."""
        return None

    async def stage(self, source: SourceSpec, folder: Path, limits: StageLimits, blobs: BlobReader) -> Mount:
        """Write the rows. Raises StageFailed."""
        if problems := self.validate(source.params):
            raise StageFailed(StageProblem.INVALID, "; ".join(str(problem) for problem in problems))
        database = self._named().get(name := param(source.params, "Database"))
        if database is None:
            raise StageFailed(
                StageProblem.DENIED,
                f"this node hands out no database called {name!r}",
                hint=f"its owner allows one with SKREI_PLUGIN_OPTIONS={OPTION}=/path/{name}",
            )
        await asyncio.to_thread(folder.mkdir)
        query = param(source.params, "Query")
        try:
            await to_its_end(lambda: _write(database, query, folder / ROWS, source, limits))
        except sqlite3.Error as error:
            missing = not database.is_file()
            raise StageFailed(
                StageProblem.MISSING if missing else StageProblem.INVALID, f"{name} answers: {error}"
            ) from error
        return Mount(folder, source.target)

    def _named(self) -> dict[str, Path]:
        paths = [Path(text) for text in self.context.options.get(OPTION, "").split()]
        return {path.name: path for path in paths}


def _write(database: Path, query: str, path: Path, source: SourceSpec, limits: StageLimits) -> None:
    """Write this partition's rows of a query. Raises sqlite3.Error, and StageFailed for too much."""
    ends = time.monotonic() + QUERY_SECONDS
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as link, path.open("w", newline="") as file:
        link.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY)
        link.set_progress_handler(lambda: int(time.monotonic() > ends), STEPS)
        rows = link.execute(query)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(column[0] for column in rows.description)
        for number, row in enumerate(rows):
            if number % source.partitions == source.partition:
                writer.writerow(row)
            if file.tell() > limits.max_bytes:
                raise StageFailed(
                    StageProblem.TOO_LARGE,
                    f"the query finds more than the {limits.max_bytes:,} bytes that this node takes",
                    hint="part it (`Count`), or ask for fewer rows",
                )
