"""The blocking client: the same calls for scripts and notebooks, run on a loop of its own in a thread.

Everything here and in `skrei.sync_jobs` has the name, the arguments and the promises of its asynchronous twin.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from skrei import calls
from skrei.calls import Call
from skrei.client import AsyncClient
from skrei.follow import follow
from skrei.job_parts import Endpoint, Result
from skrei.loop import Loop
from skrei.progress import Progress
from skrei.results import Fetched, Wish, fetch
from skrei.sync_jobs import Jobs, Nodes
from skrei.tagged import NotModified, Tagged
from skrei.views import Document, Event, Execution, HistoryItem, Job, JobDetails, LogLine, Node, Page, Submitted

T = TypeVar("T")


class Client:
    """Talks to one API, blocking. Works inside a running loop too (a notebook), since its loop has its own thread."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str = "",
        timeout_seconds: float | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = AsyncClient(endpoint, token=token, timeout_seconds=timeout_seconds, transport=transport)
        self._loop = Loop(self._client.close)

    @property
    def endpoint(self) -> str:
        """The API's base URL."""
        return self._client.endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; a second time does nothing.

        A client that nobody holds any more, and any at the end of a program, is closed by itself.
        """
        self._loop.close()

    @cached_property
    def jobs(self) -> Jobs:
        """Jobs: run, get, list, diff."""
        return Jobs(self._loop, self._client.jobs)

    @cached_property
    def nodes(self) -> Nodes:
        """Nodes: list, get, approve, reject, delete."""
        return Nodes(self._loop, self._client.nodes)

    def alive(self) -> bool:
        """See `AsyncClient.alive`."""
        return self._loop.do(self._client.alive)

    def version(self) -> Document:
        """See `AsyncClient.version`."""
        return self._loop.do(self._client.version)

    def submit(self, job: Mapping[str, Any], *, force: bool = False, idempotency_token: str | None = None) -> Submitted:
        """See `AsyncClient.submit`."""
        return self._loop.do(self._client.submit, job, force=force, idempotency_token=idempotency_token)

    def job(self, job_id: str) -> Job:
        """See `AsyncClient.job`."""
        return self._loop.do(self._client.job, job_id)

    def describe(self, job_id: str) -> JobDetails:
        """See `AsyncClient.describe`."""
        return self._loop.do(self._client.describe, job_id)

    def stop(self, job_id: str, *, reason: str = calls.STOPPED) -> str:
        """See `AsyncClient.stop`."""
        return self._loop.do(self._client.stop, job_id, reason=reason)

    def history(
        self, job_id: str, *, next_token: str = "", limit: int = 100, event_type: str = "all", execution_id: str = ""
    ) -> Page[HistoryItem]:
        """See `AsyncClient.history`."""
        return self._loop.do(
            self._client.history,
            job_id,
            next_token=next_token,
            limit=limit,
            event_type=event_type,
            execution_id=execution_id,
        )

    def executions(self, job_id: str, *, limit: int = 0) -> Page[Execution]:
        """See `AsyncClient.executions`."""
        return self._loop.do(self._client.executions, job_id, limit=limit)

    def endpoints(self, job_id: str) -> Page[Endpoint]:
        """See `AsyncClient.endpoints`."""
        return self._loop.do(self._client.endpoints, job_id)

    def results(self, job_id: str, *, execution_id: str = "") -> Page[Result]:
        """See `AsyncClient.results`."""
        return self._loop.do(self._client.results, job_id, execution_id=execution_id)

    def fetch(self, job_id: str, target: Path, wish: Wish | None = None) -> Fetched:
        """Download a job's results below `target`; see `skrei.results.fetch`."""
        return self._loop.do(fetch, self._client, job_id, target, wish or Wish())

    def follow(self, job_id: str) -> Iterator[Progress]:
        """Yield progress until the job is terminal; see `skrei.follow.follow`."""
        return self._loop.each(follow(self._client, job_id))

    def wait(self, job_id: str) -> Job:
        """Return the job once it is terminal."""
        *_, last = self.follow(job_id)
        return last.job

    def logs(
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
    ) -> Iterator[LogLine]:
        """See `AsyncClient.logs`."""
        return self._loop.each(
            self._client.logs(
                job_id,
                execution_id=execution_id,
                follow=follow,
                tail=tail,
                lines=lines,
                task=task,
                partition=partition,
                version=version,
            )
        )

    def events(self, job_id: str, *, after: int = 0, stay: bool = False) -> Iterator[Event]:
        """See `AsyncClient.events`."""
        return self._loop.each(self._client.events(job_id, after=after, stay=stay))

    def node(self, node_id: str) -> Node:
        """See `AsyncClient.node`."""
        return self._loop.do(self._client.node, node_id)

    def send(self, call: Call[T]) -> T:
        """See `AsyncClient.send`."""
        return self._loop.do(self._client.send, call)

    def every(self, first: Call[Page[T]]) -> tuple[T, ...]:
        """See `AsyncClient.every`."""
        return self._loop.do(self._client.every, first)

    def read(self, call: Call[T], *, etag: str = "") -> Tagged[T] | NotModified:
        """See `AsyncClient.read`."""
        return self._loop.do(self._client.read, call, etag=etag)
