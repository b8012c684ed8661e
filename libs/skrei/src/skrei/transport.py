"""How calls reach an API without blocking: sent, sent again where that may help, and read.

Whatever may be sent twice is sent again while the API says "a little later" (429, 503), and when the connection broke
off after this client had once been answered (a restart of the API): a submission carries an idempotency token, so
that asking twice never makes two jobs.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from skrei.answers import (
    ATTEMPTS,
    CONNECT_SECONDS,
    document_of,
    pause_seconds,
    problem_of,
    said_of,
)
from skrei.calls import Call
from skrei.credentials import headers_for
from skrei.endpoint import API, is_loopback, resolve
from skrei.errors import Unreachable, closed
from skrei.tagged import NotModified, Tagged
from skrei.trust import context_for, limit_seconds, unreachable
from skrei.views import Page
from skrei_domain.errors import SkreiError

T = TypeVar("T")


class Transport:
    """Sends calls to one API. Use it as an async context manager, or call `close`.

    `endpoint` and `token` are what the environment says where they are not given: SKREI_API_URL; SKREI_API_KEY, else
    the file named in SKREI_API_KEY_FILE, else the owner's token of a stack of this user on this machine.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str = "",
        timeout_seconds: float | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint = resolve(endpoint, os.environ)
        self._token = token
        self._closed = False
        self.answered = False
        """Whether this API has answered once: then it is worth waiting for."""
        self._limit = httpx2.Timeout(limit_seconds(self.endpoint, timeout_seconds), connect=CONNECT_SECONDS)
        self._transport = transport
        self._http = self._connections(self.endpoint, base_url=self.endpoint)
        # Downloads are opened by what their address holds: nobody behind one is told who asks the API.
        self._doors: dict[str, httpx2.AsyncClient] = {}

    def _connections(self, url: str, *, base_url: str = "") -> httpx2.AsyncClient:
        """Return connections to whoever answers at `url`."""
        return httpx2.AsyncClient(
            base_url=base_url,
            timeout=self._limit,
            transport=self._transport,
            trust_env=not is_loopback(self.endpoint),
            verify=context_for(self.endpoint, url) or True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; from now on each call raises Closed."""
        self._closed = True
        await self._http.aclose()
        for door in self._doors.values():
            await door.aclose()

    def download(
        self, url: str, headers: Mapping[str, str], *, asked: object = None
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        """Open the address of a result, or where several are `asked` for at once (JSON); whatever is answered is the
        caller's to judge. Raises what HTTPX raises.

        Identity: the file is a tar.gz already, and its size is checked against what arrived.
        """
        self._check_open()
        address = httpx2.URL(self.endpoint).join(url)
        host = f"{address.scheme}://{address.netloc.decode('ascii')}"
        if host not in self._doors:
            self._doors[host] = self._connections(host)
        told = {"Accept-Encoding": "identity", **headers}
        if asked is not None:
            return self._doors[host].stream("POST", address, headers=told, json=asked)
        return self._doors[host].stream("GET", address, headers=told)

    async def send(self, call: Call[T]) -> T:
        """Send a call and return what it answers. Raises ApiError (and its kinds), NotSkrei or Unreachable."""
        response = await self._exchange(call, {})
        return call.read(document_of(response.content, self.endpoint, _said(response)))

    async def every(self, first: Call[Page[T]]) -> tuple[T, ...]:
        """Send a call for a page, and for each page after it; return what is on all. Raises what `send` raises."""
        page = await self.send(first)
        found = list(page.items)
        while page.next_token:
            page = await self.send(first.after(page.next_token))
            found += page.items
        return tuple(found)

    async def read(self, call: Call[T], *, etag: str = "") -> Tagged[T] | NotModified:
        """Send a call that reads; with the tag of an earlier answer, NotModified where that is still true.

        The API tags reads of jobs and nodes. Raises what `send` raises.
        """
        headers = {"If-None-Match": etag} if etag else {}
        response = await self._exchange(call, headers)
        told = response.headers.get("ETag", "")
        if response.status_code == httpx2.codes.NOT_MODIFIED:
            return NotModified(told or etag)
        return Tagged(call.read(document_of(response.content, self.endpoint, _said(response))), told)

    async def _exchange(self, call: Call[Any], headers: Mapping[str, str]) -> httpx2.Response:
        """Return the answer once it is one: 200, or 304 to a tag. Raises ApiError or Unreachable."""
        self._check_open()
        wanted = {key: value for key, value in call.query.items() if value not in ("", ())}
        good = {httpx2.codes.OK, *((httpx2.codes.NOT_MODIFIED,) if headers else ())}
        for attempt in range(1, ATTEMPTS + 1):
            problem: SkreiError
            retry_after = ""
            try:
                response = await self._http.request(
                    call.method,
                    API + call.path,
                    params=wanted,
                    json=call.body,
                    headers={**self.headers(), **headers},
                )
            except httpx2.TransportError as error:
                problem = self._silent(error)
                # Who never answered may not be there at all: that is told at once.
                passing = self.answered
                cause: Exception | None = error
            else:
                self.answered = True
                if response.status_code in good:
                    return response
                refused = problem_of(response.status_code, response.content, self.endpoint, _said(response))
                problem, passing, cause = refused, refused.may_pass, None
                retry_after = response.headers.get("Retry-After", "")
            if not (call.repeatable and passing and attempt < ATTEMPTS):
                raise problem from cause
            await asyncio.sleep(pause_seconds(retry_after, attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stream(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        """Open an answer that goes on; whatever it is, it is the caller's to judge. Raises what HTTPX raises."""
        self._check_open()
        return self._http.stream("GET", API + path, params=query, headers={**self.headers(), **headers})

    def headers(self) -> dict[str, str]:
        """Return what says who asks."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else headers_for(self.endpoint)

    def _check_open(self) -> None:
        if self._closed:
            raise closed()

    def _silent(self, error: httpx2.TransportError) -> Unreachable:
        if isinstance(error, httpx2.TimeoutException):
            return Unreachable(
                f"The API at {self.endpoint} did not answer in time.", hint="Look at the log of `skrei serve`."
            )
        return unreachable(self.endpoint, error)


def _said(response: httpx2.Response) -> str:
    return said_of(response.status_code, response.reason_phrase, response.headers)
