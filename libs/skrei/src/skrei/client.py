"""The asynchronous client: one method for each thing that the API does.

Reads and submissions are asked again while the API says "a little later" (429, 503): a submission carries an
idempotency token, so asking twice never makes two jobs.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import httpx2

from skrei.answers import (
    ATTEMPTS,
    CONNECT_SECONDS,
    LOG_FRAME_BYTES,
    TIMEOUT_SECONDS,
    document_of,
    log_line_of,
    pause_seconds,
    problem_of,
    said_of,
)
from skrei.credentials import headers_for
from skrei.endpoint import API, is_loopback, resolve
from skrei.errors import ApiError, LogsFailed, Unreachable
from skrei.views import (
    Document,
    Execution,
    HistoryItem,
    Job,
    JobDetails,
    LogLine,
    Node,
    Page,
    Submitted,
    items,
)


class AsyncClient:
    """Talks to one API. Use it as an async context manager, or call `close`."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint = resolve(endpoint, os.environ)
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

    # -------------------------------------------------------------- agent

    async def alive(self) -> bool:
        """Return whether the API says that it is well; raises Unreachable where nobody answers."""
        return bool((await self.call("GET", "/agent/alive")).get("Status") == "OK")

    async def version(self) -> Document:
        """Return what the API says of its build."""
        return await self.call("GET", "/agent/version")

    # -------------------------------------------------------------- jobs

    async def submit(
        self, job: Mapping[str, Any], *, force: bool = False, idempotency_token: str | None = None
    ) -> Submitted:
        """Submit a job; the same idempotency token (made here when none is given) never makes a second one."""
        body = {"Job": dict(job), "Force": force, "IdempotencyToken": idempotency_token or str(uuid.uuid4())}
        answer = await self.call("PUT", "/orchestrator/jobs", body=body, repeatable=True)
        return Submitted(
            job_id=str(answer.get("JobID", "")),
            evaluation_id=str(answer.get("EvaluationID", "")),
            warnings=tuple(str(text) for text in answer.get("Warnings") or ()),
        )

    async def job(self, job_id: str) -> Job:
        """Return the job that `job_id` (an id, a name, or any prefix of an id) names."""
        return Job.parse((await self.call("GET", _path(job_id))).get("Job") or {})

    async def describe(self, job_id: str) -> JobDetails:
        """Return a job with its executions and the beginning of its history."""
        answer = await self.call("GET", _path(job_id), query={"include": "executions,history"})
        return JobDetails(
            job=Job.parse(answer.get("Job") or {}),
            executions=tuple(map(Execution.parse, items((answer.get("Executions") or {}).get("Items")))),
            history=tuple(map(HistoryItem.parse, items((answer.get("History") or {}).get("Items")))),
            document=answer,
        )

    async def jobs(
        self,
        *,
        namespace: str = "",
        labels: tuple[str, ...] = (),
        limit: int = 20,
        next_token: str = "",
        reverse: bool = True,
        order_by: str = "created_at",
    ) -> Page[Job]:
        """Return a page of jobs, newest first unless `reverse` is False."""
        query = {
            "namespace": namespace,
            "limit": limit,
            "next_token": next_token,
            "reverse": _flag(reverse),
            "order_by": order_by,
            "labels": labels,
        }
        answer = await self.call("GET", "/orchestrator/jobs", query=query)
        return Page(tuple(map(Job.parse, items(answer.get("Items")))), str(answer.get("NextToken") or ""), answer)

    async def stop(self, job_id: str, *, reason: str = "Stopped at user request") -> str:
        """Stop a job; returns the evaluation's id, empty when it was stopped before."""
        answer = await self.call("DELETE", _path(job_id), body={"reason": reason})
        return str(answer.get("EvaluationID") or "")

    async def history(
        self, job_id: str, *, next_token: str = "", limit: int = 100, event_type: str = "all", execution_id: str = ""
    ) -> Page[HistoryItem]:
        """Return a page of history; the token stays non-empty until the job is terminal and all of it was read."""
        query = {"limit": limit, "next_token": next_token, "event_type": event_type, "execution_id": execution_id}
        answer = await self.call("GET", f"{_path(job_id)}/history", query=query)
        found = tuple(map(HistoryItem.parse, items(answer.get("Items"))))
        return Page(found, str(answer.get("NextToken") or ""), answer)

    async def executions(self, job_id: str, *, limit: int = 0) -> Page[Execution]:
        """Return a job's executions, oldest first; `limit` 0 is all."""
        query = {"limit": limit} if limit else {}
        answer = await self.call("GET", f"{_path(job_id)}/executions", query=query)
        return Page(tuple(map(Execution.parse, items(answer.get("Items")))), str(answer.get("NextToken") or ""), answer)

    async def results(self, job_id: str, *, execution_id: str = "") -> Page[Document]:
        """Return where a job's committed results are, or what one execution left: documents of `Type` and `Params`."""
        answer = await self.call("GET", f"{_path(job_id)}/results", query={"execution_id": execution_id})
        return Page(items(answer.get("Items")), str(answer.get("NextToken") or ""), answer)

    async def logs(
        self, job_id: str, *, execution_id: str = "", follow: bool = False, tail: bool = False
    ) -> AsyncIterator[LogLine]:
        """Yield a job's output until its end (`follow` waits for more). Raises LogsFailed on an error frame."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosedError, InvalidHandshake

        query = urlencode({"execution_id": execution_id, "follow": _flag(follow), "tail": _flag(tail)})
        url = f"ws{self.endpoint.removeprefix('http')}{API}{_path(job_id)}/logs?{query}"
        proxy: Literal[True] | None = None if is_loopback(self.endpoint) else True
        try:
            async with connect(
                url,
                max_size=LOG_FRAME_BYTES,
                proxy=proxy,
                open_timeout=CONNECT_SECONDS,
                additional_headers=headers_for(self.endpoint),
            ) as stream:
                async for frame in stream:
                    yield log_line_of(frame)
        except ConnectionClosedError as error:
            raise LogsFailed("The log stream broke off.", hint="Ask again; the output is kept.") from error
        except InvalidHandshake as error:
            raise LogsFailed(f"The API did not open a log stream: {error}.") from error
        except OSError as error:
            raise self._unreachable() from error

    # -------------------------------------------------------------- nodes

    async def nodes(self, *, labels: tuple[str, ...] = ()) -> Page[Node]:
        """Return every node."""
        answer = await self.call("GET", "/orchestrator/nodes", query={"labels": labels})
        return Page(tuple(map(Node.parse, items(answer.get("Nodes")))), str(answer.get("NextToken") or ""), answer)

    async def node(self, node_id: str) -> Node:
        """Return the node that an id or a prefix of one names."""
        answer = await self.call("GET", f"/orchestrator/nodes/{quote(node_id, safe='')}")
        return Node.parse(answer.get("Node") or {})

    # -------------------------------------------------------------- transport

    def download(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[httpx2.Response]:
        """Open the address of a result; whatever is answered is the caller's to judge. Raises what HTTPX raises.

        Identity: the file is a tar.gz already, and its size is checked against what arrived.
        """
        address = httpx2.URL(self.endpoint).join(url)
        return self._doors.stream("GET", address, headers={"Accept-Encoding": "identity", **headers})

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
            try:
                response = await self._http.request(
                    method, API + path, params=wanted, json=body, headers=headers_for(self.endpoint)
                )
            except httpx2.TimeoutException as error:
                raise Unreachable(
                    f"The API at {self.endpoint} did not answer in time.", hint="Look at the log of `skrei serve`."
                ) from error
            except httpx2.TransportError as error:
                raise self._unreachable() from error
            if response.status_code == httpx2.codes.OK:
                return _document(response, self.endpoint)
            problem = _problem(response, self.endpoint)
            if not (again and problem.may_pass and attempt < ATTEMPTS):
                raise problem
            await asyncio.sleep(pause_seconds(response.headers.get("Retry-After", ""), attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _unreachable(self) -> Unreachable:
        return Unreachable(
            f"No Skrei API answers at {self.endpoint}.",
            hint="Start one with `skrei serve`, or name another with --api URL (or SKREI_API_URL).",
            endpoint=self.endpoint,
        )


def _path(job_id: str) -> str:
    return f"/orchestrator/jobs/{quote(job_id, safe='')}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _document(response: httpx2.Response, endpoint: str) -> Document:
    return document_of(response.content, endpoint, _said(response))


def _problem(response: httpx2.Response, endpoint: str) -> ApiError:
    return problem_of(response.status_code, response.content, endpoint, _said(response))


def _said(response: httpx2.Response) -> str:
    return said_of(response.status_code, response.reason_phrase, response.headers)
