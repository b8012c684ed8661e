"""The asynchronous client: `client.jobs` and `client.nodes` for programs, one method below them for each call."""

from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from skrei import calls, streams
from skrei.job_parts import Endpoint, Result
from skrei.log_query import LogQuery
from skrei.transport import Transport
from skrei.views import Document, Event, Execution, HistoryItem, Job, JobDetails, LogLine, Node, Page, Submitted

if TYPE_CHECKING:
    from skrei.jobs import AsyncJobs
    from skrei.nodes import AsyncNodes


class AsyncClient(Transport):
    """Talks to one API. Use it as an async context manager, or call `close`.

    `endpoint` and `token` are what the environment says where they are not given: SKREI_API_URL; SKREI_API_KEY, else
    the file named in SKREI_API_KEY_FILE, else the owner's token of a stack of this user on this machine.
    """

    @cached_property
    def jobs(self) -> "AsyncJobs":
        """Jobs: run, get, list, diff."""
        from skrei.jobs import AsyncJobs

        return AsyncJobs(self)

    @cached_property
    def nodes(self) -> "AsyncNodes":
        """Nodes: list, get, approve, reject, delete."""
        from skrei.nodes import AsyncNodes

        return AsyncNodes(self)

    async def alive(self) -> bool:
        """Return whether the API says that it is well; raises Unreachable where nobody answers."""
        return await self.send(calls.alive())

    async def version(self) -> Document:
        """Return what the API says of its build."""
        return await self.send(calls.version())

    async def submit(
        self, job: Mapping[str, Any], *, force: bool = False, idempotency_token: str | None = None
    ) -> Submitted:
        """Submit a job; the same idempotency token (made here when none is given) never makes a second one."""
        return await self.send(calls.submit(job, force=force, idempotency_token=idempotency_token or ""))

    async def job(self, job_id: str) -> Job:
        """Return the job that `job_id` (an id, a name, or any prefix of an id) names."""
        return await self.send(calls.job(job_id))

    async def describe(self, job_id: str) -> JobDetails:
        """Return a job with its executions and the beginning of its history."""
        return await self.send(calls.describe(job_id))

    async def stop(self, job_id: str, *, reason: str = calls.STOPPED) -> str:
        """Stop a job; returns the evaluation's id, empty when it was stopped before."""
        return await self.send(calls.stop(job_id, reason=reason))

    async def history(
        self, job_id: str, *, next_token: str = "", limit: int = 100, event_type: str = "all", execution_id: str = ""
    ) -> Page[HistoryItem]:
        """Return a page of history; the token stays non-empty until the job is terminal and all of it was read."""
        return await self.send(
            calls.history(job_id, next_token=next_token, limit=limit, event_type=event_type, execution_id=execution_id)
        )

    async def executions(self, job_id: str, *, limit: int = 0) -> Page[Execution]:
        """Return the first of a job's executions, oldest first; `limit` 0 is as many as one answer holds.

        `await client.every(calls.executions(job_id))` returns all of them, from as many answers as that takes.
        """
        return await self.send(calls.executions(job_id, limit=limit))

    async def endpoints(self, job_id: str) -> Page[Endpoint]:
        """Return where a job's ready executions are reached."""
        return await self.send(calls.endpoints(job_id))

    async def results(self, job_id: str, *, execution_id: str = "") -> Page[Result]:
        """Return where a job's results can be fetched; `execution_id` asks for what that execution left."""
        return await self.send(calls.results(job_id, execution_id=execution_id))

    async def node(self, node_id: str) -> Node:
        """Return the node that an id or a prefix of one names."""
        return await self.send(calls.node(node_id))

    async def logs(
        self,
        job_id: str,
        *,
        execution_id: str = "",
        follow: bool = False,
        tail: bool = False,
        lines: int | None = None,
        task: str = "",
        partition: int | None = None,
        version: int = 0,
    ) -> AsyncIterator[LogLine]:
        """Yield a job's output until its end (`follow` waits for more). Raises LogsFailed on an error frame.

        It is that of one execution: the one that is named, else the latest of `task` and `partition` (of any, where
        those are not given). `lines`: of what was said before only so many of each stream; `tail`: nothing of it.
        """
        query = LogQuery(
            job_id,
            execution_id,
            follow=follow,
            tail=tail,
            lines=lines,
            task=task,
            partition=partition,
            version=version,
        )
        async for line in streams.logs(self, query):
            yield line

    async def events(self, job_id: str, *, after: int = 0, stay: bool = False) -> AsyncIterator[Event]:
        """Yield what happens to a job as it happens, from its history's item after number `after` on.

        Ends when the job has ended; with `stay` it waits for what a later version brings. A stream that breaks off is
        taken up where it was. Raises NotFound, Unreachable or EventsFailed.
        """
        async for event in streams.events(self, job_id, after=after, stay=stay):
            yield event
