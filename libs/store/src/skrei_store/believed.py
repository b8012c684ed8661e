"""A commit in one round trip, which is what a lone job waits for: decided on what its row is believed to say.

The statement locks lease and jobs as `leader.LOCK` does, compares what they say with what was believed, and writes
only where nothing differs. So it writes exactly what the long way would have, or nothing at all; being believed is
never a reason to write. Nothing is between its locks and its end, so a leader that freezes holds none.
"""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from skrei_scheduling.changes import Changes, Locked, LockedJob
from skrei_scheduling.rows import JobRow
from skrei_store import leases
from skrei_store.bulk import Part, Rows, numbered, parameters_of
from skrei_store.db import Connection
from skrei_store.parts_jobs import HISTORY

MOST_JOBS = 16
"""Jobs of one commit that are believed: the more there are the likelier is one that has moved on, and the less three
round trips matter."""
FIRST_HISTORY = 1
"""The history of a job that was submitted and no more: what is believed of one that nobody has looked at."""

_GUARD = """
lease AS MATERIALIZED (
    SELECT FROM leases WHERE name = $1 AND epoch = $2 FOR SHARE
), job AS MATERIALIZED (
    {locked}
), same AS MATERIALIZED (
    {same}
), guard AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM lease) AS leads,
           same.jobs = {jobs}
           AND (SELECT count(*) FROM evaluations WHERE id = ANY ($9::text[])) = cardinality($9::text[]) AS holds,
           clock_timestamp() AS at
    FROM same
)"""
"""One row: whether we lead, whether all is as believed (never so where we do not lead), and the time, read last."""
GUARD = _GUARD.format(
    locked="""SELECT id, generation, version, state, history_seq, units_won
    FROM jobs WHERE id = ANY ($3::text[]) AND EXISTS (SELECT FROM lease)
    ORDER BY id FOR UPDATE""",
    same="""SELECT count(*) AS jobs
    FROM job JOIN unnest($3::text[], $4::int8[], $5::int8[], $6::text[], $7::int8[], $8::int8[])
         AS believed (id, generation, version, state, history_seq, units_won)
    USING (id, generation, version, state, history_seq, units_won)""",
    jobs="cardinality($3::text[])",
)
LONE_GUARD = _GUARD.format(
    locked="""SELECT generation, version, state, history_seq, units_won
    FROM jobs WHERE id = $3::text AND EXISTS (SELECT FROM lease) FOR UPDATE""",
    same="""SELECT count(*) AS jobs FROM job
    WHERE generation = $4::int8 AND version = $5::int8 AND state = $6::text AND history_seq = $7::int8
        AND units_won = $8::int8""",
    jobs="1",
)
LONE_HISTORY = 3
"""Rows of history that a commit of one job may have for its values to be parameters of their own: what the end of a job
adds. As an array each column takes the record a scan with 24 KB of memory, some ninety at that end, which took longer
than writing."""
_FIRST = 10  # of the parameters that the parts take
_AT = "(SELECT at FROM guard)"
_HOLDS = "(SELECT holds FROM guard)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the record said. It has written everything where the belief `holds`, and nothing otherwise."""

    leads: bool
    holds: bool
    at: datetime


class Beliefs:
    """How far the history of each open job goes, as this epoch's commits tell: what a planner's row does not say."""

    def __init__(self) -> None:
        self._history: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._history)

    def of(self, jobs: Iterable[JobRow], evaluations: Collection[str], now: datetime) -> Locked:
        """Return what a lock would find."""
        found = {
            job.id: LockedJob(
                job.id,
                job.generation,
                job.version,
                job.state,
                self._history.get(job.id, FIRST_HISTORY),
                len(job.won),
            )
            for job in jobs
        }
        return Locked(now=now, jobs=found, evaluations=frozenset(evaluations))

    def learn(self, locked: Locked, changes: Changes) -> None:
        """Take in a commit; a job that has ended is forgotten."""
        states = {job.id: job.state for job in locked.jobs.values()}
        self._history.update((job.id, job.history_seq) for job in locked.jobs.values())
        for change in changes.jobs:
            self._history[change.id] = change.history_seq
            states[change.id] = change.state or states[change.id]
        for job_id, state in states.items():
            if state.is_terminal:
                del self._history[job_id]


def can_be_believed(changes: Changes, told: datetime) -> bool:
    """Whether nothing of these changes is the time that `decide` was `told`: only the record's own may be written."""
    return all(job.progress_at is None for job in changes.jobs) and all(
        change.row.ready_at != told for change in changes.executions
    )


async def write_if_so(
    connection: Connection, epoch: int, believed: Locked, work: Sequence[tuple[Part, Rows]]
) -> Verdict:
    """Write all of `work` (see `bulk.in_one`) if the record is as `believed`, in a transaction of its own.

    Raises asyncpg.DataError where a counted part changed another number of rows than it was given: nothing is written.
    """
    jobs = sorted(believed.jobs.values(), key=lambda job: job.id)
    told = [(job.id, job.generation, job.version, job.state, job.history_seq, job.units_won) for job in jobs]
    if len(jobs) == 1 and by_value(work):
        sql = lone_statement(tuple((part, len(rows)) for part, rows in work))
        is_so: Iterable[object] = told[0]
        values: Iterable[object] = (value for _, rows in work for row in rows for value in row)
    else:
        sql = statement(tuple(part for part, _ in work))
        is_so, values = zip(*told, strict=True), parameters_of(work)
    row = await connection.fetchrow(sql, leases.SCHEDULER, epoch, *is_so, list(believed.evaluations), *values)
    return Verdict(row["leads"], row["holds"], row["at"])


def by_value(work: Iterable[tuple[Part, Rows]]) -> bool:
    """Whether rows are few enough to be given value by value: one of each part, and a few of history.

    Each number of rows of each part is a statement of its own, which stays prepared with 0.4 to 1 MB in the record.
    With several rows of any part there would be more of them than a connection keeps.
    """
    return all(len(rows) <= (LONE_HISTORY if part is HISTORY else 1) for part, rows in work)


@cache
def statement(parts: tuple[Part, ...]) -> str:
    """Return the one statement that does all parts under the guard."""
    return _under(
        GUARD,
        [
            (
                part,
                part.text(first, at=_AT, only_if=_HOLDS),
                f"cardinality(${first}::{part.columns[0].split(' ', 1)[1]}[])",
            )
            for part, first in numbered(parts, _FIRST)
        ],
    )


@cache
def lone_statement(parts: tuple[tuple[Part, int], ...]) -> str:
    """Return the statement that does so many rows of each part under the guard, all of one job."""
    firsts = itertools.accumulate((rows * len(part.columns) for part, rows in parts), initial=_FIRST)
    return _under(
        LONE_GUARD,
        [
            (part, part.text(first, at=_AT, only_if=_HOLDS, lone=rows), str(rows))
            for (part, rows), first in zip(parts, firsts, strict=False)  # the last is behind them all
        ],
    )


def _under(guard: str, parts: Sequence[tuple[Part, str, str]]) -> str:
    """Return the statement of parts, each with its text and, in SQL, how many rows it was given."""
    texts = [guard, *(f"{part.name} AS ({text})" for part, text, _ in parts)]
    checks = [_check(part, given) for part, _, given in parts if part.counted]
    return f"WITH {', '.join(texts)} SELECT {', '.join(['leads', 'holds', 'at', *checks])} FROM guard"


def _check(part: Part, given: str) -> str:
    """Return a column that ends the statement, with what is wrong in its error, where a number of rows is."""
    changed = f"(SELECT count(*) FROM {part.name})"
    wrong = f"'{part.name}: ' || {given} || ' rows given, ' || {changed} || ' changed'"
    return f"CASE WHEN holds AND {changed} <> {given} THEN ({wrong})::int END AS {part.name}_wrong"
