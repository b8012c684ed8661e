"""The output of all of a job's partitions and tasks as one stream: each piece says whose it is."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skrei import calls, streams
from skrei.errors import LogsFailed
from skrei.follow import follow
from skrei.log_query import LogQuery
from skrei.log_units import chosen, speaks
from skrei.views import Execution, LogLine

if TYPE_CHECKING:
    from skrei.client import AsyncClient

MOST_FOLLOWED = 32
"""Executions that are read at once, each through a connection of its own; others have their turn later."""
MOST_WAITING = 64
"""Pieces that wait for who reads: then those who send wait too."""
AGAIN_SECONDS = (0.5, 1.0, 2.0)
"""Before a stream that broke is opened again; after the last it has failed: its node is away for longer."""


async def of_all(client: "AsyncClient", query: LogQuery) -> AsyncIterator[LogLine]:
    """Yield what the executions say that a query means, one of each unit; with `follow` until the job has ended.

    Those of a job that has ended come one after the other, those that run as they speak. Raises LogsFailed at the end
    where the output of one could not be had.
    """
    if query.execution:
        async for line in _of_one(client, query, None):
            yield line
        return
    job = await client.send(calls.job(query.job, namespace=query.namespace, version=query.version))
    query = replace(query, job=job.id, namespace="", version=0)
    if query.follow and not job.is_terminal:
        async for line in _following(client, query):
            yield line
        return
    executions = chosen(await client.every(calls.executions(job.id, version=job.version)), query)
    if not executions:  # why there is none yet is the API's to say
        async for line in _of_one(client, query, None):
            yield line
    failed: LogsFailed | None = None
    for one in executions:
        try:
            async for line in _of_one(client, replace(query, follow=False), one):
                yield line
        except LogsFailed as error:
            failed = failed or error
    if failed is not None:
        raise failed


async def _of_one(client: "AsyncClient", query: LogQuery, one: Execution | None) -> AsyncIterator[LogLine]:
    if one is not None:
        query = replace(query, execution=one.id, task="", partition=None)
    async for line in streams.logs(client, query):
        yield line if one is None else replace(line, task=one.task, partition=one.partition, execution_id=one.id)


async def _following(client: "AsyncClient", query: LogQuery) -> AsyncIterator[LogLine]:
    if query.tail and query.lines is None:
        query = replace(query, lines=0)  # of one that ends before it is asked, the API tells all without it
    queue: asyncio.Queue[LogLine | BaseException | None] = asyncio.Queue(MOST_WAITING)
    following = asyncio.create_task(_Following(client, query, queue).run())
    try:
        while (got := await queue.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@dataclass
class _Following:
    """One call with `follow`."""

    client: "AsyncClient"
    query: LogQuery
    queue: "asyncio.Queue[LogLine | BaseException | None]"
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_FOLLOWED))
    _readers: "dict[str, asyncio.Task[None]]" = field(default_factory=dict)
    _old: frozenset[str] | None = None
    """Executions that had begun to speak before the first look: `tail` and `lines` are meant of these."""
    _shown: dict[str, dict[int, int]] = field(default_factory=dict)
    """Characters of each stream that were told, by execution."""
    _lost: dict[str, LogsFailed] = field(default_factory=dict)
    """Executions whose output does not come any more, and why: tried again when they are heard of."""

    async def run(self) -> None:
        """Read until the job has ended; the last that is told is None, or what went wrong."""
        last: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                async for look in follow(self.client, self.query.job):
                    executions = look.executions
                    if look.job.is_terminal and not executions:
                        executions = await self.client.every(calls.executions(look.job.id))
                    if self._old is None:
                        self._old = frozenset(one.id for one in executions if one.is_terminal or speaks(one))
                    self._attend(group, chosen(executions, self.query), self._old)
        except* Exception as problem:  # noqa: BLE001 - it is raised where the output is read
            last = _first(problem)
        await self.queue.put(last or next(iter(self._lost.values()), None))

    def _attend(self, group: asyncio.TaskGroup, executions: Iterable[Execution], old: frozenset[str]) -> None:
        for one in executions:
            back = one.id in self._lost and (one.is_terminal or one.state == "Running")
            if (one.id in self._readers and not back) or not (one.is_terminal or speaks(one)):
                continue
            if one.is_terminal and one.id in old and self._goes_on(one):
                continue  # what it said was said before; of one that was lost, nobody tells where to go on
            # An execution that began later has said nothing before that was not asked for.
            query = self.query if one.id in old else replace(self.query, tail=False, lines=None)
            self._lost.pop(one.id, None)
            self._readers[one.id] = group.create_task(self._in_turn(query, one))

    def _goes_on(self, one: Execution) -> bool:
        """Whether only what comes from now on is still asked for of one that spoke before."""
        return self.query.tail or (self.query.lines is not None and bool(self._shown.get(one.id)))

    async def _in_turn(self, query: LogQuery, one: Execution) -> None:
        async with self._slots:
            await self._read(query, one)

    async def _read(self, query: LogQuery, one: Execution) -> None:
        """Read one to its end; a stream that breaks is opened again, and nothing is told twice."""
        shown = self._shown.setdefault(one.id, {})
        for pause in (*AGAIN_SECONDS, None):
            at: dict[int, int] = {}
            if shown and query.lines is not None:
                query, at = replace(query, tail=True, lines=0), dict(shown)
            try:
                async for line in _of_one(self.client, query, one):
                    start = at.get(line.stream, 0)
                    before = shown.get(line.stream, 0)
                    at[line.stream] = start + len(line.text)
                    shown[line.stream] = max(before, at[line.stream])
                    if fresh := line.text[max(before - start, 0) :]:
                        await self.queue.put(replace(line, text=fresh))
            except LogsFailed as error:
                if pause is None:
                    self._lost[one.id] = error
                    return
                await asyncio.sleep(pause)
            else:
                return


def _first(problem: BaseExceptionGroup[Exception]) -> BaseException:
    found: BaseException = problem
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
