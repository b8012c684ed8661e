"""Which staged results the publisher is asked for next: each destination has its turn, and there each result its own.

What is meant for a destination that is away stays staged, however much that comes to. Others are asked for all the
while, and of those behind it each again and again, not only the oldest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from skrei_domain.messages import StagedResult
from skrei_store.db import Connection

MOST_DESTINATIONS = 50
"""That have their turn together: each has ten results of it then; of more the others are next."""
MOST_REMEMBERED = 1_000
"""Destinations of which it is known where to go on, the latest; any other begins with its oldest."""

_BEGINNING = (datetime(1, 1, 1, tzinfo=UTC), "")
_NEXT = "\x01"
"""Behind a destination's name it makes the least text above it, as rows are ordered."""


class Row(NamedTuple):
    """A staged result, with whether it has won, and when it was written."""

    staged: StagedResult
    counts: bool
    created_at: datetime


@dataclass(slots=True)
class Turns:
    """Where the next turn begins: at which destination, and of each behind which result."""

    begin: str = ""
    _behind: dict[str, tuple[datetime, str]] = field(default_factory=dict)

    def behind(self, destination: str) -> tuple[datetime, str]:
        """Return behind which result a destination goes on: when it was written, and whose it is."""
        return self._behind.get(destination, _BEGINNING)

    def had(self, destinations: Sequence[str], rows: Sequence[Row], share: int) -> None:
        """These destinations had their turn, of at most so many results each: begin behind them; where there are no
        more of either, begin anew."""
        self.begin = destinations[-1] + _NEXT if len(destinations) >= MOST_DESTINATIONS else ""
        asked: dict[str, list[Row]] = {each: [] for each in destinations}
        for row in rows:
            asked[row.staged.destination].append(row)
        for destination, its in asked.items():
            self._behind.pop(destination, None)
            if len(its) >= share:
                self._behind[destination] = (its[-1].created_at, its[-1].staged.execution_id)
        while len(self._behind) > MOST_REMEMBERED:
            del self._behind[next(iter(self._behind))]


async def next_staged(connection: Connection, turns: Turns, *, older_than_seconds: float, limit: int) -> list[Row]:
    """Return the staged results whose turn it is, which `turns` remembers."""
    destinations = [
        row["destination"]
        for row in await connection.fetch(
            """
            WITH RECURSIVE at (destination) AS (
                (SELECT destination FROM results WHERE staged AND destination >= $1 ORDER BY destination LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT r.destination FROM results AS r WHERE r.staged AND r.destination > at.destination
                    ORDER BY r.destination LIMIT 1
                )
                FROM at WHERE at.destination IS NOT NULL
            )
            SELECT destination FROM at WHERE destination IS NOT NULL LIMIT $2
            """,
            turns.begin,
            MOST_DESTINATIONS,
        )
    ]
    if not destinations:
        turns.begin = ""
        return []
    share = max(limit // len(destinations), 1)
    behind = [turns.behind(each) for each in destinations]
    rows = await connection.fetch(
        """
        SELECT r.* FROM unnest($1::text[], $2::timestamptz[], $3::text[]) AS d (destination, at, id)
        CROSS JOIN LATERAL (
            SELECT execution_id, digest, size, publisher, place, destination, committed, created_at FROM results
            WHERE staged AND results.destination = d.destination AND (created_at, execution_id) > (d.at, d.id)
                AND created_at <= now() - make_interval(secs => $4)
            ORDER BY created_at, execution_id LIMIT $5 OFFSET 0
        ) AS r
        """,
        destinations,
        [at for at, _ in behind],
        [execution_id for _, execution_id in behind],
        older_than_seconds,
        share,
    )
    found = [_row(row) for row in rows]
    turns.had(destinations, found, share)
    return found


def _row(row: Mapping[str, Any]) -> Row:
    staged = StagedResult(
        execution_id=row["execution_id"],
        digest=row["digest"],
        size=row["size"],
        publisher=row["publisher"],
        place=row["place"],
        destination=row["destination"],
    )
    return Row(staged, row["committed"], row["created_at"])
