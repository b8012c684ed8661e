"""Reads for whoever shows the record to people: a job by name or id, its history, its executions, the nodes.

Every read is one statement. Rows come back as they are; a shell makes values of them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg

from skrei_domain.constraints import Constraint
from skrei_domain.errors import Ambiguous, AmbiguousExecution, AmbiguousNode, NotFound
from skrei_domain.lifecycle import LIVE, JobState
from skrei_domain.node_results import LOCAL_DIRECTORY, NAME
from skrei_domain.portions import DIVIDED

Row: TypeAlias = Mapping[str, Any]

FULL_JOB_ID = 38
"""Characters of `j-` and a uuid: such a key is looked up as an id first."""
LAST = "\U0010ffff"
"""Sorts after every id that begins with what stands before it, in the C collation."""
FURTHEST = 1_000
"""The last place in line that is counted, whenever a job that waits is looked at: an index read of some 0.4 ms."""
DEFAULT = "default"
"""The namespace of whoever names none."""
NAMED_IDS = 3
"""Ids that a message about an ambiguous prefix names."""

_EXIT_CODE = """(
    SELECT max(e.exit_code) FROM executions e
    WHERE e.job_id = j.id AND e.job_version = v.version AND e.state = 'completed' AND e.exit_code > 0
) AS exit_code
"""
"""The highest exit code above 0 of what was completed: an index holds the few that there are."""
_JOB = f"""
SELECT j.id, j.namespace, j.state, j.message, j.details, j.version, j.history_seq, j.created_at, j.modified_at, v.spec,
       true AS current, {_EXIT_CODE}
FROM jobs j JOIN job_versions v ON v.job_id = j.id AND v.version = j.version
"""
_VERSION = f"""
SELECT j.id, j.namespace, coalesce(v.state, j.state) AS state, coalesce(v.message, j.message) AS message,
       coalesce(v.details, j.details) AS details, v.version, j.history_seq, v.created_at,
       coalesce(v.ended_at, j.modified_at) AS modified_at, v.spec, v.version = j.version AS current,
       {_EXIT_CODE}
FROM job_versions v JOIN jobs j ON j.id = v.job_id
"""
EVERYWHERE = "*"
"""The namespace that stands for all of them."""
_JOB_BY_ID = f"{_JOB} WHERE j.id = $1"
_JOB_BY_NAME = f"{_JOB} WHERE j.namespace = $1 AND j.name = $2"
_JOB_BY_NAME_ALONE = f"""
WITH RECURSIVE space AS (  -- from one namespace to the next, by the index of names: there are few
    (SELECT namespace FROM jobs ORDER BY namespace LIMIT 1)
    UNION ALL
    SELECT (SELECT namespace FROM jobs WHERE namespace > space.namespace ORDER BY namespace LIMIT 1)
    FROM space WHERE space.namespace IS NOT NULL
)
SELECT job.* FROM space CROSS JOIN LATERAL ({_JOB_BY_NAME.replace("$1", "space.namespace").replace("$2", "$1")}) AS job
LIMIT {NAMED_IDS}
"""
_JOB_BY_PREFIX = f"{_JOB} WHERE j.id >= $1 AND j.id < $2 ORDER BY j.id LIMIT {NAMED_IDS}"

_OPEN = ", ".join(f"'{state.value}'" for state in JobState if not state.is_terminal)

_EXECUTION = """
SELECT e.*, coalesce(r.committed, false) AS committed, r.stored_at IS NOT NULL AS stored,
       r.digest AS result_digest, r.size AS result_size, r.created_at AS result_created_at,
       r.inline IS NOT NULL OR r.stored_at IS NOT NULL AS result_kept, r.published AS result_published,
       r.own_bytes AS result_own_bytes
FROM executions e LEFT JOIN results r ON r.execution_id = e.id
"""
_NODE_EVENTS = "SELECT at, topic, message FROM node_events WHERE node_id = $1 ORDER BY seq DESC LIMIT 100"
_LIVE = ", ".join(f"'{state.value}'" for state in sorted(LIVE))
_TO_BE_SHOWN = f"""
e.staged AND e.state IN ({_LIVE}) AND (
    SELECT r.publisher = '{LOCAL_DIRECTORY}' OR r.publisher = '{DIVIDED}' AND r.place LIKE '%"{NAME}"%'
    FROM results r WHERE r.execution_id = e.id AND r.staged
)
"""
"""Whether an execution has ended and holds nothing any more, but its node has yet to show what it left: a machine that
is taken away takes that with it. Asked for each by its key, however many results are staged."""
_NODE = f"""
SELECT n.*, coalesce(h.cpu_milli, 0) AS cpu_milli, coalesce(h.memory_bytes, 0) AS memory_bytes,
       coalesce(h.disk_bytes, 0) AS disk_bytes, coalesce(h.gpu, 0) AS gpu, coalesce(h.running, 0) AS running,
       coalesce(h.live, 0) AS live
FROM nodes n LEFT JOIN LATERAL (
    SELECT sum(e.cpu_milli) FILTER (WHERE e.holds)::bigint AS cpu_milli,
           sum(e.memory_bytes) FILTER (WHERE e.holds)::bigint AS memory_bytes,
           sum(e.disk_bytes) FILTER (WHERE e.holds)::bigint AS disk_bytes,
           sum(e.gpu) FILTER (WHERE e.holds)::bigint AS gpu,
           count(*) FILTER (WHERE e.state IN ('staging', 'running', 'publishing')) AS running,
           count(*) FILTER (WHERE e.state IN ({_LIVE})) AS live
    FROM executions e WHERE e.node_id = n.id AND (e.holds OR {_TO_BE_SHOWN})
) h ON true
"""

_POSITION = f"""
SELECT 1 + (
    SELECT count(*) FROM (
        SELECT FROM jobs w WHERE w.state = 'Queued'
        AND (w.priority > j.priority OR w.priority = j.priority AND (w.asked_at, w.id) < (j.asked_at, j.id))
        LIMIT {FURTHEST} - 1
    ) AS before
)
FROM jobs j WHERE j.id = $1 AND j.state = 'Queued'
"""


async def find_job(pool: asyncpg.Pool, key: str, namespace: str) -> Row:
    """Return the job that `key` names: its name in the namespace, its id, or a beginning of an id alone.

    In the namespace `*` a name is looked for in all of them. Raises NotFound, or Ambiguous for what several share.
    """
    missing = NotFound(f"job not found: {key}", hint="`skrei job list` shows what there is")
    if not _storable(key) or not _storable(namespace):
        raise missing
    full = len(key) == FULL_JOB_ID and key.startswith("j-")
    row: Row | None = await pool.fetchrow(_JOB_BY_ID, key) if full else None
    if row is None and namespace == EVERYWHERE:
        row = await _named_anywhere(pool, key)
    elif row is None:
        row = await pool.fetchrow(_JOB_BY_NAME, namespace or DEFAULT, key)
    if row is not None:
        return row
    rows: list[Row] = [] if full else await pool.fetch(_JOB_BY_PREFIX, key, key + LAST)
    if not rows:
        raise missing
    if len(rows) > 1 and rows[0]["id"] != key:
        raise Ambiguous(f"multiple jobs found for id {key}: {_named(rows)}", hint="use the full id", ids=_named(rows))
    return rows[0]


async def _named_anywhere(pool: asyncpg.Pool, name: str) -> Row | None:
    rows: list[Row] = await pool.fetch(_JOB_BY_NAME_ALONE, name)
    if len(rows) > 1:
        known = ", ".join(f"{row['namespace']} ({row['id']})" for row in rows)
        hint = "say which namespace, or use the id"
        raise Ambiguous(f"multiple jobs found for name {name} in namespaces {known}", hint=hint, ids=_named(rows))
    return rows[0] if rows else None


async def find_named(pool: asyncpg.Pool, name: str, namespace: str) -> Row | None:
    """Return the job that has a name in a namespace."""
    row: Row | None = await pool.fetchrow(_JOB_BY_NAME, namespace, name)
    return row


async def find_version(pool: asyncpg.Pool, job_id: str, version: int) -> Row:
    """Return a job as one of its versions was or is. Raises NotFound where it has no such version."""
    row: Row | None = await pool.fetchrow(f"{_VERSION} WHERE v.job_id = $1 AND v.version = $2", job_id, version)
    if row is None:
        raise NotFound(
            f"job version not found: {version} (job {job_id})", hint="`skrei job versions` shows which there are"
        )
    return row


async def versions(pool: asyncpg.Pool, job_id: str, *, after: int, limit: int) -> list[Row]:
    """Return the versions of a job, oldest first."""
    sql = f"{_VERSION} WHERE v.job_id = $1 AND v.version > $2 ORDER BY v.version LIMIT $3"
    return list(await pool.fetch(sql, job_id, after, limit))


async def position(pool: asyncpg.Pool, job_id: str) -> int | None:
    """Return a queued job's place among all that are queued, by priority and age, from 1; None for any other job.

    Counted up to `FURTHEST`: further back the number says no more than that it takes long.
    """
    place: int | None = await pool.fetchval(_POSITION, job_id)
    return place


async def list_jobs(
    pool: asyncpg.Pool,
    *,
    namespace: str,
    labels: Sequence[Constraint],
    order: str,
    reverse: bool,
    after: tuple[datetime, str] | None,
    limit: int,
    skip: int = 0,
) -> list[Row]:
    """Return jobs in the order of a time column and the id; an empty namespace means all of them.

    `skip` passes over so many first: what clients that count ask for.
    """
    if order not in ("created_at", "modified_at"):
        raise ValueError(f"{order!r} is not a column that jobs are listed by")
    values: list[Any] = []
    where: list[str] = []

    def given(value: object) -> str:
        values.append(value)
        return f"${len(values)}"

    if namespace:
        where.append(f"j.namespace = {given(namespace)}")
    where += [_label(constraint, given) for constraint in labels]
    if after is not None:
        sign = "<" if reverse else ">"
        where.append(f"(j.{order}, j.id) {sign} ({given(after[0])}::timestamptz, {given(after[1])}::text)")
    down = " DESC" if reverse else ""
    clause = f" WHERE {' AND '.join(where)}" if where else ""
    sql = f"{_JOB}{clause} ORDER BY j.{order}{down}, j.id{down} LIMIT {given(limit)}"
    if skip:
        sql += f" OFFSET {given(skip)}"
    return list(await pool.fetch(sql, *values))


async def installation_id(pool: asyncpg.Pool) -> str:
    """Return the id that this record got when it was made."""
    return str(await pool.fetchval("SELECT installation_id FROM cluster WHERE id"))


async def open_jobs(pool: asyncpg.Pool) -> int:
    """Return how many jobs have not ended."""
    return int(await pool.fetchval(f"SELECT count(*) FROM jobs WHERE state IN ({_OPEN})"))


async def history(
    pool: asyncpg.Pool,
    job_id: str,
    *,
    first: int = 1,
    limit: int,
    kind: str = "all",
    execution_id: str = "",
    since: int = 0,
    version: int | None = None,
) -> list[Row]:
    """Return transitions from number `first` on, of the job (`job`), its executions (`execution`) or both (`all`).

    `version`: of that version of the job alone.
    """
    if not _storable(execution_id):
        return []
    return list(
        await pool.fetch(
            "SELECT * FROM history WHERE job_id = $1 AND seq >= $2"
            " AND ($3 = 'all' OR ($3 = 'job') = (execution_id = ''))"
            " AND starts_with(execution_id, $4) AND at >= $5 AND ($6::bigint IS NULL OR job_version = $6)"
            " ORDER BY seq LIMIT $7",
            *(job_id, min(first, 2**31 - 1), kind, execution_id, datetime.fromtimestamp(since, tz=UTC), version, limit),
        )
    )


async def find_execution(pool: asyncpg.Pool, job_id: str, key: str) -> Row:
    """Return the execution of a job that an id or the beginning of one names. Raises NotFound or Ambiguous."""
    sql = f"{_EXECUTION} WHERE e.job_id = $1 AND e.id >= $2 AND e.id < $3 ORDER BY e.id LIMIT {NAMED_IDS}"
    rows: list[Row] = await pool.fetch(sql, job_id, key, key + LAST) if _storable(key) else []
    if not rows:
        raise NotFound(f"execution not found: {key} (job {job_id})")
    if len(rows) > 1 and rows[0]["id"] != key:
        raise AmbiguousExecution(
            f"multiple executions found for id {key}: {_named(rows)}", hint="use the full id", ids=_named(rows)
        )
    return rows[0]


async def executions(
    pool: asyncpg.Pool,
    job_id: str,
    *,
    version: int | None,
    order: str,
    reverse: bool,
    limit: int,
    task: str | None = None,
    partition: int | None = None,
    after: tuple[datetime, str, int, str] | None = None,
) -> list[Row]:
    """Return a job's executions, of one version or all, of a task or partition or all, by a time column.

    `after` is the time, task, partition and id of the last one that is known.
    """
    if order not in ("created_at", "modified_at"):
        raise ValueError(f"{order!r} is not a column that executions are listed by")
    down = " DESC" if reverse else ""
    sql = (
        f"{_EXECUTION} WHERE e.job_id = $1 AND ($2::bigint IS NULL OR e.job_version = $2)"
        " AND ($4::text IS NULL OR e.task = $4) AND ($5::bigint IS NULL OR e.partition = $5)"
    )
    if after is not None:
        sign = "<" if reverse else ">"
        sql += f" AND (e.{order}, e.task, e.partition, e.id) {sign} ($6::timestamptz, $7::text, $8::bigint, $9::text)"
    sql += f" ORDER BY e.{order}{down}, e.task{down}, e.partition{down}, e.id{down} LIMIT $3"
    return list(await pool.fetch(sql, job_id, version, limit, task, partition, *(after or ())))


async def runs(pool: asyncpg.Pool, job_id: str, version: int) -> bool:
    """Whether an execution of a version of a job has not ended."""
    sql = "SELECT EXISTS (SELECT FROM executions WHERE job_id = $1 AND job_version = $2 AND state = ANY($3::text[]))"
    return bool(await pool.fetchval(sql, job_id, version, [state.value for state in LIVE]))


async def ready(pool: asyncpg.Pool, job_id: str) -> list[Row]:
    """Return a job's executions that do what they are there for and have ports, of whatever version."""
    sql = """
    SELECT id, task, partition, node_id, job_version, ports FROM executions
    WHERE job_id = $1 AND state = 'running' AND NOT revoked AND ready IS NOT FALSE AND ports IS NOT NULL
    ORDER BY task, partition, job_version
    """
    return list(await pool.fetch(sql, job_id))


_RESULT = """
SELECT r.execution_id, r.task, r.partition, r.digest, r.size, r.created_at, r.published, r.own_bytes, e.node_id
FROM results r JOIN executions e ON e.id = r.execution_id
WHERE r.job_id = $1 AND NOT r.staged AND (r.inline IS NOT NULL OR r.stored_at IS NOT NULL)
"""


async def results(pool: asyncpg.Pool, job_id: str, version: int) -> list[Row]:
    """Return the committed results that can still be fetched, in the order of tasks and partitions."""
    sql = f"{_RESULT} AND r.job_version = $2 AND r.committed ORDER BY r.task, r.partition"
    return list(await pool.fetch(sql, job_id, version))


async def result_of(pool: asyncpg.Pool, job_id: str, execution_id: str) -> Row | None:
    """Return what one execution left, whether it counts or not, while it can still be fetched."""
    row: Row | None = await pool.fetchrow(f"{_RESULT} AND r.execution_id = $2", job_id, execution_id)
    return row


_TASKS = """
SELECT task, state, count(*) AS count,
       (array_agg(message ORDER BY modified_at DESC, id) FILTER (WHERE message <> ''))[1] AS message
FROM executions WHERE job_id = $1 AND job_version = $2 GROUP BY task, state
"""
_TASK_UNITS = """
SELECT e.task, count(DISTINCT e.partition) AS partitions,
       count(*) FILTER (WHERE r.committed AND NOT r.staged) AS won
FROM executions e LEFT JOIN results r ON r.execution_id = e.id
WHERE e.job_id = $1 AND e.job_version = $2 GROUP BY e.task
"""
_READER = """
SELECT e.job_id, e.job_version, e.task, e.partition, v.spec
FROM executions e JOIN job_versions v ON v.job_id = e.job_id AND v.version = e.job_version
WHERE e.id = $1
"""
_STANDING = """
SELECT e.state, r.committed FROM executions e LEFT JOIN results r ON r.execution_id = e.id
WHERE e.id = $1 AND ($1 = $2 OR e.job_id = (SELECT job_id FROM executions WHERE id = $2))
"""
_LEFT = """
SELECT r.published, e.node_id, n.connection, n.membership
FROM results r JOIN executions e ON e.id = r.execution_id LEFT JOIN nodes n ON n.id = e.node_id
WHERE r.execution_id = $1 AND r.committed
"""
_EARLIER = """
SELECT execution_id, partition, digest, size, created_at, inline IS NOT NULL OR stored_at IS NOT NULL AS kept,
       published, own_bytes
FROM results
WHERE job_id = $1 AND job_version = $2 AND task = $3 AND committed AND NOT staged
  AND partition >= $4 AND ($5::bigint IS NULL OR partition = $5)
ORDER BY partition LIMIT $6
"""


async def tasks(pool: asyncpg.Pool, job_id: str, version: int) -> tuple[list[Row], list[Row]]:
    """Return how many executions of each task are in which state, with what the last of them said, and how many
    partitions of each were tried and won.
    """
    states = await pool.fetch(_TASKS, job_id, version)
    return list(states), list(await pool.fetch(_TASK_UNITS, job_id, version))


async def targets(pool: asyncpg.Pool, job_id: str, version: int) -> int:
    """Return how many nodes a version of a job has been given as its own."""
    found: int = await pool.fetchval(
        "SELECT count(*) FROM targets WHERE job_id = $1 AND job_version = $2", job_id, version
    )
    return found


async def reader(pool: asyncpg.Pool, execution_id: str) -> Row | None:
    """Return which unit of which job an execution is an attempt of, with the spec of that version."""
    row: Row | None = await pool.fetchrow(_READER, execution_id) if _storable(execution_id) else None
    return row


async def left_on_node(pool: asyncpg.Pool, execution_id: str) -> Row | None:
    """Return where a committed result of an execution was published, its node, and how that is connected: None for a
    node that is no more.
    """
    row: Row | None = await pool.fetchrow(_LEFT, execution_id) if _storable(execution_id) else None
    return row


async def standing(pool: asyncpg.Pool, execution_id: str, asked_by: str) -> Row | None:
    """Return the state of an execution, and whether its result is committed, to one of its job."""
    row: Row | None = await pool.fetchrow(_STANDING, execution_id, asked_by) if _storable(execution_id) else None
    return row


async def earlier_results(
    pool: asyncpg.Pool, job_id: str, version: int, task: str, *, first: int, partition: int | None, limit: int
) -> list[Row]:
    """Return committed results of one task from partition `first` on, or of one partition alone, with whether they are
    still kept.
    """
    return list(await pool.fetch(_EARLIER, job_id, version, task, first, partition, limit))


async def inline_result(pool: asyncpg.Pool, execution_id: str) -> bytes | None:
    """Return a result that the record still holds, else None."""
    if not _storable(execution_id):
        return None
    data: bytes | None = await pool.fetchval("SELECT inline FROM results WHERE execution_id = $1", execution_id)
    return data


async def inline_results(pool: asyncpg.Pool, execution_ids: Sequence[str]) -> dict[str, bytes]:
    """Return those of these results that the record still holds, in the order asked for."""
    rows = await pool.fetch(
        "SELECT execution_id, inline FROM results WHERE execution_id = ANY ($1::text[]) AND inline IS NOT NULL",
        [each for each in execution_ids if _storable(each)],
    )
    held = {row["execution_id"]: row["inline"] for row in rows}
    return {each: held[each] for each in execution_ids if each in held}


_GOES_ON = "j.state IN ({})".format(", ".join(f"'{state.value}'" for state in JobState if not state.is_terminal))
"""Jobs that have not ended; the words of the index `ix_jobs_open`."""


async def needed(
    pool: asyncpg.Pool, execution_ids: Sequence[str], manifests: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return those of these results, and of these lists of inputs (digests), that a job which has not ended may read.

    Of results that is what its version has won: other tasks of it read that.
    """
    results = await pool.fetch(
        f"""
        SELECT r.execution_id FROM results AS r
        CROSS JOIN LATERAL (SELECT state, version FROM jobs WHERE jobs.id = r.job_id OFFSET 0) AS j
        WHERE r.execution_id = ANY ($1::text[]) AND r.committed AND j.version = r.job_version AND {_GOES_ON}
        """,
        [each for each in execution_ids if _storable(each)],
    )
    lists = await pool.fetch(
        f"""
        SELECT DISTINCT m.digest FROM jobs AS j
        CROSS JOIN LATERAL (SELECT digest FROM manifests WHERE manifests.job_id = j.id OFFSET 0) AS m
        WHERE {_GOES_ON} AND m.digest = ANY ($1::text[])
        """,
        [each for each in manifests if _storable(each)],
    )
    return [row["execution_id"] for row in results], [row["digest"] for row in lists]


async def nodes(pool: asyncpg.Pool) -> list[Row]:
    """Return every node with the sums of what is reserved on it."""
    return list(await pool.fetch(f"{_NODE} ORDER BY n.id"))


async def count_nodes(pool: asyncpg.Pool) -> dict[str, int]:
    """Return how many nodes there are, and how many are connected."""
    sql = "SELECT count(*) AS known, count(*) FILTER (WHERE connection = 'CONNECTED') AS connected FROM nodes"
    row = await pool.fetchrow(sql)
    return {"DiscoveredNodes": row["known"], "ConnectedNodes": row["connected"]}


async def node_events(pool: asyncpg.Pool, node_id: str) -> list[Row]:
    """Return what happened to a node lately, the latest first."""
    found: list[Row] = await pool.fetch(_NODE_EVENTS, node_id)
    return found


async def find_node(pool: asyncpg.Pool, key: str) -> Row:
    """Return the node that an id or the beginning of one names. Raises NotFound or Ambiguous."""
    sql = f"{_NODE} WHERE n.id >= $1 AND n.id < $2 ORDER BY n.id LIMIT {NAMED_IDS}"
    rows: list[Row] = await pool.fetch(sql, key, key + LAST) if _storable(key) else []
    if not rows:
        raise NotFound(f"node not found: {key}", component="NodeManager")
    if len(rows) > 1 and rows[0]["id"] != key:
        raise AmbiguousNode(
            f"multiple nodes found for id {key}: {_named(rows)}",
            hint="use the full id",
            ids=_named(rows),
            component="NodeManager",
        )
    return rows[0]


async def node_names(pool: asyncpg.Pool, node_ids: Sequence[str]) -> dict[str, str]:
    """Return what these nodes call themselves, by id, as far as they are known."""
    rows = await pool.fetch("SELECT id, info::json ->> 'name' AS name FROM nodes WHERE id = ANY($1)", node_ids)
    return {row["id"]: row["name"] or "" for row in rows}


async def blob(pool: asyncpg.Pool, digest: str) -> bytes | None:
    """Return the bytes under a digest, else None."""
    data: bytes | None = await pool.fetchval("SELECT data FROM blobs WHERE digest = $1", digest)
    return data


def _label(constraint: Constraint, given: Any) -> str:
    """Return a condition on labels in SQL; `given` takes a parameter and returns its place."""
    key = f"{given(constraint.key)}::text"
    value = f"(j.labels ->> {key})"
    match constraint.operator:
        case "exists":
            return f"{value} IS NOT NULL"
        case "!":
            return f"{value} IS NULL"
        case "in" | "=" | "==":
            return f"{value} = ANY({given(list(constraint.values))}::text[])"
        case "notin" | "!=":
            return f"({value} IS NULL OR NOT {value} = ANY({given(list(constraint.values))}::text[]))"
        case "gt" | "lt":
            sign = ">" if constraint.operator == "gt" else "<"
            limit = given(constraint.values[0])
            return (
                f"CASE WHEN {value} ~ '^[+-]?[0-9]{{1,19}}$' "
                f"THEN {value}::numeric {sign} ({limit}::text)::numeric ELSE false END"
            )
    raise ValueError(f"{constraint.operator!r} is not an operator")


def _named(rows: Sequence[Row]) -> str:
    text = ", ".join(str(row["id"]) for row in rows)
    return f"{text}, and perhaps more" if len(rows) == NAMED_IDS else text


def _storable(text: str) -> bool:
    """Whether a text could be in the record at all; a NUL or half a character names nothing."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
