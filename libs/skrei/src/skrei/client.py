"""The asynchronous client: `client.jobs` and `client.nodes` for programs, one method below them for each call.

Whatever may be sent twice is sent again while the API says "a little later" (429, 503), and when the connection broke
off after this client had once been answered (a restart of the API): a submission carries an idempotency token, so
that asking twice never makes two jobs.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2

from skrei import calls, streams
from skrei.answers import (
    ATTEMPTS,
    CONNECT_SECONDS,
    TIMEOUT_SECONDS,
    document_of,
    pause_seconds,
    problem_of,
    said_of,
)
from skrei.calls import Call
from skrei.credentials import headers_for
from skrei.endpoint import API, is_loopback, resolve
from skrei.errors import Unreachable
from skrei.views import Document, Event, Execution, HistoryItem, Job, JobDetails, LogLine, Node, Page, Submitted
from skrei_domain.errors import SkreiError

if TYPE_CHECKING:
    from skrei.jobs import AsyncJobs
    from skrei.nodes import AsyncNodes

T = TypeVar("T")


class AsyncClient:
    """Talks to one API. Use it as an async context manager, or call `close`.

    `endpoint` and `token` are what the environment says where they are not given: SKREI_API_URL; SKREI_API_KEY, else
    the file named in SKREI_API_KEY_FILE, else the owner's token of a stack of this user on this machine.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint = resolve(endpoint, os.environ)
        self._token = token
        self.answered = False
        """Whether this API has answered once: then it is worth waiting for."""
        self._http = httpx2.AsyncClient(
            base_url=self.endpoint,
            timeout=httpx2.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=not is_loopback(self.endpoint),
        )
        # Downloads are opened by what their address holds: nobody behind one is told who asks the API.
        self._doors = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=not is_loopback(self.endpoint),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._doors.aclose()

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

    # -------------------------------------------------------------- one method for each call

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
        """Return a job's executions, oldest first; `limit` 0 is all."""
        return await self.send(calls.executions(job_id, limit=limit))

    async def results(self, job_id: str, *, execution_id: str = "") -> Page[Document]:
        """Return where a job's results can be fetched; `execution_id` asks for what that execution left."""
        return await self.send(calls.results(job_id, execution_id=execution_id))

    async def node(self, node_id: str) -> Node:
        """Return the node that an id or a prefix of one names."""
        return await self.send(calls.node(node_id))

    async def logs(
        self, job_id: str, *, execution_id: str = "", follow: bool = False, tail: bool = False
    ) -> AsyncIterator[LogLine]:
        """Yield a job's output until its end (`follow` waits for more). Raises LogsFailed on an error frame."""
        async for line in streams.logs(self, job_id, execution_id=execution_id, follow=follow, tail=tail):
            yield line

    async def events(self, job_id: str, *, after: int = 0, stay: bool = False) -> AsyncIterator[Event]:
        """Yield what happens to a job as it happens, from its history's item after number `after` on.

        Ends when the job has ended; with `stay` it waits for what a later version brings. A stream that breaks off is
        taken up where it was. Raises NotFound, Unreachable or EventsFailed.
        """
        async for event in streams.events(self, job_id, after=after, stay=stay):
            yield event

    # -------------------------------------------------------------- transport

    def download(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[httpx2.Response]:
        """Open the address of a result; whatever is answered is the caller's to judge. Raises what HTTPX raises.

        Identity: the file is a tar.gz already, and its size is checked against what arrived.
        """
        address = httpx2.URL(self.endpoint).join(url)
        return self._doors.stream("GET", address, headers={"Accept-Encoding": "identity", **headers})

    async def send(self, call: Call[T]) -> T:
        """Send a call and return what it answers. Raises ApiError (and its kinds), NotSkrei or Unreachable."""
        return call.read(
            await self.call(call.method, call.path, query=call.query, body=call.body, repeatable=call.repeatable)
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Document | None = None,
        repeatable: bool | None = None,
    ) -> Document:
        """Send one request below /api/v1 and return the document. Raises ApiError or Unreachable."""
        again = method == "GET" if repeatable is None else repeatable
        wanted = {key: value for key, value in (query or {}).items() if value not in ("", ())}
        for attempt in range(1, ATTEMPTS + 1):
            problem: SkreiError
            retry_after = ""
            try:
                response = await self._http.request(
                    method, API + path, params=wanted, json=body, headers=self.headers()
                )
            except httpx2.TransportError as error:
                problem = self._silent(error)
                # Who never answered may not be there at all: that is told at once.
                passing = self.answered
                cause: Exception | None = error
            else:
                self.answered = True
                if response.status_code == httpx2.codes.OK:
                    return document_of(response.content, self.endpoint, _said(response))
                refused = problem_of(response.status_code, response.content, self.endpoint, _said(response))
                problem, passing, cause = refused, refused.may_pass, None
                retry_after = response.headers.get("Retry-After", "")
            if not (again and passing and attempt < ATTEMPTS):
                raise problem from cause
            await asyncio.sleep(pause_seconds(retry_after, attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stream(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        """Open an answer that goes on; whatever it is, it is the caller's to judge. Raises what HTTPX raises."""
        return self._http.stream("GET", API + path, params=query, headers={**self.headers(), **headers})

    def headers(self) -> dict[str, str]:
        """Return what says who asks."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else headers_for(self.endpoint)

    def _silent(self, error: httpx2.TransportError) -> Unreachable:
        if isinstance(error, httpx2.TimeoutException):
            return Unreachable(
                f"The API at {self.endpoint} did not answer in time.", hint="Look at the log of `skrei serve`."
            )
        return self.unreachable()

    def unreachable(self) -> Unreachable:
        """Return the error of an API that does not answer."""
        return Unreachable(
            f"No Skrei API answers at {self.endpoint}.",
            hint="Start one with `skrei serve`, or name another with --api URL (or SKREI_API_URL).",
            endpoint=self.endpoint,
        )


def _said(response: httpx2.Response) -> str:
    return said_of(response.status_code, response.reason_phrase, response.headers)
