"""One result into one file: streamed, taken up again where it broke off, and checked before anybody uses it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx2

from skrei.answers import problem_of, said_of
from skrei.client import AsyncClient
from skrei.errors import ApiError, DownloadFailed
from skrei.job_parts import SINGLE_FILES, Result

TRIES = 6
"""Tries in a row that bring nothing: with their pauses half a minute, the restart of a whole stack."""
FIRST_PAUSE_SECONDS = 0.5
"""Before the second try; doubles."""
LONGEST_PAUSE_SECONDS = 10.0
"""A person is waiting."""
MOST_DOWNLOAD_BYTES = 64 * 1024**3
"""Of a result whose size nobody tells; see `skrei.archive.MOST_BYTES`."""
ERROR_BYTES = 64 * 1024
"""Read of an answer that is an error."""

PART = "X-Skrei-Path"
"""What an answer has that is a part of a result: size and digest are not those of the whole. Empty: it is all of it,
packed again of its files: what IPFS gave was compared block by block, of single files in S3 the digest tells if none
has changed."""
_EXPIRED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_DOOR_AWAY = "That is the publisher's door: see that `skrei serve` runs and that its port can be reached."
_OBJECTS_AWAY = "That is the server of objects to which the job sent its result: see that it can be reached from here."


class Meter(Protocol):
    """Who is told how far downloads are."""

    def add(self, count: int) -> None:
        """So many bytes more have arrived; a negative number takes back what has to come again."""


class Gone(Exception):
    """The door has no such result any more."""


class _AtOnce(Exception):
    """Ask again without a pause: something about the request was mended."""


Renew = Callable[[], Awaitable[str]]
Pause = Callable[[float], Awaitable[None]]


class Download:
    """Brings one result into a file, or what of it lies at or below a `path`, where that can be had alone.

    `renew` asks the API for a fresh address, once, when this one has expired.
    """

    def __init__(
        self,
        client: AsyncClient,
        result: Result,
        file: Path,
        *,
        renew: Renew,
        meter: Meter,
        path: str = "",
        tries: int = TRIES,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._client = client
        self._result = result
        self._path = file
        self._renew = renew
        self._meter = meter
        self._pause = pause
        self._url = result.url_of(path)
        self._renewed = False
        self._whole = result.size
        self._etag = ""
        self._have = 0
        self._hash = hashlib.sha256()
        self._part = self._again = False
        self._at_a_stretch = True
        self.doubtful = False
        """Whether what came was packed again and differs: a file of it was changed, or another zlib packed it."""
        self._tries = tries

    async def run(self) -> None:
        """Return once the file is there and is what the API said, or `doubtful`.

        Raises DownloadFailed, ApiError, Gone or OSError.
        """
        with self._path.open("wb") as file:
            await self._fetch(file)
            if self._differs() and not (self._again and self._at_a_stretch):
                # Pieces of two files, or a damaged one: once more, from the start.
                self._restart(file)
                await self._fetch(file)
        self.doubtful = self._again and self._differs()
        if self._differs() and not self.doubtful:
            raise DownloadFailed(
                f"What arrived is not the result of {self._result.execution_id}: its digest differs.",
                hint="It was damaged in the store or on its way: try again, or run the job again.",
            )

    def _differs(self) -> bool:
        return (
            bool(self._result.digest) and not self._part and f"sha256:{self._hash.hexdigest()}" != self._result.digest
        )

    async def _fetch(self, file: BinaryIO) -> None:
        """Bring the file to its end, in as many pieces as it takes while each brings something."""
        tries, pause = 0, FIRST_PAUSE_SECONDS
        while True:
            before = self._have
            problem: Exception | None = None
            try:
                await self._piece(file)
            except _AtOnce:
                continue
            except (httpx2.TransportError, ApiError) as error:
                if isinstance(error, ApiError) and not error.may_pass:
                    raise
                problem = error
            if self._have == self._whole or (problem is None and self._whole is None):
                return
            tries = 1 if self._have > before else tries + 1
            if tries >= self._tries:
                raise self._broken_off(problem) from problem
            pause = FIRST_PAUSE_SECONDS if tries == 1 else min(pause * 2, LONGEST_PAUSE_SECONDS)
            await self._pause(pause)

    async def _piece(self, file: BinaryIO) -> None:
        """Take what one answer brings."""
        headers = {}
        if self._have:
            headers["Range"] = f"bytes={self._have}-"
            if self._etag:
                headers["If-Range"] = self._etag
        async with self._client.download(self._url, headers) as response:
            await self._accept(response, file)
            async for chunk in response.aiter_raw():
                self._take(file, chunk)

    async def _accept(self, response: httpx2.Response, file: BinaryIO) -> None:
        """Return when the answer's body goes on where the file ends. Raises ApiError, Gone or _AtOnce."""
        status = response.status_code
        if status == HTTPStatus.OK:
            if self._have:
                self._restart(file)  # the door does not go on, or the result has become another
            self._etag = response.headers.get("ETag", "")
            alone = response.headers.get(PART)
            self._again = alone == "" and self._result.kind == SINGLE_FILES
            self._part = alone is not None and not self._again
            told = self._result.size is not None and alone is None
            self._whole = self._result.size if told else _length(response)
            return
        fits = response.headers.get("Content-Range", "").startswith(f"bytes {self._have}-")
        if status == HTTPStatus.PARTIAL_CONTENT and fits:
            self._at_a_stretch = False
            return
        if status in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE) and self._have:
            self._restart(file)
            raise _AtOnce
        if status in _EXPIRED and not self._renewed:
            self._renewed = True
            self._url = await self._renew()
            raise _AtOnce
        if status in _GONE:
            raise Gone
        raise await _problem(response)

    def _take(self, file: BinaryIO, chunk: bytes) -> None:
        self._have += len(chunk)
        most = MOST_DOWNLOAD_BYTES if self._whole is None else self._whole
        if self._have > most:
            raise DownloadFailed(
                f"The result of {self._result.execution_id} has more than the {most:,} bytes that it should have.",
                hint="What answers is not what the API named: look whether a proxy stands between.",
            )
        file.write(chunk)
        self._hash.update(chunk)
        self._meter.add(len(chunk))

    def _restart(self, file: BinaryIO) -> None:
        self._meter.add(-self._have)
        file.seek(0)
        file.truncate()
        self._have, self._etag, self._hash, self._at_a_stretch = 0, "", hashlib.sha256(), True

    def _broken_off(self, problem: Exception | None) -> Exception:
        if isinstance(problem, ApiError):
            return problem
        where = self._url.partition("?")[0]
        of = f" of {self._whole:,}" if self._whole is not None else ""
        why = f": {problem}" if problem is not None and str(problem) else "."
        if not self._have:
            return DownloadFailed(
                f"Nobody answers at {where}{why}",
                hint=_OBJECTS_AWAY if self._result.kind == "s3PreSigned" else _DOOR_AWAY,
            )
        return DownloadFailed(
            f"The download broke off after {self._have:,}{of} bytes, {self._tries} times{why}",
            hint=f"See that {where} can be reached, and try again.",
        )


def _length(response: httpx2.Response) -> int | None:
    told = response.headers.get("Content-Length", "")
    return int(told) if told.isdigit() else None


async def _problem(response: httpx2.Response) -> ApiError:
    """Return what a door said, of which no more than ERROR_BYTES are read."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ERROR_BYTES:
            break
    said = said_of(response.status_code, response.reason_phrase, response.headers)
    return problem_of(response.status_code, body[:ERROR_BYTES], str(response.url).partition("?")[0], said)
