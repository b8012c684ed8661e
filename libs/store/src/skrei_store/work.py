"""What the leader reads while it leads: due evaluations, late executions, specs, and what is to be sent or handed over.

Every statement goes through an index and takes a limit; a join is written so that it can only be done from the few
rows to the many (`LATERAL … OFFSET 0`), whatever the statistics say.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import timedelta
from typing import TypeVar

from skrei_domain.evolving import replace
from skrei_domain.lifecycle import LIVE, ExecutionState
from skrei_domain.messages import ManifestRef, PublisherCommand, ResultHeld
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, TaskInput
from skrei_store.db import Connection
from skrei_store.parts_manifests import manifest_ref
from skrei_store.staged import Turns, next_staged
from skrei_store.values import EXECUTION_COLUMNS, ROLLOUT_COLUMNS, SUBMITTER, execution_row, planned_job

T = TypeVar("T")

HELD = "(holds OR state IN ({}))".format(", ".join(f"'{s.value}'" for s in ExecutionState if s in LIVE))
"""Executions that a view holds; the words of the index `ix_executions_held`."""
PAGE = 200
"""Rows handled at once between two breaths of the event loop: compiling so many specs takes about 20 ms."""
HANDED_OVER = 500
"""Results that the publisher is asked for at once, of each kind: its commands are cut by what a message holds."""


async def due(connection: Connection, limit: int, but: Collection[str] = ()) -> list[Evaluation]:
    """Return evaluations that are due, `but` those, oldest first, each with its job as it is now."""
    ids = await connection.fetch(
        "SELECT id FROM evaluations WHERE run_after <= now() ORDER BY run_after, id LIMIT $1", limit + len(but)
    )
    left_out = frozenset(but)  # sorted out here: the record would compare each with all of them
    if not (wanted := [row["id"] for row in ids if row["id"] not in left_out][:limit]):
        return []
    rows = await connection.fetch(
        f"""
        SELECT e.id AS evaluation_id, e.trigger, e.comment, e.version AS about, j.*
        FROM (
            SELECT id, job_id, trigger, comment, version, run_after FROM evaluations
            WHERE id = ANY ($1::text[]) AND run_after <= now()
        ) AS e
        CROSS JOIN LATERAL (
            SELECT id, namespace, name, generation, version, state, created_at, asked_at, {ROLLOUT_COLUMNS},
                traceparent, {SUBMITTER}
            FROM jobs WHERE jobs.id = e.job_id OFFSET 0
        ) AS j
        ORDER BY e.run_after, e.id
        """,
        wanted,
    )
    texts = await specs(connection, {(row["id"], row["version"]) for row in rows})
    found: list[Evaluation] = []
    async for page in in_pages(rows):
        jobs = {row["id"]: planned_job(row, texts[row["id"], row["version"]]) for row in page}
        jobs |= await _pinned(connection, jobs)
        for row in page:
            job = jobs[row["id"]]
            found.append(Evaluation(row["evaluation_id"], row["id"], row["trigger"], job, row["comment"], row["about"]))
    return found


async def _pinned(connection: Connection, jobs: Mapping[str, JobRow]) -> dict[str, JobRow]:
    """Return those of these jobs whose inputs are pinned to lists, with them. Those that fetch none have none."""
    versions = {job.id: job.version for job in jobs.values() if any(task.fetched for task in job.tasks)}
    if not versions:
        return {}
    refs: dict[str, dict[TaskInput, ManifestRef]] = {}
    for row in await connection.fetch("SELECT * FROM manifests WHERE job_id = ANY ($1::text[])", list(versions)):
        if row["job_version"] == versions[row["job_id"]]:
            refs.setdefault(row["job_id"], {})[row["task"], row["input"]] = manifest_ref(row)
    return {job_id: replace(jobs[job_id], manifests=found) for job_id, found in refs.items()}


async def executions(connection: Connection, ids: Collection[str]) -> dict[str, ExecutionRow]:
    """Return those of these executions that exist."""
    rows = await connection.fetch(f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE id = ANY ($1::text[])", list(ids))
    return {row["id"]: execution_row(row) for row in rows}


async def specs(connection: Connection, keys: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Return the stored spec texts of these (job, version)."""
    found: dict[tuple[str, int], str] = {}
    async for page in in_pages(keys, size=1_000):
        for row in await connection.fetch(
            "SELECT job_id, version, spec FROM job_versions WHERE job_id = ANY ($1::text[]) AND version = ANY ($2)",
            list({job_id for job_id, _ in page}),
            list({version for _, version in page}),
        ):
            found[row["job_id"], row["version"]] = row["spec"]
    return found


async def publisher_work(
    connection: Connection, turns: Turns, *, older_than_seconds: float, ttl_hours: float
) -> PublisherCommand:
    """Return what the publisher is to take over, and what it is to make final or keep: that whose turn it is."""
    keep = timedelta(hours=ttl_hours)
    held = await connection.fetch(
        """
        SELECT execution_id, digest, size, created_at FROM results
        WHERE inline IS NOT NULL AND created_at <= now() - make_interval(secs => $1)
        ORDER BY created_at LIMIT $2
        """,
        older_than_seconds,
        HANDED_OVER,
    )
    staged = await next_staged(connection, turns, older_than_seconds=older_than_seconds, limit=HANDED_OVER)
    return PublisherCommand(
        take=tuple(
            ResultHeld(
                execution_id=row["execution_id"],
                digest=row["digest"],
                size=row["size"],
                expires_at=row["created_at"] + keep,
            )
            for row in held
        ),
        finalise=tuple(row.staged for row in staged if row.counts),
        keep=tuple(row.staged for row in staged if not row.counts),
    )


async def in_pages(items: Collection[T], size: int = PAGE) -> AsyncIterator[list[T]]:
    """Yield `items` in pages, letting the event loop breathe between them."""
    listed = list(items)
    for begin in range(0, len(listed), size):
        if begin:
            await asyncio.sleep(0)
        yield listed[begin : begin + size]
