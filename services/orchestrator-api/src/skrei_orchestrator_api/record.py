"""The record as the API reads and writes it: short transactions, and values that know how they are shown."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from skrei_domain.constraints import Constraint
from skrei_domain.job import decode, encode, references, restore_blobs
from skrei_domain.job_blobs import PREFIX
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import HintedEvaluation
from skrei_domain.retention import Policy
from skrei_orchestrator_api import views
from skrei_orchestrator_api.settings import Settings
from skrei_orchestrator_api.task_states import counts_of, summed, task_states
from skrei_orchestrator_api.views import ExecutionView, JobView, Keeping, NodeView
from skrei_store import lookups, node_intents, retention
from skrei_store.admission import Admission
from skrei_store.db import AWAY, CONNECT_SECONDS, open_pool
from skrei_store.idempotency import purge_tokens
from skrei_store.joining import Joining, Renewal, join_node, renew_node, revoke_node
from skrei_store.rerun import rerun_job
from skrei_store.retention import Amount
from skrei_store.stop import stop_job
from skrei_store.submission import Submission, Submitted
from skrei_store.submit import Meanwhile, submit_many

RESTORED_BYTES = 16 * 1024 * 1024
"""Texts of specs with their blobs put back, kept for clients that poll a job with large inputs."""
COLLECTABLE_SECONDS = 10.0
"""How long it is counted what may go: a third of what a request may take."""
COLLECTABLE_JOBS = 500
"""Jobs counted together: some milliseconds of the record."""
TURN_ROWS = 500
"""Rows made into answers before others get their turn: about 10 ms."""


Place = tuple[int, str, int, str]
"""Of an execution in a list: microseconds since 1970, task, partition, id."""


@dataclass(frozen=True, slots=True)
class ResultView:
    """A result that can be fetched: `digest` and `size` are those of its tar.gz, `node_id` is who made it."""

    execution_id: str
    node_id: str
    task: str
    partition: int
    digest: str
    size: int
    created_at: datetime
    published: Mapping[str, Any] | None = None
    """Where it lies, as `Type` and `Params`, if that is not Skrei's own store."""
    own: bool = False
    """Of one that went to several places: whether Skrei's own store has what went there."""

    @classmethod
    def of(cls, row: lookups.Row) -> "ResultView":
        """Read a row of `results`."""
        return cls(
            row["execution_id"],
            row["node_id"],
            row["task"],
            row["partition"],
            row["digest"],
            row["size"],
            row["created_at"],
            None if row["published"] is None else json.loads(row["published"]),
            row["own_bytes"] is not None,
        )


class Record:
    """Reads and intent; everything behind it is one pool of connections."""

    def __init__(self, pool: asyncpg.Pool, policy: Policy) -> None:
        self._pool = pool
        self._policy = policy  # how long what jobs leave is kept, to say so
        self._admission = Admission()
        self._restored: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._restored_size = 0
        self._installation_id = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> "AsyncIterator[Record]":
        """Connect; a record that is away is waited for by whoever asks, not here."""
        url = settings.database_url.get_secret_value()
        async with open_pool(url, application_name="skrei-api", size=settings.api_pool_size) as pool:
            yield cls(pool, settings.policy)

    async def installation_id(self) -> str:
        """Return what this record calls itself, for ever; it is read once."""
        if not self._installation_id:
            self._installation_id = await lookups.installation_id(self._pool)
        return self._installation_id

    async def wrong(self) -> str:
        """Return what is wrong with the record; empty where it answers."""
        try:
            async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                await connection.fetchval("SELECT 1")
        except (*AWAY, asyncpg.PostgresError) as error:
            return f"the record does not answer: {str(error) or type(error).__name__}"
        return ""

    # ---------------------------------------------------------------- intent

    async def submit_many(
        self, batch: Sequence[Submission], *, meanwhile: Meanwhile | None = None
    ) -> Sequence[Submitted | Exception]:
        """Store submissions; what became of each, in order. `meanwhile` hears of what is being stored."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            return await submit_many(connection, batch, self._admission, meanwhile=meanwhile)

    async def stop_job(self, job_id: str, *, reason: str, actor: str) -> HintedEvaluation | None:
        """Stop a job; None where it was stopped before. Raises Conflict for one that has ended otherwise."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            return await stop_job(connection, job_id, reason=reason, actor=actor)

    async def rerun_job(self, job_id: str, **how: Any) -> Submitted:
        """Run a version of a job once more; see `rerun.rerun_job` for what may be said and what is raised."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            return await rerun_job(connection, job_id, admission=self._admission, **how)

    async def ask_of_node(self, node_id: str, wanted: node_intents.Wanted, *, actor: str) -> int | None:
        """Write down what is wanted of a node; return its number, None where too much waits."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            return await node_intents.ask(connection, node_id, wanted, actor=actor)

    async def node_intent_waits(self, number: int) -> bool:
        """Whether what was wanted of a node is not carried out yet."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            return await node_intents.waits(connection, number)

    async def join_node(self, wanted: Joining) -> None:
        """Let a node in. Raises Conflict where another key speaks for it."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            await join_node(connection, wanted)

    async def renew_node(self, wanted: Renewal) -> bool:
        """Let a node in with its next key; return whether an older one was revoked. Raises Conflict where the one that
        it has is not the node's any more.
        """
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            return await renew_node(connection, wanted)

    async def revoke_node(self, node_id: str, *, actor: str, reason: str) -> None:
        """Let a node in no more with its key. Raises Conflict where it was given none."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            await revoke_node(connection, node_id, actor=actor, reason=reason)

    async def revoked_keys(self) -> list[str]:
        """Return all keys that are let in no more, oldest first."""
        return [row["key"] for row in await self._pool.fetch("SELECT key FROM revoked_keys ORDER BY revoked_at, key")]

    async def audit(self, actor: str, action: str, what: str) -> None:
        """Write down what somebody did that changes nothing else in the record."""
        await self._pool.execute(
            "INSERT INTO audit (at, actor, action, object, details) VALUES (now(), $1, $2, $3, '{}')",
            *(actor, action, what),
        )

    async def collectable(self) -> tuple[dict[str, Amount], bool]:
        """Return how much of what jobs left may go now, by kind, and whether that is all of it."""
        loop = asyncio.get_running_loop()
        until, after = loop.time() + COLLECTABLE_SECONDS, ""
        total: dict[str, Amount] = {}
        while True:
            async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                now = await connection.fetchval("SELECT now()")
                jobs, after = await retention.page(connection, self._policy, now, after=after, limit=COLLECTABLE_JOBS)
                for kind, amount in (await retention.amounts(connection, jobs)).items():
                    total[kind] = total.get(kind, Amount()) + amount
            if not after or loop.time() > until:
                return total, not after

    async def purge_tokens(self) -> None:
        """Forget idempotency tokens that have expired."""
        async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
            await purge_tokens(connection)

    # ---------------------------------------------------------------- jobs

    async def find_job(self, key: str, namespace: str, version: int = 0) -> JobView:
        """Return the job that a name, an id or the beginning of one names, as a version of it was (0: as it is).

        Raises NotFound or Ambiguous.
        """
        job = JobView.of(await lookups.find_job(self._pool, key, namespace))
        if version in (0, job.version):
            return job
        return JobView.of(await lookups.find_version(self._pool, job.id, version))

    async def find_named(self, name: str, namespace: str) -> JobView | None:
        """Return the job that has a name in a namespace."""
        row = await lookups.find_named(self._pool, name, namespace)
        return None if row is None else JobView.of(row)

    async def versions(self, job_id: str, *, after: int, limit: int) -> list[JobView]:
        """Return a job as each of its versions after one was or is, oldest first."""
        return [JobView.of(row) for row in await lookups.versions(self._pool, job_id, after=after, limit=limit)]

    async def in_line(self, job: JobView) -> JobView:
        """Return the job with its place in line as of now, where it waits."""
        place = await lookups.position(self._pool, job.id) if job.state is JobState.QUEUED else None
        return job if place is None else job.at_place(place, lookups.FURTHEST)

    async def whole_json(self, job: JobView) -> str:
        """Return a job as JSON, with the inline data that was cut out of its spec put back."""
        if PREFIX not in job.spec_json:
            return job.json()
        key = (job.id, job.version)
        text = self._restored.get(key)
        if text is None:
            text = await self._restore(job.spec_json)
            self._restored_size += len(text) - len(self._restored.pop(key, ""))  # another may have been as quick
            self._restored[key] = text
            while self._restored_size > RESTORED_BYTES:
                _, dropped = self._restored.popitem(last=False)
                self._restored_size -= len(dropped)
        return job.json(text)

    async def _restore(self, spec_json: str) -> str:
        spec = decode(spec_json)
        found = {}
        for digest in set(references(spec)):
            if (data := await lookups.blob(self._pool, digest)) is not None:
                found[digest] = data
        return encode(restore_blobs(spec, found))

    async def list_jobs(
        self,
        *,
        namespace: str,
        labels: tuple[Constraint, ...],
        order: str,
        reverse: bool,
        after: tuple[int, str] | None,
        limit: int,
        skip: int = 0,
    ) -> tuple[list[JobView], tuple[int, str] | None]:
        """Return a page of jobs and, where there are more, the key of its last one (microseconds, id)."""
        rows = await lookups.list_jobs(
            self._pool,
            namespace=namespace,
            labels=labels,
            order=order,
            reverse=reverse,
            after=None if after is None else (_EPOCH + timedelta(microseconds=after[0]), after[1]),
            limit=limit + 1,
            skip=skip,
        )
        more = None
        if len(rows) > limit:
            rows = rows[:limit]
            more = ((rows[-1][order] - _EPOCH) // timedelta(microseconds=1), str(rows[-1]["id"]))
        return [JobView.of(row) for row in rows], more

    async def open_jobs(self) -> int:
        """Return how many jobs have not ended."""
        return await lookups.open_jobs(self._pool)

    async def history(self, job_id: str, **which: Any) -> list[dict[str, Any]]:
        """Return history items; see `lookups.history` for what may be asked."""
        return [views.history(row) for row in await lookups.history(self._pool, job_id, **which)]

    # ---------------------------------------------------------------- executions and results

    def keeping(self, job: JobView) -> Keeping:
        """Return how long what a job left is kept."""
        return job.keeping(self._policy)

    async def find_execution(self, job_id: str, key: str) -> ExecutionView:
        """Return one execution of a job. Raises NotFound or Ambiguous."""
        return ExecutionView.of(await lookups.find_execution(self._pool, job_id, key))

    async def executions(
        self,
        job_id: str,
        *,
        order: str,
        reverse: bool,
        limit: int,
        version: int | None,
        task: str | None = None,
        partition: int | None = None,
        after: Place | None = None,
    ) -> list[ExecutionView]:
        """Return a job's executions; of one task or partition where they are named, after a place in the order."""
        rows = await lookups.executions(
            self._pool,
            job_id,
            version=version,
            order=order,
            reverse=reverse,
            limit=limit,
            task=task,
            partition=partition,
            after=None if after is None else (_EPOCH + timedelta(microseconds=after[0]), *after[1:]),
        )
        found: list[ExecutionView] = []
        for start in range(0, len(rows), TURN_ROWS):
            found += [ExecutionView.of(row) for row in rows[start : start + TURN_ROWS]]
            await asyncio.sleep(0)
        return found

    def place(self, execution: ExecutionView, order: str) -> Place:
        """Return where an execution stands in the order of a time column."""
        row = execution.row
        return ((row[order] - _EPOCH) // timedelta(microseconds=1), row["task"], row["partition"], execution.id)

    async def runs(self, job_id: str, version: int) -> bool:
        """Whether an execution of a version has not ended: more of its history may come."""
        return await lookups.runs(self._pool, job_id, version)

    async def ready(self, job_id: str) -> list[lookups.Row]:
        """Return a job's executions that are ready and have ports."""
        return await lookups.ready(self._pool, job_id)

    async def results(self, job_id: str, version: int) -> list[ResultView]:
        """Return a job's committed results in the order of partitions."""
        rows = await lookups.results(self._pool, job_id, version)
        return [ResultView.of(row) for row in rows]

    async def result_of(self, job_id: str, execution_id: str) -> ResultView | None:
        """Return what one execution left, committed or not; None when there is nothing (any more)."""
        row = await lookups.result_of(self._pool, job_id, execution_id)
        return None if row is None else ResultView.of(row)

    async def parts(self, job: JobView) -> tuple[list[dict[str, Any]], int | None]:
        """Return how each task of a job of several stands (nothing for a job of one), and of how many partitions a job
        consists that is split by who holds its data; None for every other.
        """
        if not (job.task_names or job.is_split):
            return [], None
        spec = decode(job.spec_json)
        holders = await lookups.targets(self._pool, job.id, job.version) if job.is_split else None
        counts = counts_of(spec, holders)
        told = summed(*await lookups.tasks(self._pool, job.id, job.version)) if job.task_names else {}
        return task_states(spec, job.state, counts, told), None if holders is None else sum(counts.values())

    async def reader(self, execution_id: str) -> lookups.Row | None:
        """Return which unit an execution is an attempt of, and its job's spec."""
        return await lookups.reader(self._pool, execution_id)

    async def left_on_node(self, execution_id: str) -> lookups.Row | None:
        """Return where a committed result of an execution was published, and how its node is connected."""
        return await lookups.left_on_node(self._pool, execution_id)

    async def standing(self, execution_id: str, asked_by: str) -> lookups.Row | None:
        """Return the state of an execution, and whether its result is committed; None for one that is not known, or of
        another job than the execution that asks."""
        return await lookups.standing(self._pool, execution_id, asked_by)

    async def earlier_results(
        self, job_id: str, version: int, task: str, *, first: int, partition: int | None, limit: int
    ) -> list[lookups.Row]:
        """Return committed results of one task, kept or not, from partition `first` on."""
        return await lookups.earlier_results(
            self._pool, job_id, version, task, first=first, partition=partition, limit=limit
        )

    async def inline_result(self, execution_id: str) -> bytes | None:
        """Return a result that the record still holds."""
        return await lookups.inline_result(self._pool, execution_id)

    async def inline_results(self, execution_ids: Sequence[str]) -> dict[str, bytes]:
        """Return those of these results that the record still holds."""
        return await lookups.inline_results(self._pool, execution_ids)

    async def needed(self, results: Sequence[str], manifests: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return those of these results and lists of inputs that a job which has not ended may read."""
        return await lookups.needed(self._pool, results, manifests)

    # ---------------------------------------------------------------- nodes and blobs

    async def nodes(self) -> list[NodeView]:
        """Return every node."""
        return [NodeView.of(row) for row in await lookups.nodes(self._pool)]

    async def count_nodes(self) -> dict[str, int]:
        """Return how many nodes there are, and how many of them are heard."""
        return await lookups.count_nodes(self._pool)

    async def node_names(self, node_ids: Sequence[str]) -> dict[str, str]:
        """Return what these nodes call themselves, by id, as far as they are known."""
        return await lookups.node_names(self._pool, node_ids)

    async def find_node(self, key: str) -> NodeView:
        """Return one node. Raises NotFound or Ambiguous."""
        return NodeView.of(await lookups.find_node(self._pool, key))

    async def node_events(self, node_id: str) -> list[dict[str, Any]]:
        """Return what happened to a node lately, the latest first."""
        return [views.node_event(row) for row in await lookups.node_events(self._pool, node_id)]

    async def blob(self, digest: str) -> bytes | None:
        """Return the bytes under a digest."""
        return await lookups.blob(self._pool, digest)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
