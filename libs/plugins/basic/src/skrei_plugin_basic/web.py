"""A client of web servers that brings files: every connection judged, every transfer resumable, every wait limited."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import aiohttp
from yarl import URL

from skrei_domain.errors import Unavailable
from skrei_plugin_api.judged_http import (
    FAILURES,
    TLS_FAILURES,
    JudgedResolver,
    cause,
    judge,
    raise_unknown,
    timeout,
    unsafe,
)
from skrei_plugin_api.outbound import Forbidden, Outbound
from skrei_plugin_api.pieces import DATA, Piece
from skrei_plugin_api.pouring import pour
from skrei_plugin_api.storage import StageFailed, StageLimits, StageProblem
from skrei_plugin_basic.url import identity, shown, too_large

T = TypeVar("T")

PAUSES_SECONDS = (0.2, 1.0, 1.0)
"""Before each further try; the last one again for all that follow."""
MOST_REDIRECTS = 10
"""What browsers follow before they call it a loop is twice that; sites need two or three."""

NOTE = "validator"
"""Beside what came of a file: what the server called its version, so that only the rest of the same is asked for."""
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_NO_HEAD = {400, 403, 404, 405, 501}
"""What servers answer that know no HEAD, or whose signed addresses are good for GET alone."""


class WebAway(Unavailable):
    """A server could not be reached, or broke off more often than is tried; another try may succeed."""

    code = "input-unavailable"


class _Cut(Exception):
    """A try that did not come to its end; the text says how it ended."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a server says of a file: the address it was found at in the end, its headers in lower case, its size."""

    url: str
    headers: Mapping[str, str]
    size: int | None


class Web:
    """Brings files by the rules of one node."""

    def __init__(self, rules: Outbound) -> None:
        self._rules = rules
        self._session: aiohttp.ClientSession | None = None

    async def head(self, url: str, retries: int) -> Head:
        """Return what is said of a file: asked with HEAD, or a GET that is closed at once. Raises as `download`."""

        async def once() -> Head:
            try:
                async with self._open("HEAD", url, {}) as (response, at):
                    head = _head(response, at)
                    if response.status < 400 and head.size != 0:  # some say so of every file
                        return head
                    if response.status >= 400 and response.status not in _NO_HEAD:
                        _check(response, at)
            except _Cut:  # some servers drop what they do not know
                pass
            async with self._open("GET", url, {}) as (response, at):
                _check(response, at)
                return _head(response, at)

        return await _again(once, url, retries)

    async def download(self, url: str, piece: Piece, folder: Path, limits: StageLimits, retries: int) -> None:
        """Bring a file into `folder` as `DATA`, from where an earlier try ended if it is still the same.

        Raises StageFailed for what stays as it is, WebAway where another try may succeed, OSError for trouble of this
        node's disk.
        """
        once = partial(self._once, url, piece, folder, limits)
        await _again(once, url, retries, came=partial(_size, folder / DATA))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _once(self, url: str, piece: Piece, folder: Path, limits: StageLimits) -> None:
        data, note = folder / DATA, folder / NOTE
        validator = await asyncio.to_thread(_read_note, note)
        first = _size(data) if validator else 0
        wanted = {"Range": f"bytes={first}-", "If-Range": validator} if first else {}
        async with self._open("GET", url, wanted) as (response, at):
            if response.status == 416:  # there is no rest: what is here is not it
                await asyncio.to_thread(data.unlink, missing_ok=True)
                raise _Cut("the server has less than came before")
            _check(response, at)
            _check_same(response, at, piece, url)
            if response.status != 206 or _first(response) != first:
                first = 0
            await asyncio.to_thread(_write_note, note, _validator(response))
            size = _whole(response, first)
            with await asyncio.to_thread(data.open, "r+b" if first else "wb") as file:
                file.truncate(first)
                came = first + await pour(response, file.fileno(), first, limits.max_bytes - first, _uncounted)
            if came > limits.max_bytes:
                raise too_large(at, limits)
        if size is not None and came != size:
            raise _Cut(f"{came:,} of {size:,} bytes came")

    @asynccontextmanager
    async def _open(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, str]]:
        """Ask, and follow where that leads; every address on the way is judged. Raises _Cut, and StageFailed."""
        target = URL(url, encoded=True)
        for _ in range(MOST_REDIRECTS + 1):
            self._judge(target)
            try:
                async with self._client().request(
                    method,
                    target,
                    headers={"Accept-Encoding": "identity", **headers},
                    allow_redirects=False,
                ) as response:
                    location = response.headers.get("Location", "")
                    if response.status not in _REDIRECTS or not location:
                        yield response, str(target)
                        return
                    target = _joined(target, location)
            except Forbidden as error:
                raise _denied(str(target), error) from error
            except TLS_FAILURES as error:
                raise unsafe(error, shown(str(target)), "SSL_CERT_FILE") from error
            except FAILURES as error:
                raise_unknown(error)
                raise _Cut(cause(error)) from error
        raise StageFailed(StageProblem.INVALID, f"{shown(url)} redirects more than {MOST_REDIRECTS} times")

    def _judge(self, url: URL) -> None:
        """Raise StageFailed unless this address may be asked; a name's addresses are judged once it is looked up."""
        if url.scheme not in ("http", "https") or not url.host:
            raise StageFailed(
                StageProblem.DENIED, f"it leads to {shown(str(url))[:200]}, which is no address of the web"
            )
        try:
            judge(self._rules, url.host, url.port or 0)
        except Forbidden as error:
            raise _denied(str(url), error) from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=JudgedResolver(self._rules), use_dns_cache=False, limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout(), connector=connector, auto_decompress=False)
        return self._session


async def _again(once: Callable[[], Awaitable[T]], url: str, retries: int, came: Callable[[], int] = int) -> T:
    """Return what a call comes to that may be cut so often, anew whenever more of it `came`. Raises WebAway."""
    left = retries
    while True:
        before = came()
        try:
            return await once()
        except _Cut as cut:
            if came() > before:
                left = retries  # what gets on may be cut as often as it likes
            if left == 0:
                raise WebAway(f"{shown(url)} cannot be fetched: {cut}") from cut
        await asyncio.sleep(_pause(retries - left))
        left -= 1


def _pause(attempt: int) -> float:
    return PAUSES_SECONDS[min(attempt, len(PAUSES_SECONDS) - 1)]


def _head(response: aiohttp.ClientResponse, url: str) -> Head:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Head(url, headers, _whole(response, 0))


def _check(response: aiohttp.ClientResponse, url: str) -> None:
    """Raise what a status means: _Cut where another try may help, StageFailed where it will not."""
    status = response.status
    if status < HTTPStatus.BAD_REQUEST:
        return
    said = f"{status} {response.reason or ''}".strip()
    if status in _PASSING:
        raise _Cut(f"the server answers {said}")
    missing = status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    hint = "look at the address" if missing else "look at the address, and at what the server wants to see"
    problem = StageProblem.MISSING if missing else StageProblem.DENIED
    raise StageFailed(problem, f"{shown(url)} answers {said}", hint=hint)


def _check_same(response: aiohttp.ClientResponse, at: str, piece: Piece, url: str) -> None:
    """Raise StageFailed where the server has another version by now than the one that was listed.

    All executions of a job read the version that it was pinned to, so that another try of it changes nothing.
    """
    if not piece.identity.startswith("url:"):
        return  # its bytes are compared with their digest
    head = _head(response, at)
    if head.headers.get("etag") or head.headers.get("last-modified"):
        same = identity(url, head) == piece.identity
    else:
        same = None in (piece.size, head.size) or piece.size == head.size
    if not same:
        raise StageFailed(
            StageProblem.INVALID,
            f"{shown(at)} changed after it was listed",
            hint="`skrei job rerun` reads what is there now",
        )


def _validator(response: aiohttp.ClientResponse) -> str:
    """Return what to ask for the rest of the same with (RFC 9110, 13.1.5): a weak ETag is none."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _whole(response: aiohttp.ClientResponse, first: int) -> int | None:
    """Return the size of the whole file, of which this answer begins at `first`; None where the server does not say."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else None
    length = response.headers.get("Content-Length", "")
    return first + int(length) if length.isdecimal() else None


def _first(response: aiohttp.ClientResponse) -> int:
    """Return where a part begins, -1 where nobody says."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _uncounted(more: int) -> None:
    """The file itself tells how much came."""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_note(path: Path) -> str:
    return path.read_text("latin-1") if path.exists() else ""


def _write_note(path: Path, text: str) -> None:
    path.write_text(text, "latin-1")


def _joined(base: URL, location: str) -> URL:
    try:
        return base.join(URL(location, encoded=True))
    except ValueError as error:
        raise StageFailed(StageProblem.INVALID, f"{shown(str(base))} redirects to {location[:200]!r}") from error


def _denied(url: str, error: Forbidden) -> StageFailed:
    return StageFailed(StageProblem.DENIED, f"{shown(url)} may not be fetched: {error}")
