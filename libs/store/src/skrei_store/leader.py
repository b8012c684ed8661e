"""The record as the leader of one epoch uses it: one way to commit, and the reads that it plans from.

Every commit first locks the lease row against a takeover and the rows of its jobs, then decides, then writes, in one
transaction. A commit that is refused, or whose outcome is not known, ends the leadership: nothing more is written
in this epoch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from skrei_domain.errors import LeadershipLost, Unavailable
from skrei_domain.lifecycle import JobState
from skrei_domain.messages import PublisherCommand
from skrei_domain.node import NodeInfo
from skrei_scheduling.changes import Changes, Decide, Locked, LockedJob
from skrei_scheduling.rows import Evaluation, ExecutionRow, JobRow, NodeIntent, NodeRow
from skrei_store import believed, bulk, leases, node_intents, takeover, work
from skrei_store.believed import Beliefs
from skrei_store.db import AWAY, Connection, LeaderPool
from skrei_store.parts import parts_of
from skrei_store.staged import Turns
from skrei_store.takeover import Loaded
from skrei_store.values import storable

T = TypeVar("T")

LOCK = """
WITH lease AS MATERIALIZED (
    SELECT FROM leases WHERE name = $1 AND epoch = $2 FOR SHARE
), job AS MATERIALIZED (
    SELECT id, generation, version, state, history_seq, units_won
    FROM jobs WHERE id = ANY ($3::text[]) AND EXISTS (SELECT FROM lease)
    ORDER BY id FOR UPDATE
)
SELECT EXISTS (SELECT FROM lease) AS leads,
       array(SELECT id FROM evaluations WHERE id = ANY ($4::text[])) AS evaluations,
       array_agg(id) AS id, array_agg(generation) AS generation, array_agg(version) AS version,
       array_agg(state) AS state, array_agg(history_seq) AS history_seq, array_agg(units_won) AS units_won,
       clock_timestamp() AS now
FROM job
"""
"""One row: whether we lead, and the locked jobs as columns. The clock is read last, when all locks are held."""


class CommitRefused(LeadershipLost):
    """The record's own rules refused a commit: what the leader believed was not so. Nothing was written."""

    code = "commit-refused"


class LeaderRecord:
    """The record in the hands of the leader of `epoch`. One commit at a time; reads may run beside it."""

    def __init__(self, pool: LeaderPool, epoch: int) -> None:
        self._pool = pool
        self._epoch = epoch
        self._over = ""
        self._infos: dict[str, tuple[NodeInfo, str]] = {}  # by node: what was written last, and its text
        self._beliefs = Beliefs()
        self._turns = Turns()
        self.now: datetime | None = None
        """When the last commit was, by the record's clock, where it was one statement: `decide` was not told."""

    def believe(self, jobs: Iterable[JobRow], evaluations: Collection[str], now: datetime) -> Locked | None:
        """Return what a lock of these jobs would find, as far as this epoch knows; None for more than are believed, and
        with one that has ended: its history is forgotten, so it would never be so.
        """
        rows = list(jobs)
        if not 0 < len(rows) <= believed.MOST_JOBS or any(row.state.is_terminal for row in rows):
            return None
        return self._beliefs.of(rows, evaluations, now)

    async def commit(
        self,
        lock: Collection[str],
        evaluations: Collection[str],
        decide: Decide,
        belief: Locked | None = None,
        *,
        meanwhile: Callable[[Changes], None] = lambda _: None,
    ) -> Changes:
        """Lock these jobs, decide, write what was decided; return it once it is committed.

        `decide` gets the jobs that exist and those of the `evaluations` that nobody has answered. With a `belief` it
        may get that first, and is asked again where the record says otherwise; `meanwhile` is called then with what was
        decided, while the record is at work on it, which may come to nothing. Raises LeadershipLost, also where the
        outcome is not known; what `decide` raises passes, with nothing written.
        """
        if self._over:
            raise LeadershipLost(self._over)
        self.now = None
        with self._or_lost():
            writer = await self._pool.writer()
        if belief is not None and (done := await self._at_once(writer, belief, decide, meanwhile)) is not None:
            return done
        with self._or_lost():
            transaction = writer.transaction()
            await transaction.start()
        try:
            with self._or_lost():
                locked = await self._lock(writer, lock, evaluations)
            changes = decide(locked)
            with self._or_lost():
                _check(changes, locked)
                await bulk.write(writer, locked.now, parts_of(changes, self._node_json))
        except BaseException:
            await self._abandon(writer, transaction)
            raise
        with self._or_lost():
            # Nothing to keep is nothing to wait for the disk for.
            await (transaction.rollback() if changes.empty else transaction.commit())
        self._beliefs.learn(locked, changes)
        return changes

    async def _at_once(
        self, writer: Connection, belief: Locked, decide: Decide, meanwhile: Callable[[Changes], None]
    ) -> Changes | None:
        """Write what `decide` makes of a belief in one statement; None where the long way has to be gone."""
        changes = decide(belief)
        with self._or_lost():
            _check(changes, belief)
            work = bulk.in_one(parts_of(changes, self._node_json))
            if work is None or not believed.can_be_believed(changes, belief.now):
                return None
            asyncio.get_running_loop().call_soon(meanwhile, changes)  # the statement leaves first, in this turn
            try:
                verdict = await believed.write_if_so(writer, self._epoch, belief, work)
            except asyncio.CancelledError:
                self._over = "a commit was cancelled, and may have been made"
                raise
            if not verdict.leads:
                raise self._another_leads()
        if not verdict.holds:
            return None
        self._beliefs.learn(belief, changes)
        self.now = verdict.at
        return changes

    async def load(self) -> Loaded:
        """Return all that a view is built from, as of one moment."""
        with self._or_lost():
            async with self._pool.reads.acquire() as connection:
                return await takeover.load(connection)

    async def due(self, limit: int, but: Collection[str] = ()) -> list[Evaluation]:
        """Return evaluations that are due, `but` those, oldest first, each with its job as it is now."""
        with self._or_lost():
            async with self._pool.reads.acquire() as connection:
                return await work.due(connection, limit, but)

    async def node_intents(self, limit: int) -> list[NodeIntent]:
        """Return what is wanted of nodes and not carried out."""
        with self._or_lost():
            async with self._pool.reads.acquire() as connection:
                return await node_intents.pending(connection, limit)

    async def executions(self, ids: Collection[str]) -> dict[str, ExecutionRow]:
        """Return those of these executions that exist."""
        with self._or_lost():
            async with self._pool.reads.acquire() as connection:
                return await work.executions(connection, ids)

    async def specs(self, keys: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Return the stored spec texts of these (job, version)."""
        with self._or_lost():
            async with self._pool.reads.acquire() as connection:
                return await work.specs(connection, keys)

    async def publisher_work(self, *, older_than_seconds: float, ttl_hours: float) -> PublisherCommand:
        """Return what the publisher is to take over, and to make final: asked again, what comes next."""
        with self._or_lost():
            async with self._pool.reads.acquire() as connection:
                return await work.publisher_work(
                    connection, self._turns, older_than_seconds=older_than_seconds, ttl_hours=ttl_hours
                )

    async def collect(self, work: Callable[[Connection, int], Awaitable[T]]) -> T:
        """Return what `work` does on a connection of its own, beside the commits, in this epoch.

        Nothing of it is anything that leading rests on: where the record fails, Unavailable is raised, and the leader
        goes on.
        """
        try:
            async with self._pool.reads.acquire() as connection:
                return await work(connection, self._epoch)
        except (*AWAY, asyncpg.PostgresError) as error:
            raise Unavailable(f"the record failed: {type(error).__name__}: {error}") from error

    async def _lock(self, writer: Connection, lock: Collection[str], evaluations: Collection[str]) -> Locked:
        row = await writer.fetchrow(LOCK, leases.SCHEDULER, self._epoch, list(lock), list(evaluations))
        if not row["leads"]:
            raise self._another_leads()
        return Locked(now=row["now"], jobs=_locked_jobs(row), evaluations=frozenset(row["evaluations"]))

    def _another_leads(self) -> LeadershipLost:
        return LeadershipLost(f"epoch {self._epoch} is over: another scheduler leads", epoch=str(self._epoch))

    def _node_json(self, node: NodeRow) -> str:
        """Return the node's info as text; it moves rarely and is written with every batch of its facts."""
        known = self._infos.get(node.id)
        if known is None or known[0] is not node.info:
            known = self._infos[node.id] = (node.info, storable(node.info.model_dump_json()))
        return known[1]

    async def _abandon(self, writer: asyncpg.Connection, transaction: asyncpg.transaction.Transaction) -> None:
        """Undo what was not committed; a link on which that fails is ended, which undoes it too."""
        if self._over or writer.is_closed():
            writer.terminate()
            return
        try:
            await transaction.rollback()
        except (*AWAY, asyncpg.PostgresError):
            self._over = "the record could not be told to roll back"
            writer.terminate()

    @contextmanager
    def _or_lost(self) -> Iterator[None]:
        """Turn every failure of the record into the end of this leadership."""
        try:
            yield
        except LeadershipLost as error:
            self._over = error.message
            raise
        except (bulk.Mismatch, asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, ValueError) as error:
            self._over = f"the record refused a commit: {error}"
            raise CommitRefused(self._over, epoch=str(self._epoch)) from error
        except (*AWAY, asyncpg.PostgresError) as error:
            self._over = f"the record failed: {type(error).__name__}: {error}"
            raise LeadershipLost(self._over, epoch=str(self._epoch)) from error


def _locked_jobs(row: Mapping[str, Any]) -> dict[str, LockedJob]:
    if row["id"] is None:
        return {}
    columns = (row[name] for name in ("id", "generation", "version", "state", "history_seq", "units_won"))
    return {
        id_: LockedJob(id_, generation, version, JobState(state), history_seq, units_won)
        for id_, generation, version, state, history_seq, units_won in zip(*columns, strict=True)
    }


def _check(changes: Changes, locked: Locked) -> None:
    for job in changes.jobs:
        if job.id not in locked.jobs:
            raise CommitRefused(f"job {job.id} was decided upon without its lock", job_id=job.id)
