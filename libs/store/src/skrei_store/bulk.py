"""Many rows in one statement: each part takes its rows as arrays, and the parts of a write are one `WITH`.

An update looks its rows up by `id = ANY(array)` and joins the array's values to them by hash. With the planner
settings of `db.WRITER` there is no other plan, whatever the statistics say; ten thousand rows cost ten thousand
lookups and never their square.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

from skrei_store.db import Connection

AT = "$1::timestamptz"
"""Where the time of a write stands among its parameters."""

BULK_ROWS = 1_000
"""Rows of one part in one statement: some 20 ms of the database, some 10 ms of encoding on the event loop."""
BULK_BYTES = 8 * 1024 * 1024
"""Bytes of one part in one statement: inline results come to 64 MB for 1,000 rows."""

Rows: TypeAlias = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What is done with the rows of one kind; each is itself alone, as a key of statements that are kept. In `sql`,
    `{new}` is the rows as a table, `{ids}` their first column.

    `counted`: exactly as many rows must be changed as were given. `light`: a row is never more than some kilobytes, so
    that nobody counts its bytes. `after`: parts whose effect it must see.
    """

    name: str
    columns: tuple[str, ...]  # "name type"
    sql: str
    counted: bool = False
    light: bool = False
    after: frozenset[str] = frozenset()

    def text(self, first: int, *, at: str = AT, only_if: str = "", lone: int = 0) -> str:
        """Return the statement with its parameters numbered from `first`.

        `at` is the time in SQL; where `only_if`, a condition in SQL, is false, there are no rows. The rows are arrays,
        or where there are only `lone` ones, their values.
        """
        types = [column.split(" ", 1)[1] for column in self.columns]
        names = ", ".join(column.split(" ", 1)[0] for column in self.columns)
        if lone:
            width = len(types)
            given = f"(VALUES {', '.join(_row(first + row * width, types) for row in range(lone))})"
            ids = f"ARRAY[{', '.join(f'${first + row * width}' for row in range(lone))}]::{types[0]}[]"
        else:
            given = f"unnest({', '.join(f'${number}::{each}[]' for number, each in enumerate(types, start=first))})"
            ids = f"${first}::{types[0]}[]"
        new = f"{given} AS new({names})"
        if only_if and "{new}" in self.sql:
            new = f"(SELECT * FROM {given} AS given({names}) WHERE {only_if}) AS new({names})"
        elif only_if:
            ids = f"(SELECT CASE WHEN {only_if} THEN {ids} ELSE '{{}}' END)::{types[0]}[]"
        text = self.sql.format(new=new, names=names, ids=ids, at=at)
        return f"{text} RETURNING 1" if self.counted else text


def _row(first: int, types: Sequence[str]) -> str:
    return f"({', '.join(f'${number}::{each}' for number, each in enumerate(types, start=first))})"


class Mismatch(Exception):
    """A statement changed another number of rows than it was given."""

    def __init__(self, part: str, given: int, changed: int) -> None:
        super().__init__(f"{part}: {given} rows given, {changed} changed")


async def write(connection: Connection, at: datetime, work: Sequence[tuple[Part, Rows]]) -> None:
    """Write all parts, in as few statements as their sizes and their order allow. Raises Mismatch.

    Runs inside the caller's transaction; `at` is the time that all of it happened.
    """
    for group in _in_order([(part, rows) for part, rows in work if rows]):
        slices = [(part, list(cut(rows, light=part.light))) for part, rows in group]
        for index in range(max(len(cut) for _, cut in slices)):
            await _one(connection, at, [(part, cut[index]) for part, cut in slices if index < len(cut)])


async def _one(connection: Connection, at: datetime, work: Sequence[tuple[Part, Rows]]) -> None:
    changed = await connection.fetchrow(statement(tuple(part for part, _ in work)), at, *parameters_of(work))
    for part, rows in work:
        if part.counted and changed[part.name] != len(rows):
            raise Mismatch(part.name, len(rows), changed[part.name])


def parameters_of(work: Sequence[tuple[Part, Rows]]) -> list[tuple[Any, ...]]:
    """Return the rows as the arrays that a statement of these parts takes, in its order."""
    return [column for _, rows in work for column in zip(*rows, strict=True)]


def in_one(work: Sequence[tuple[Part, Rows]]) -> list[tuple[Part, Rows]] | None:
    """Return the parts that have rows, where one statement can do them all; None where it takes several."""
    groups = list(_in_order([(part, rows) for part, rows in work if rows]))
    if len(groups) != 1 or any(len(list(cut(rows, light=part.light))) > 1 for part, rows in groups[0]):
        return None
    return groups[0]


def numbered(parts: Iterable[Part], first: int) -> Iterator[tuple[Part, int]]:
    """Yield each part with the number of its first parameter."""
    for part in parts:
        yield part, first
        first += len(part.columns)


@cache
def statement(parts: tuple[Part, ...]) -> str:
    """Return the one statement that does all parts; there are a few dozen combinations at most."""
    texts = [f"{part.name} AS ({part.text(first)})" for part, first in numbered(parts, 2)]
    counts = [f"(SELECT count(*) FROM {part.name}) AS {part.name}" for part in parts if part.counted]
    return f"WITH {', '.join(texts)} SELECT {', '.join(['$1::timestamptz AS at', *counts])}"


def _in_order(work: list[tuple[Part, Rows]]) -> Iterator[list[tuple[Part, Rows]]]:
    """Yield groups that may share a statement: the parts of one do not see each other's effects."""
    group: list[tuple[Part, Rows]] = []
    for part, rows in work:
        if any(other.name in part.after for other, _ in group):
            yield group
            group = []
        group.append((part, rows))
    if group:
        yield group


def cut(rows: Rows, *, light: bool = False) -> Iterator[Rows]:
    """Yield slices within the limits; of `light` rows bytes are not counted."""
    begin = size = 0
    if len(rows) == 1 or (light and len(rows) <= BULK_ROWS):
        yield rows
        return
    for index, row in enumerate(rows):
        weight = 0 if light else sum(len(value) for value in row if isinstance(value, (bytes, str)))
        if index > begin and (index - begin >= BULK_ROWS or size + weight > BULK_BYTES):
            yield rows[begin:index]
            begin, size = index, 0
        size += weight
    yield rows[begin:]
