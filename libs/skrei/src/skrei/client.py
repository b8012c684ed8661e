"""The asynchronous client: one method for each thing that the API does.

Reads and submissions are asked again while the API says "a little later" (429, 503): a submission carries an
idempotency token, so asking twice never makes two jobs.
"""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import httpx2

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

TIMEOUT_SECONDS = 35.0
"""One request: the API gives its handlers 30 s."""
CONNECT_SECONDS = 5.0
"""A connection: somebody who does not answer by then is not there."""
ATTEMPTS = 5
"""Calls in all while the API answers 429 or 503: with its Retry-After a burst has passed by then."""
LONGEST_RETRY_SECONDS = 10.0
"""A Retry-After above this is cut: a person is waiting."""
LOG_FRAME_BYTES = 4 * 1024 * 1024
"""A log frame carries one chunk of output; the node cuts them at 256 KiB, and JSON may need six bytes for one."""


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
            async with connect(url, max_size=LOG_FRAME_BYTES, proxy=proxy, open_timeout=CONNECT_SECONDS) as stream:
                async for frame in stream:
                    yield _log_line(frame)
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
                response = await self._http.request(method, API + path, params=wanted, json=body)
            except httpx2.TimeoutException as error:
                raise Unreachable(
                    f"The API at {self.endpoint} did not answer in time.", hint="Look at the log of `skrei serve`."
                ) from error
            except httpx2.TransportError as error:
                raise self._unreachable() from error
            if response.status_code == httpx2.codes.OK:
                return _document(response)
            problem = problem_of(response)
            if not (again and problem.may_pass and attempt < ATTEMPTS):
                raise problem
            await asyncio.sleep(_pause(response, attempt))
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


def _document(response: httpx2.Response) -> Document:
    try:
        document = response.json()
    except ValueError as error:
        raise ApiError(
            "What answered is not a Skrei API: its body is not JSON.", status=response.status_code
        ) from error
    if not isinstance(document, dict):
        raise ApiError("What answered is not a Skrei API: its body is not an object.", status=response.status_code)
    return document


def problem_of(response: httpx2.Response) -> ApiError:
    """Read the documented error body; anything else is told by its status and the beginning of its text."""
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        told = " ".join(response.text[:200].split())
        return ApiError(f"The API answered {status}{': ' + told if told else ''}.", status=status)
    return ApiError(
        str(body.get("Message") or body.get("Error") or body.get("error") or f"The API answered {status}."),
        status=status,
        api_code=str(body.get("Code") or ""),
        hint=str(body.get("Hint") or ""),
        **{str(key): str(value) for key, value in (body.get("Details") or {}).items() if str(key).isidentifier()},
    )


def _pause(response: httpx2.Response, attempt: int) -> float:
    told = response.headers.get("Retry-After", "")
    seconds = float(told) if told.isdigit() else 0.25 * 2**attempt
    return min(seconds, LONGEST_RETRY_SECONDS)


def _log_line(frame: str | bytes) -> LogLine:
    try:
        document = json.loads(frame)
        value = document.get("value") or {}
        problem = document.get("error")
    except (ValueError, AttributeError) as error:
        raise LogsFailed("The API sent a log frame that is not one.") from error
    if problem:
        raise LogsFailed(str(problem))
    return LogLine(stream=int(value.get("Type") or 1), text=str(value.get("Line") or ""))
