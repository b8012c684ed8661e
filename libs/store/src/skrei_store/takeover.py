"""What a new leader builds its view from, read as of one moment."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from skrei_domain.lifecycle import ExecutionState, JobState
from skrei_domain.messages import ManifestRef
from skrei_scheduling.changes import Position
from skrei_scheduling.rows import ExecutionRow, JobRow, NodeRow, TaskInput, Unit
from skrei_scheduling.texts import TRIGGER_FAILURE
from skrei_store.db import Connection
from skrei_store.parts_manifests import manifest_ref
from skrei_store.parts_targets import failed_units
from skrei_store.values import (
    EXECUTION_COLUMNS,
    NODE_COLUMNS,
    ROLLOUT_COLUMNS,
    SUBMITTER,
    execution_row,
    node_row,
    planned_job,
)
from skrei_store.work import HELD, in_pages, specs

OPEN = ", ".join(f"'{state.value}'" for state in JobState if not state.is_terminal)
_BAD_ENDS = [ExecutionState.FAILED.value, ExecutionState.REFUSED.value, ExecutionState.LOST.value]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The record as a leader needs it: open jobs and those with executions that are live or hold room."""

    timeline: int
    position: Position | None  # how far the facts' stream was read; None: from its start
    nodes: list[NodeRow]
    jobs: list[JobRow]
    executions: list[ExecutionRow]
    failing: frozenset[str] = frozenset()  # jobs of which an attempt has failed, and nobody has decided on that yet


@dataclass(slots=True)
class _Counted:
    """What a job's executions and results add up to."""

    won: set[Unit]
    failed: dict[Unit, str]
    targets: dict[str, int]
    attempts: dict[Unit, int]
    refused_by: dict[Unit, frozenset[str]]
    won_at: dict[str, datetime]
    manifests: dict[TaskInput, ManifestRef]

    def win(self, task: str, partition: int, at: datetime) -> None:
        self.won.add((task, partition))
        self.won_at[task] = max(at, self.won_at.get(task, at))


async def load(connection: Connection) -> Loaded:
    """Return what a view is built from."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cluster = await connection.fetchrow("SELECT timeline, facts_created, facts_sequence FROM cluster WHERE id")
        nodes = [node_row(row) for row in await connection.fetch(f"SELECT {NODE_COLUMNS} FROM nodes")]
        held = [
            execution_row(row)
            for row in await connection.fetch(
                f"SELECT {EXECUTION_COLUMNS} FROM executions WHERE {HELD} ORDER BY created_at, id"
            )
        ]
        jobs = await _jobs(connection, {row.job_id for row in held})
        failing = await connection.fetch("SELECT DISTINCT job_id FROM evaluations WHERE trigger = $1", TRIGGER_FAILURE)
    position = Position(cluster["facts_created"], cluster["facts_sequence"]) if cluster["facts_created"] else None
    return Loaded(cluster["timeline"], position, nodes, jobs, held, frozenset(row["job_id"] for row in failing))


async def _jobs(connection: Connection, held: set[str]) -> list[JobRow]:
    columns = (
        "id, namespace, name, generation, version, state, created_at, asked_at, traceparent, "
        f"{ROLLOUT_COLUMNS}, {SUBMITTER}"
    )
    rows = list(await connection.fetch(f"SELECT {columns} FROM jobs WHERE state IN ({OPEN})"))
    missing = held - {row["id"] for row in rows}
    async for page in in_pages(missing):
        rows += await connection.fetch(f"SELECT {columns} FROM jobs WHERE id = ANY ($1::text[])", page)
    rows.sort(key=lambda row: (row["created_at"], row["id"]))
    texts = await specs(connection, {(row["id"], row["version"]) for row in rows})
    counted = await _count(connection, rows)
    found: list[JobRow] = []
    async for some in in_pages(rows):  # compiling a spec takes a tenth of a millisecond: the loop breathes between
        for row in some:
            sums = counted[row["id"]]
            found.append(
                planned_job(
                    row,
                    texts[row["id"], row["version"]],
                    won=frozenset(sums.won),
                    targets=sums.targets,
                    failed=sums.failed,
                    attempts=sums.attempts,
                    refused_by=sums.refused_by,
                    won_at=sums.won_at,
                    manifests=sums.manifests,
                )
            )
    return found


async def _count(connection: Connection, jobs: Iterable[Any]) -> dict[str, _Counted]:
    version = {row["id"]: row["version"] for row in jobs}
    counted: defaultdict[str, _Counted] = defaultdict(lambda: _Counted(set(), {}, {}, {}, {}, {}, {}))
    async for page in in_pages(version):
        for row in await connection.fetch(
            "SELECT job_id, job_version, node_id, partition, failed FROM targets WHERE job_id = ANY ($1::text[])", page
        ):
            if row["job_version"] == version[row["job_id"]]:
                counted[row["job_id"]].targets[row["node_id"]] = row["partition"]
                counted[row["job_id"]].failed |= failed_units(row["partition"], row["failed"])
        for row in await connection.fetch("SELECT * FROM manifests WHERE job_id = ANY ($1::text[])", page):
            if row["job_version"] == version[row["job_id"]]:
                counted[row["job_id"]].manifests[row["task"], row["input"]] = manifest_ref(row)
        for row in await connection.fetch(
            "SELECT job_id, job_version, task, partition, created_at FROM results"
            " WHERE committed AND NOT staged AND job_id = ANY ($1::text[])",
            page,
        ):
            if row["job_version"] == version[row["job_id"]]:
                counted[row["job_id"]].win(row["task"], row["partition"], row["created_at"])
        for row in await connection.fetch(
            """
            SELECT job_id, job_version, task, partition, max(attempt) AS attempts,
                   array_agg(node_id) FILTER (WHERE state = ANY ($2::text[])) AS refused_by
            FROM executions WHERE job_id = ANY ($1::text[])
            GROUP BY job_id, job_version, task, partition
            """,
            page,
            _BAD_ENDS,
        ):
            if row["job_version"] != version[row["job_id"]]:
                continue
            unit = (row["task"], row["partition"])
            counted[row["job_id"]].attempts[unit] = row["attempts"]
            if row["refused_by"]:
                counted[row["job_id"]].refused_by[unit] = frozenset(row["refused_by"])
    return counted
