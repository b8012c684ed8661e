"""The HTTP functions that programs may import from `wasi:http/requests`: one request at a time, by the task's rules.

The interface is that of the peer, whose programs run here as they are: texts and lengths in the program's memory, a
number as answer. Addresses are judged by the same rules as those of containers (`skrei_plugin_api.outbound`): a name is
looked up once, and the connection goes to what was judged. So is each address that a site redirects to.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from skrei_plugin_api.outbound import Forbidden, Found, Outbound, internet

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
"""By the numbers that programs call them."""
SECONDS = 30.0
"""One request with all its redirects."""
MOST_BYTES = 100 * 1024 * 1024
"""Of an answer; never more than four fifths of the program's memory either."""
LEAST_BYTES = 64 * 1024
"""What an answer may have however small that is."""
MOST_REDIRECTS = 10
"""What browsers follow before they call it a loop is twice that; sites need two or three."""
PIECE_BYTES = 256 * 1024
"""Read of an answer at once: the clock is looked at in between."""

T = TypeVar("T")

Resolve = Callable[[str, int], list[Found]]


class Result(IntEnum):
    """What the function answers."""

    SUCCESS = 0
    INVALID_URL = 1
    NETWORK_ERROR = 2
    TIMEOUT = 3
    NOT_ALLOWED = 4
    TOO_LARGE = 5
    BAD_INPUT = 6
    MEMORY_ERROR = 7


class Refused(Exception):
    """A request that has no answer; `result` says why."""

    def __init__(self, result: Result, text: str) -> None:
        super().__init__(text)
        self.result = result


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a program makes it."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A site's answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def resolve(host: str, port: int) -> list[Found]:
    """Look a name up, once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return internet(found)


def most_bytes(memory_bytes: int) -> int:
    """Return how large an answer may be for a program with so much memory."""
    return max(min(memory_bytes * 4 // 5, MOST_BYTES), LEAST_BYTES)


def read_headers(text: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of `Name: value` lines; other lines, and `Host`, which the address says, do not count."""
    found = []
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon and name.strip() and name.strip().lower() != "host":
            found.append((name.strip(), value.strip()))
    return tuple(found)


class Web:
    """The web as one program may use it."""

    def __init__(self, rules: Outbound, resolve: Resolve = resolve) -> None:
        self._rules = rules
        self._resolve = resolve

    def ask(self, asked: Asked, most: int) -> Answer:
        """Return the answer, after at most MOST_REDIRECTS redirects. Raises Refused."""
        until = time.monotonic() + SECONDS
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._once(asked, most, until)
            location = next((value for name, value in answer.headers if name.lower() == "location"), "")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            try:
                asked = _redirected(asked, answer.status, location)
            except ValueError as error:
                raise Refused(
                    Result.NETWORK_ERROR, f"it redirects to {location[:200]!r}, which is no address"
                ) from error
        raise Refused(Result.NETWORK_ERROR, f"more than {MOST_REDIRECTS} redirects")

    def _once(self, asked: Asked, most: int, until: float) -> Answer:
        try:
            parts = urlsplit(asked.url)
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise Refused(Result.INVALID_URL, "its address is none") from error
        if parts.scheme not in ("http", "https") or not host:
            raise Refused(Result.INVALID_URL, "its address is none of http or https")
        try:
            self._rules.check(host, port)
            sock = self._connect(host, port, until)
        except Forbidden as error:
            raise Refused(Result.NOT_ALLOWED, str(error)) from error
        except TimeoutError as error:
            raise Refused(Result.TIMEOUT, "it does not answer in time") from error
        except (OSError, UnicodeError) as error:
            raise Refused(Result.NETWORK_ERROR, str(error)) from error
        with sock, _cut_off(sock, until):
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            try:
                secured = _secured(sock, host) if parts.scheme == "https" else sock
                answer = _speak(secured, parts.netloc.rpartition("@")[2], path, asked, most)
                _left(until)  # an answer without a length seems whole when it was cut off
            except (Refused, TimeoutError) as error:
                if time.monotonic() >= until:
                    raise Refused(Result.TIMEOUT, "it does not answer in time") from error
                raise
            return answer

    def _connect(self, host: str, port: int, until: float) -> socket.socket:
        trouble: OSError | None = None
        found = _in_time(lambda: self._resolve(host, port), until)
        for family, kind, protocol, _, address in self._rules.choose(host, found):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(_left(until))
                sock.connect((address[0], port, *address[2:]))
            except OSError as error:
                sock.close()
                trouble = error
            else:
                return sock
        raise trouble or OSError("no address")


def _secured(sock: socket.socket, host: str) -> socket.socket:
    """Return the connection with TLS, to that host by its certificate. Raises Refused."""
    import ssl

    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except TimeoutError as error:
        raise Refused(Result.TIMEOUT, "it does not answer in time") from error
    except OSError as error:
        raise Refused(Result.NETWORK_ERROR, str(error)) from error


def _speak(sock: socket.socket, authority: str, path: str, asked: Asked, most: int) -> Answer:
    """Send one request over a connection, and read its whole answer, up to so many bytes. Raises Refused."""
    import http.client  # with ssl 4 MB, for the programs that use the web

    try:
        connection = http.client.HTTPConnection(authority)
        connection.sock = sock
        connection.request(asked.method, path, asked.body or None, dict(asked.headers))
        response = connection.getresponse()
        body = bytearray()
        while piece := response.read(min(PIECE_BYTES, most + 1 - len(body))):
            body += piece
            if len(body) > most:
                raise Refused(Result.TOO_LARGE, f"its answer has more than {most} bytes")
        return Answer(response.status, tuple(response.getheaders()), bytes(body))
    except TimeoutError as error:
        raise Refused(Result.TIMEOUT, "it does not answer in time") from error
    except ValueError as error:  # a header, method or address that cannot be sent
        raise Refused(Result.BAD_INPUT, str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Refused(Result.NETWORK_ERROR, str(error)) from error
    finally:
        sock.close()


def _redirected(asked: Asked, status: int, location: str) -> Asked:
    url = urljoin(asked.url, location)
    secret = ("authorization", "cookie")
    other = urlsplit(url).netloc != urlsplit(asked.url).netloc
    headers = tuple(one for one in asked.headers if not (other and one[0].lower() in secret))
    if status in (307, 308) or asked.method in ("GET", "HEAD"):
        return Asked(asked.method, url, headers, asked.body)
    return Asked("GET", url, headers)


@contextmanager
def _cut_off(sock: socket.socket, until: float) -> Iterator[None]:
    """Cut a connection when its time is over, whatever trickles over it: a timeout of sockets begins anew with each
    byte."""
    import threading  # with queue 0.4 MB, for the programs that use the web

    timer = threading.Timer(_left(until), lambda: _shut(sock))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)


def _in_time(work: Callable[[], T], until: float) -> T:
    """Return what `work` returns. Raises what it raises, and TimeoutError; it may then go on unheard."""
    import threading
    from queue import Empty, SimpleQueue

    done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            done.put((None, error))

    threading.Thread(target=run, name="look-up", daemon=True).start()
    try:
        result, failed = done.get(timeout=_left(until))
    except Empty as error:
        raise TimeoutError from error
    if failed is not None:
        raise failed
    return result  # type: ignore[return-value]  # None is only put beside an error, or as a T


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
