"""The client on a connection of the standard library, blocking, so that a command starts at once.

It sends the same calls (`skrei.calls`) and reads the same answers (`skrei.answers`) as `AsyncClient`, whose HTTP
library costs more to import than most commands take.
"""

import http.client
import json
import os
import time
from collections.abc import Mapping
from email.message import Message
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlencode, urlsplit

from skrei.answers import (
    ATTEMPTS,
    CONNECT_SECONDS,
    document_of,
    not_skrei,
    pause_seconds,
    problem_of,
    said_of,
)
from skrei.calls import Call
from skrei.credentials import headers_for
from skrei.endpoint import API, is_loopback, resolve
from skrei.errors import Unreachable
from skrei.trust import context_for, limit_seconds, unreachable
from skrei.views import Page

MOST_BYTES = 256 * 1024 * 1024
"""Of one answer: above the largest page of the largest specs."""

T = TypeVar("T")
Answer = tuple[int, Mapping[str, str], bytes, str]


class Ask:
    """Asks one API. Belongs to one thread; use it as a context manager, or call `close`."""

    def __init__(self, endpoint: str | None = None, *, timeout_seconds: float | None = None) -> None:
        self.endpoint = resolve(endpoint, os.environ)
        self.date = ""
        """When the last answer was given, by the API's clock, as HTTP writes it."""
        self._timeout_seconds = limit_seconds(self.endpoint, timeout_seconds)
        self._headers = {"Accept": "application/json", **headers_for(self.endpoint)}
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, call: Call[T]) -> T:
        """Send a call and return what it answers. Raises ApiError, NotSkrei or Unreachable."""
        wanted = {key: value for key, value in call.query.items() if value not in ("", (), None)}
        target = API + call.path + (f"?{urlencode(wanted, doseq=True)}" if wanted else "")
        content = None if call.body is None else json.dumps(call.body).encode()
        for attempt in range(1, ATTEMPTS + 1):
            status, headers, told, reason = self._send(call.method, target, content)
            said = said_of(status, reason, headers)
            if status == http.client.OK:
                return call.read(document_of(told, self.endpoint, said))
            problem = problem_of(status, told, self.endpoint, said)
            if not (call.repeatable and problem.may_pass and attempt < ATTEMPTS):
                raise problem
            time.sleep(pause_seconds(headers.get("retry-after", ""), attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def every(self, first: Call[Page[T]]) -> tuple[T, ...]:
        """Send a call for a page, and for each page after it; return what is on all of them."""
        page = self.send(first)
        found = list(page.items)
        while page.next_token:
            page = self.send(first.after(page.next_token))
            found += page.items
        return tuple(found)

    def _send(self, method: str, target: str, content: bytes | None) -> Answer:
        headers = self._headers | ({"Content-Type": "application/json"} if content is not None else {})
        try:
            if _proxied(self.endpoint):
                return self._through_proxy(method, target, content, headers)
            return self._direct(method, target, content, headers)
        except TimeoutError as error:
            raise Unreachable(
                f"The API at {self.endpoint} did not answer in time.", hint="Look at the log of `skrei serve`."
            ) from error
        except OSError as error:
            raise unreachable(self.endpoint, error) from error
        except http.client.HTTPException as error:
            raise not_skrei(self.endpoint, "it does not speak HTTP") from error

    def _through_proxy(self, method: str, target: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        import urllib.error
        import urllib.request

        request = urllib.request.Request(self.endpoint + target, content, headers, method=method)
        context = context_for(self.endpoint)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds, context=context) as response:
                return response.status, _lowered(response.headers), response.read(MOST_BYTES), response.reason
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lowered(error.headers), error.read(MOST_BYTES), error.reason
        except urllib.error.URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from error

    def _direct(self, method: str, target: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        fresh = self._connection is None
        try:
            return self._exchange(method, target, content, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            if fresh:
                raise
            # An idle connection that was closed meanwhile, which only shows when it is used.
            return self._exchange(method, target, content, headers)
        except BaseException:
            self.close()
            raise

    def _exchange(self, method: str, target: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        parts = urlsplit(self.endpoint)
        if self._connection is None:
            self._connection = self._fresh(parts.scheme, parts.hostname or "", parts.port)
            self._connection.connect()
            self._connection.sock.settimeout(self._timeout_seconds)
        self._connection.request(method, parts.path + target, content, headers)
        response = self._connection.getresponse()
        told = response.read(MOST_BYTES)
        lowered = {name.lower(): value for name, value in response.getheaders()}
        self.date = lowered.get("date", "")
        if response.will_close:
            self.close()
        return response.status, lowered, told, response.reason

    def _fresh(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
        context = context_for(self.endpoint)
        return http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=context)


def _proxied(endpoint: str) -> bool:
    """Return whether the environment names a proxy on the way; to this machine none is."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    return not is_loopback(endpoint) and any(os.environ.get(name) or os.environ.get(name.upper()) for name in names)


def _lowered(headers: Message) -> Mapping[str, str]:
    return {name.lower(): str(value) for name, value in headers.items()}
