"""What jobs left, page by page of jobs: what of it may go, how much that is, and its end in the record.

Which may go is decided by `skrei_domain.retention`; the conditions here say the same of rows (`result_goes`). Nothing
of the audit is read or written. Deletions are bounded, and each is fenced by the leader's lease, as its commits are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from skrei_domain.errors import LeadershipLost
from skrei_domain.job_kinds import KINDS, Kind
from skrei_domain.lifecycle import LIVE, ExecutionState, JobState
from skrei_domain.retention import Due, Policy, Standing, due
from skrei_domain.spec import retention_asked
from skrei_store import leases
from skrei_store.db import Connection

OWN = "(published IS NULL OR own_bytes IS NOT NULL)"
"""Results of Skrei's own store, or of which it has a part, inline ones among them: what lies in a user's own place is
never deleted by us.
"""
KEPT_OF_LIVE = 1_000
"""Transitions of a job that has not ended which are kept however old: what happened to it last can be read."""
ROWS = 500
"""Rows of one deletion: some 10 ms, for which the lease is held."""

_TERMINAL = ", ".join(f"'{state.value}'" for state in JobState if state.is_terminal)
_LIVE = ", ".join(f"'{state.value}'" for state in ExecutionState if state in LIVE)
_HELD = f"(holds OR state IN ({_LIVE}))"
_DUES = """
    unnest($1::text[], $2::int8[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bool[], $7::bool[])
        AS d(job_id, version, results_before, logs_before, history_before, spares, everything)
"""
_RESULTS = f"""
    {_DUES}
    CROSS JOIN LATERAL (SELECT id FROM executions WHERE executions.job_id = d.job_id OFFSET 0) AS e
    CROSS JOIN LATERAL (
        SELECT execution_id, coalesce(own_bytes, size) AS size, created_at, job_version, committed FROM results
        WHERE results.execution_id = e.id AND stored_at IS NOT NULL AND NOT staged AND {OWN} OFFSET 0
    ) AS r
    WHERE r.created_at <= d.results_before AND NOT (d.spares AND r.committed AND r.job_version = d.version)
"""
_LOGS = f"""
    {_DUES}
    CROSS JOIN LATERAL (
        SELECT id, modified_at, coalesce(length(stdout), 0) + coalesce(length(stderr), 0) AS size FROM executions
        WHERE executions.job_id = d.job_id AND NOT {_HELD}
            AND (coalesce(stdout, '') <> '' OR coalesce(stderr, '') <> '') OFFSET 0
    ) AS e
    WHERE e.modified_at <= d.logs_before
"""
_SHIPPED = f"""
    {_DUES}
    CROSS JOIN LATERAL (
        SELECT id, modified_at FROM executions
        WHERE executions.job_id = d.job_id AND NOT {_HELD} AND starts > 0 AND exit_code IS NULL
            AND coalesce(stdout, '') = '' AND coalesce(stderr, '') = '' OFFSET 0
    ) AS e
    WHERE e.modified_at <= d.logs_before
"""
"""Executions that began, and of whose end nobody ever told: what they had said by then is at the publisher alone."""
_OLD_ROWS = f"""
    {_DUES}
    CROSS JOIN LATERAL (SELECT history_seq FROM jobs WHERE jobs.id = d.job_id OFFSET 0) AS j
    CROSS JOIN LATERAL (
        SELECT job_id, seq, at, length(message) + length(details) AS size FROM history
        WHERE history.job_id = d.job_id AND seq <= j.history_seq - {KEPT_OF_LIVE} OFFSET 0
    ) AS h
    WHERE NOT d.everything AND h.at <= d.history_before
"""
_OLD_EXECUTIONS = f"""
    {_DUES}
    CROSS JOIN LATERAL (
        SELECT id, modified_at FROM executions AS one
        WHERE one.job_id = d.job_id AND NOT {_HELD} AND (
            one.job_version < d.version OR EXISTS (
                SELECT FROM executions AS later
                WHERE later.job_id = one.job_id AND later.job_version = one.job_version AND later.task = one.task
                    AND later.partition = one.partition AND later.attempt > one.attempt
            )
        ) AND NOT EXISTS (
            SELECT FROM results AS r WHERE r.execution_id = one.id AND (
                r.inline IS NOT NULL OR r.staged OR (r.stored_at IS NOT NULL AND {OWN})
                OR (r.committed AND r.job_version = d.version)
            )
        ) OFFSET 0
    ) AS e
    WHERE NOT d.everything AND e.modified_at <= d.history_before
"""
"""Of a job that goes on: those of former versions, and all but the latest of each unit: its number counts attempts."""
_WHOLE = f"""
    {_DUES}
    CROSS JOIN LATERAL (
        SELECT id, modified_at FROM jobs WHERE jobs.id = d.job_id AND state IN ({_TERMINAL}) OFFSET 0
    ) AS j
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(length(message) + length(details)), 0) AS size FROM history WHERE job_id = d.job_id
    ) AS h
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(length(spec)), 0) AS size FROM job_versions WHERE job_id = d.job_id
    ) AS v
    WHERE d.everything
        AND NOT EXISTS (SELECT FROM executions WHERE executions.job_id = d.job_id AND {_HELD})
"""


class Aged(NamedTuple):
    """A job of a page: what may go of it. `namespace` for whoever tells."""

    job_id: str
    namespace: str
    due: Due


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a kind may go: so many things, bytes of them, and when the oldest was made (or ended)."""

    count: int = 0
    bytes: int = 0
    oldest: datetime | None = None

    def __add__(self, other: "Amount") -> "Amount":
        """Return both together."""
        known = [each for each in (self.oldest, other.oldest) if each is not None]
        return replace(
            self, count=self.count + other.count, bytes=self.bytes + other.bytes, oldest=min(known, default=None)
        )


async def page(
    connection: Connection, policy: Policy, now: datetime, *, after: str = "", limit: int = 100
) -> tuple[list[Aged], str]:
    """Return what may go of the next jobs by id, and where the page after that begins; empty at the end.

    Jobs of which nothing may go are left out.
    """
    rows = await connection.fetch(
        """
        SELECT j.id, j.namespace, j.type, j.state, j.version, j.modified_at, v.spec
        FROM (
            SELECT id, namespace, type, state, version, modified_at FROM jobs WHERE id > $1 ORDER BY id LIMIT $2
        ) AS j
        LEFT JOIN LATERAL (
            SELECT spec FROM job_versions
            WHERE job_id = j.id AND job_versions.version = j.version AND spec LIKE '%"Retention"%' OFFSET 0
        ) AS v ON true
        ORDER BY j.id
        """,
        after,
        limit,
    )
    found = [Aged(row["id"], row["namespace"], _due(row, policy, now)) for row in rows]
    return [each for each in found if not each.due.nothing], rows[-1]["id"] if len(rows) == limit else ""


def _due(row: Any, policy: Policy, now: datetime) -> Due:
    ended = row["modified_at"] if JobState(row["state"]).is_terminal else None
    standing = Standing(row["version"], ended, KINDS.get(row["type"], Kind.BATCH).endless)
    return due(standing, policy.keep(row["namespace"], retention_asked(row["spec"] or "")), now)


async def amounts(connection: Connection, jobs: Sequence[Aged]) -> dict[str, Amount]:
    """Return how much of these jobs may go, by kind: results, logs, jobs, and history of jobs that go on."""
    given = _columns(jobs)
    told: dict[str, Amount] = {}
    for kind, columns, rest in (
        ("results", "coalesce(sum(r.size), 0) AS bytes, min(r.created_at) AS oldest", _RESULTS),
        ("logs", "coalesce(sum(e.size), 0) AS bytes, min(e.modified_at) AS oldest", _LOGS),
        ("jobs", "coalesce(sum(h.size + v.size), 0) AS bytes, min(j.modified_at) AS oldest", _WHOLE),
        ("history", "coalesce(sum(h.size), 0) AS bytes, min(h.at) AS oldest", _OLD_ROWS),
        ("executions", "0 AS bytes, min(e.modified_at) AS oldest", _OLD_EXECUTIONS),
    ):
        row = await connection.fetchrow(f"SELECT count(*) AS count, {columns} FROM {rest}", *given)
        told[kind] = Amount(row["count"], int(row["bytes"]), row["oldest"])
    told["history"] += told.pop("executions")
    return told


async def results(connection: Connection, jobs: Sequence[Aged], *, after: str = "", limit: int = ROWS) -> list[str]:
    """Return executions of these jobs whose stored results may go, by id."""
    rows = await connection.fetch(
        f"SELECT r.execution_id FROM {_RESULTS} AND r.execution_id > $8 ORDER BY r.execution_id LIMIT $9",
        *_columns(jobs),
        after,
        limit,
    )
    return [row["execution_id"] for row in rows]


async def logs(connection: Connection, jobs: Sequence[Aged], *, limit: int = ROWS) -> list[str]:
    """Return executions of these jobs of which the record has output that may go."""
    rows = await connection.fetch(f"SELECT e.id FROM {_LOGS} LIMIT $8", *_columns(jobs), limit)
    return [row["id"] for row in rows]


async def shipped(connection: Connection, jobs: Sequence[Aged], *, after: str = "", limit: int = ROWS) -> list[str]:
    """Return executions of these jobs that were lost, by id: what the publisher has of what they said may go."""
    rows = await connection.fetch(
        f"SELECT e.id FROM {_SHIPPED} AND e.id > $8 ORDER BY e.id LIMIT $9", *_columns(jobs), after, limit
    )
    return [row["id"] for row in rows]


async def forget_logs(connection: Connection, epoch: int, ids: Collection[str]) -> None:
    """Take the output of executions out of the record. Raises LeadershipLost."""
    async with connection.transaction():
        await _fence(connection, epoch)
        await connection.execute(
            f"""
            UPDATE executions SET stdout = NULL, stderr = NULL, stdout_truncated = NULL, stderr_truncated = NULL
            WHERE id = ANY ($1::text[]) AND NOT {_HELD}
            """,
            list(ids),
        )


async def forget_old(connection: Connection, epoch: int, jobs: Sequence[Aged]) -> int:
    """Delete old transitions and executions of jobs that have not ended, at most `ROWS` of each; return how many rows.

    Raises LeadershipLost.
    """
    async with connection.transaction():
        await _fence(connection, epoch)
        rows = await connection.fetch(
            f"""
            DELETE FROM history USING (SELECT h.job_id, h.seq FROM {_OLD_ROWS} LIMIT $8) AS old
            WHERE history.job_id = old.job_id AND history.seq = old.seq RETURNING 1
            """,
            *_columns(jobs),
            ROWS,
        )
        gone = await connection.fetch(
            f"""
            WITH old AS MATERIALIZED (SELECT e.id FROM {_OLD_EXECUTIONS} LIMIT $8), left_behind AS (
                DELETE FROM results WHERE execution_id IN (SELECT id FROM old)
            )
            DELETE FROM executions WHERE id IN (SELECT id FROM old) RETURNING 1
            """,
            *_columns(jobs),
            ROWS,
        )
        return len(rows) + len(gone)


async def whole_jobs(connection: Connection, jobs: Sequence[Aged]) -> list[Aged]:
    """Return those of these jobs of which everything may go, and nothing of which lies in Skrei's store any more."""
    rows = await connection.fetch(
        f"""
        SELECT j.id FROM {_WHOLE} AND NOT EXISTS (
            SELECT FROM executions AS e JOIN results AS r ON r.execution_id = e.id
            WHERE e.job_id = d.job_id AND (r.inline IS NOT NULL OR r.staged OR (r.stored_at IS NOT NULL AND {OWN}))
        )
        """,
        *_columns(jobs),
    )
    ids = {row["id"] for row in rows}
    return [each for each in jobs if each.job_id in ids]


async def copies(connection: Connection, job: Aged, *, after: str = "", limit: int = ROWS) -> list[str]:
    """Return executions of a job whose results lie in a user's place: of those Skrei's store may have copies."""
    rows = await connection.fetch(
        """
        SELECT r.execution_id FROM executions AS e JOIN results AS r ON r.execution_id = e.id
        WHERE e.job_id = $1 AND r.published IS NOT NULL AND r.stored_at IS NOT NULL AND r.execution_id > $2
        ORDER BY r.execution_id LIMIT $3
        """,
        job.job_id,
        after,
        limit,
    )
    return [row["execution_id"] for row in rows]


async def forget_job(connection: Connection, epoch: int, job: Aged) -> bool:
    """Delete at most `ROWS` rows of a job that has ended; return whether nothing of it is left.

    One that goes on meanwhile (a new version was asked for), or of which something still runs, stays with what is left
    of it. Raises LeadershipLost.
    """
    async with connection.transaction():
        await _fence(connection, epoch)
        locked = await connection.fetchval(
            f"""
            SELECT true FROM jobs WHERE id = $1 AND version = $2 AND state IN ({_TERMINAL})
                AND NOT EXISTS (SELECT FROM executions WHERE job_id = $1 AND {_HELD})
            FOR UPDATE
            """,
            job.job_id,
            job.due.version,
        )
        if not locked:
            return True
        for statement in _PARTS:
            if len(await connection.fetch(statement, job.job_id, ROWS)) >= ROWS:
                return False
        return True


_PARTS = (
    """
    DELETE FROM history WHERE job_id = $1
        AND seq IN (SELECT seq FROM history WHERE job_id = $1 ORDER BY seq LIMIT $2) RETURNING 1
    """,
    """
    WITH gone AS (
        DELETE FROM executions WHERE id IN (SELECT id FROM executions WHERE job_id = $1 LIMIT $2) RETURNING id
    ), left_behind AS (
        DELETE FROM results WHERE execution_id IN (SELECT id FROM gone)
    )
    SELECT 1 FROM gone
    """,
    """
    DELETE FROM targets WHERE job_id = $1
        AND (job_version, node_id) IN (SELECT job_version, node_id FROM targets WHERE job_id = $1 LIMIT $2) RETURNING 1
    """,
    """
    DELETE FROM manifests WHERE job_id = $1 AND (job_version, task, input) IN (
        SELECT job_version, task, input FROM manifests WHERE job_id = $1 LIMIT $2
    ) RETURNING 1
    """,
    """
    DELETE FROM job_versions WHERE job_id = $1
        AND version IN (SELECT version FROM job_versions WHERE job_id = $1 ORDER BY version LIMIT $2) RETURNING 1
    """,
    """
    WITH asked AS (DELETE FROM evaluations WHERE job_id = $1), gone AS (DELETE FROM jobs WHERE id = $1)
    SELECT 1 LIMIT least($2::int8, 0)
    """,
)
"""In this order: what names the job goes before it, so that whatever breaks off is found again and gone on with. Its
versions go from the first on: one that is run again between two pieces still has its latest."""


async def _fence(connection: Connection, epoch: int) -> None:
    row = await connection.fetchrow(
        """
        WITH lease AS MATERIALIZED (SELECT FROM leases WHERE name = $1 AND epoch = $2 FOR SHARE)
        SELECT EXISTS (SELECT FROM lease) AS leads, set_config('lock_timeout', '2000', true),
            set_config('idle_in_transaction_session_timeout', '1000', true)
        """,
        leases.SCHEDULER,
        epoch,
    )
    if not row["leads"]:  # a frozen leader's locks go after a second: see `db.WRITER`
        raise LeadershipLost(f"epoch {epoch} is over: another scheduler leads", epoch=str(epoch))


def _columns(jobs: Sequence[Aged]) -> list[list[Any]]:
    dues = [each.due for each in jobs]
    return [
        [each.job_id for each in jobs],
        [each.version for each in dues],
        [each.results_before for each in dues],
        [each.logs_before for each in dues],
        [each.history_before for each in dues],
        [each.spares for each in dues],
        [each.everything for each in dues],
    ]
