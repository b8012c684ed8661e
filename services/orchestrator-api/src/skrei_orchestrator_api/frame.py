"""What holds for every request: who may knock, how much, how long, and what every answer carries."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skrei_domain.errors import Invalid
from skrei_domain.job_reading import printable
from skrei_orchestrator_api import problems
from skrei_orchestrator_api.cors import Cors
from skrei_orchestrator_api.gate import Gate
from skrei_orchestrator_api.problems import HttpProblem

OLDEST_CLIENT = (1, 4, 0)
"""Clients of the original before this speak another API."""

DRAIN_LIMITS = 2
"""Bodies up to so many times the limit are read to their end before they are refused: whoever writes first and reads
then would see a connection reset, not the answer."""
DRAIN_SECONDS = 5.0
"""How long such a body is waited for."""

EVENT_STREAM = b"text/event-stream; charset=utf-8"
"""The kind of an answer that has no end of its own; each piece of it is bounded where it is sent."""

Told: TypeAlias = Mapping[str, str]
Extra: TypeAlias = Sequence[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[-+][0-9A-Za-z.+-]+)?")


class RateLimit:
    """At most so many requests per second and address; counted in whole seconds, forgotten after each."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._seen: dict[str, int] = {}

    def allows(self, address: str) -> bool:
        """Count one request of `address`."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._seen.clear()
        seen = self._seen[address] = self._seen.get(address, 0) + 1
        return seen <= self._per_second


class Frame:
    """The outermost layer: nothing behind it is reached but through its gate."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        headers: Mapping[str, str],
        gate: Gate,
        rate: RateLimit,
        max_body_bytes: int,
        timeout_seconds: float,
        cors: Cors | None = None,
        answered: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._app = app
        self._cors = cors or Cors()
        self._answered = answered
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._server_version = headers.get("X-Bacalhau-Git-Version", "")
        self._gate = gate
        self._rate = rate
        self._max_body_bytes = max_body_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = read_headers(scope)
        given = headers.get("x-request-id", "")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        scope["request_id"] = request_id
        scope["app"] = self  # makes the router raise what it refuses, so that one table answers it
        extra = [*self._headers, (b"x-request-id", request_id.encode())]
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, headers, extra)
            return
        if (preflight := self._cors.preflight(scope["method"], headers)) is not None:
            await preflight(scope, receive, _adding(send, extra))
            return
        extra += self._cors.headers(headers)
        started, began = False, time.monotonic()
        body = _Body(receive, self._max_body_bytes, headers)

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._answered(scope["method"], message["status"], time.monotonic() - began)
                if (b"content-type", EVENT_STREAM) in message["headers"]:
                    limit.reschedule(None)  # it lasts as long as its reader
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if isinstance(refusal, Response):
                await refusal(scope, receive, answer)
                return
            _check_query(scope["query_string"])
            async with asyncio.timeout(self._timeout_seconds) as limit:
                body.check_announced()
                await self._app(scope, body, answer)
        except Exception as error:
            if started:
                raise
            if isinstance(error, HttpProblem) and error.status == 413:
                await body.drain()
            pretty = b"pretty" in scope["query_string"]
            if isinstance(error, TimeoutError) and limit.expired():
                await PlainTextResponse("Server Timeout!", 503)(scope, receive, answer)
            else:
                await problems.answer(error, request_id, pretty=pretty)(scope, receive, answer)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, headers: Told, extra: Extra) -> None:
        try:
            refusal = self._refusal(scope, headers)
        except HttpProblem as problem:
            refusal = problems.answer(problem, scope["request_id"])
        if isinstance(refusal, Response):
            await send(
                {
                    "type": "websocket.http.response.start",
                    "status": refusal.status_code,
                    "headers": [*refusal.raw_headers, *extra],
                }
            )
            await send({"type": "websocket.http.response.body", "body": bytes(refusal.body)})
            return

        async def answer(message: Message) -> None:
            if message["type"] == "websocket.accept":
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        await self._app(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: Told) -> Response | None:
        """Return the answer of the version gate, or None. Raises HttpProblem for the other refusals."""
        client = scope.get("client")
        if client is not None and not self._rate.allows(client[0]):
            raise HttpProblem(429, "too many requests", code="TooManyRequests", headers={"Retry-After": "1"})
        scope["caller"] = self._gate.admit(scope, headers)
        scope["client_version"] = None
        version = headers.get("x-bacalhau-git-version", "")
        if not version or version == "v0.0.0" or version.startswith("v0.0.0-"):
            return None
        parsed = _VERSION.fullmatch(version)
        if parsed is None:
            return _json(400, {"Error": f"Invalid client version {version!r}"})
        client_version = tuple(map(int, parsed.groups()))
        scope["client_version"] = client_version
        if client_version < OLDEST_CLIENT:
            oldest = "v" + ".".join(map(str, OLDEST_CLIENT))
            text = f"client version {version} is older than {oldest}, the oldest that this server speaks with"
            versions = {"MinVersion": oldest, "ClientVersion": version, "ServerVersion": self._server_version}
            return _json(403, {"Error": text} | versions)
        return None


class _Body:
    """A `receive` that refuses bodies over the limit, announced or not."""

    def __init__(self, receive: Receive, limit: int, headers: Told) -> None:
        self._receive = receive
        self._limit = limit
        announced = headers.get("content-length", "")
        self._announced = int(announced[:18]) if announced.isascii() and announced.isdigit() else 0
        self._awaits_leave = headers.get("expect", "").lower() == "100-continue"
        self._seen = 0
        self._more = True

    def check_announced(self) -> None:
        """Refuse what is announced as too large before any of it is read. Raises HttpProblem."""
        if self._announced > self._limit:
            raise too_large(self._limit)

    async def __call__(self) -> Message:
        """Return the next message. Raises HttpProblem over the limit."""
        message = await self._next()
        if self._seen > self._limit:
            raise too_large(self._limit)
        return message

    async def drain(self) -> None:
        """Read what is left, within bounds; not where it cannot end within them or is not on its way."""
        bound = DRAIN_LIMITS * self._limit
        if self._announced > bound or (self._awaits_leave and not self._seen):
            return
        with contextlib.suppress(TimeoutError):  # it is refused anyway; the wait was for its sender's sake
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._more and self._seen <= bound:
                    await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._more = message["type"] == "http.request" and bool(message.get("more_body"))
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
        return message


def read_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request by their names in lower case; of one that comes twice the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _check_query(query: bytes) -> None:
    """Refuse NULs in any parameter: the record could not hold them, nor look for them. Raises Invalid."""
    if b"%00" not in query and b"\0" not in query:
        return
    found = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    names = dict.fromkeys(printable(name) for name, value in found if "\0" in name + value)
    raise Invalid("\n".join(f"{name}: allowed: text without NUL characters" for name in names), component="APIServer")


def _adding(send: Send, extra: Extra) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *extra]
        await send(message)

    return answer


def too_large(limit: int) -> HttpProblem:
    """The answer to a body over the limit."""
    return HttpProblem(413, f"Request Entity Too Large: at most {limit:,} bytes", headers={"Connection": "close"})


def _json(status: int, body: dict[str, str]) -> Response:
    return JSONResponse(body, status_code=status)
