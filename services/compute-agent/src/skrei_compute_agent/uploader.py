"""Results on their way to the publisher: any plan is carried out in parts, resumed after a cut, and never given up
while it may still succeed.

Nothing here knows what stands behind an address. Memory is bounded by parts at once times what is read at once,
whatever a result's size; every retry begins with fresh connections, since a pooled one that the other side has closed
fails by no fault of anybody.
"""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from skrei_domain.errors import SkreiError
from skrei_domain.uploads import Parcel, UploadAnswer, UploadPlan, UploadRequest
from skrei_kit.observability import get_logger

log = get_logger()

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""How long the other side may take to accept a connection."""
SILENCE_SECONDS = 60.0
"""How long it may take for an answer once all is sent, and between two pieces: a link that says less is gone."""
STAGE_SECONDS = 900.0
"""How long the publisher may take to verify and sync the whole: 64 GiB at the pace of a slow disk."""
READ_BYTES = 512 * 1024
"""Read at once of a file: enough that threads are rarely asked, times the parts at once a bound on memory."""
ABORT_SECONDS = 1.0
"""How long telling the publisher to drop what came may take: it finds out by itself, later."""
PARALLEL_PARTS = 4
"""Parts of one result at once, whatever a plan allows."""
PARALLEL_UPLOADS = 4
"""Results at once: more only share the same link and disk."""
AGAIN_SECONDS = 0.2
"""First pause before an upload goes on after something failed; doubles."""
AGAIN_MAX_SECONDS = 30.0
"""The longest pause: a publisher that is back is asked within half a minute."""
ANSWER_BYTES = 4 * 1024 * 1024
"""The longest answer that is read: a plan has some hundred requests of less than a kilobyte."""
ERROR_BYTES = 4 * 1024
"""Read of an answer that is an error: a sentence and a hint."""


class PublishFailed(SkreiError):
    """The publisher will not take the result, now or later."""

    code = "publish-failed"


class ResultTooLarge(SkreiError):
    """The result is larger than what may be uploaded."""

    code = "result-too-large"


class ResultDamaged(SkreiError):
    """The packed result is not what its digest says: the disk lost some of it. Another run makes it anew."""

    code = "result-damaged"
    retryable = True


class Away(SkreiError):
    """This try failed; the next may not. `full`: there is no room over there."""

    code = "publisher-away"
    retryable = True

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class Uploader:
    """Brings results to the publisher. `door` says where that is, which may come long after the first result."""

    def __init__(self, *, full_seconds: float = 600.0) -> None:
        self._full_seconds = full_seconds
        self._door: str | None = None
        self._there = asyncio.Event()
        self._turns = asyncio.Semaphore(PARALLEL_UPLOADS)
        self._unfinished: dict[str, tuple[Parcel, str]] = {}
        self._aborting: set[asyncio.Task[None]] = set()

    def door(self, url: str) -> None:
        """Say where the publisher's door is; empty: there is none."""
        self._door = url.rstrip("/")
        self._there.set()

    async def upload(self, path: Path, parcel: Parcel, token: str) -> str:
        """Return the receipt for a file once the publisher holds it durably, however long that takes.

        Raises PublishFailed, ResultTooLarge and ResultDamaged. What is cancelled may go on later, in another process
        too, until `drop`.
        """
        async with self._turns:
            self._unfinished[parcel.execution_id] = (parcel, token)
            receipt = await self._until_done(path, parcel, token)
        del self._unfinished[parcel.execution_id]
        return receipt

    def drop(self, execution_id: str) -> None:
        """Nothing more of an execution comes: tell the publisher, if it has got a part of it. Never waits."""
        if (begun := self._unfinished.pop(execution_id, None)) is not None:
            task = asyncio.get_running_loop().create_task(self._abort(*begun))
            self._aborting.add(task)
            task.add_done_callback(self._aborting.discard)

    async def close(self) -> None:
        """Wait for what is being told to the publisher; each has a second."""
        await asyncio.gather(*self._aborting, return_exceptions=True)

    async def _until_done(self, path: Path, parcel: Parcel, token: str) -> str:
        pause, full_since, damaged = AGAIN_SECONDS, None, False
        loop = asyncio.get_running_loop()
        while True:
            await self._there.wait()
            if not self._door:
                raise PublishFailed("there is no publisher that takes uploads")
            attempt = _Attempt(URL(self._door), path, parcel, token)
            try:
                return await attempt.run()
            except _Differs as error:
                if damaged or await asyncio.to_thread(_digest_of, path) != parcel.digest:
                    raise ResultDamaged("the packed result was damaged on this node's disk") from error
                damaged = True  # it was damaged on the way, or over there: once more, from the beginning
            except Away as error:
                full_since = (full_since or loop.time()) if error.full else None
                if full_since is not None and loop.time() - full_since >= self._full_seconds:
                    raise PublishFailed(f"the result cannot be stored: {error.message}") from error
                log.info("upload_waits", execution_id=parcel.execution_id, reason=error.message, parts=attempt.sent)
            if attempt.sent:
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, AGAIN_MAX_SECONDS)

    async def _abort(self, parcel: Parcel, token: str) -> None:
        """Tell the publisher that nothing more comes; it finds out by itself where it cannot be told."""
        if not self._door:
            return
        timeout = aiohttp.ClientTimeout(total=ABORT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.delete(URL(self._door) / "uploads" / parcel.execution_id, headers=_bearer(token)),
            ):
                pass
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("abort_unheard", execution_id=parcel.execution_id, reason=str(error))


class _Differs(SkreiError):
    """What came is not what was announced."""


class _Attempt:
    """One try over fresh connections: ask what is missing, send it, ask for the receipt."""

    def __init__(self, door: URL, path: Path, parcel: Parcel, token: str) -> None:
        self.sent = 0
        self._door = door
        self._path = path
        self._parcel = parcel
        self._headers = _bearer(token)
        self._session: aiohttp.ClientSession

    async def run(self) -> str:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        connector = aiohttp.TCPConnector(limit=PARALLEL_PARTS + 1)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            self._session = session
            answer = await self._ask("")
            while answer.plan is not None and answer.plan.requests:
                await self._carry_out(answer.plan)
                if not answer.plan.more:
                    break
                answer = await self._ask("")
            if not answer.receipt:
                answer = await self._ask("receipt")
        if not answer.receipt:
            raise Away("the publisher gave no receipt")
        return answer.receipt

    async def _ask(self, what: str) -> UploadAnswer:
        url = self._door / "uploads" / self._parcel.execution_id
        body = self._parcel.model_dump_json().encode()
        headers = self._headers | {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=STAGE_SECONDS, sock_connect=CONNECT_SECONDS)

        async def once() -> UploadAnswer:
            async with self._session.post(
                url / what if what else url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                await _check(response)
                return _parse(UploadAnswer, await _body(response, ANSWER_BYTES))

        return await _connected(once())

    async def _carry_out(self, plan: UploadPlan) -> None:
        """Send every part, some at once; the first that fails ends the others, which the next try finds missing."""
        waiting = iter(plan.requests)

        async def work(file: int) -> None:
            for request in waiting:
                await _connected(self._send(request, file))
                self.sent += 1

        file = await asyncio.to_thread(os.open, self._path, os.O_RDONLY)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(plan.parallel, PARALLEL_PARTS, len(plan.requests))):
                    group.create_task(work(file))
        except* SkreiError as failed:
            raise _worst(failed) from None
        finally:
            os.close(file)

    async def _send(self, request: UploadRequest, file: int) -> None:
        url = URL(request.url, encoded=True)  # as it was signed
        if not url.is_absolute():
            url = URL(f"{self._door}/").join(url)
        headers = request.headers | {"Content-Length": str(request.size), "Content-Type": "application/octet-stream"}
        async with self._session.request(
            request.method,
            url,
            data=_range(file, request.first, request.size),
            headers=headers,
            allow_redirects=False,
        ) as response:
            await _check(response)


async def _range(file: int, first: int, size: int) -> AsyncIterator[bytes]:
    end = first + size
    while first < end:
        piece = await asyncio.to_thread(os.pread, file, min(READ_BYTES, end - first), first)
        if not piece:
            raise ResultDamaged("the packed result is shorter than it was")
        first += len(piece)
        yield piece


async def _connected(call: Awaitable[T]) -> T:
    """Return what a call returns; whatever the connection did instead is worth another try."""
    try:
        return await call
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Away(f"the publisher cannot be reached: {error or type(error).__name__}") from error


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return what an answer says, up to so many bytes: it comes in as many pieces as the network makes of it."""
    said = bytearray()
    while len(said) < most and (piece := await response.content.read(most - len(said))):
        said += piece
    return bytes(said)


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what an answer that is not 2xx means for the upload."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    code, message = _told(await _body(response, ERROR_BYTES))
    said = f"{message or response.reason} ({response.status})"
    match response.status:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise ResultTooLarge(said)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            raise _Differs(said)
        case HTTPStatus.INSUFFICIENT_STORAGE:
            raise Away(said, full=True)
        case HTTPStatus.CONFLICT | HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_MANY_REQUESTS:
            raise Away(said)
        case HTTPStatus.NOT_FOUND if code == "upload-unknown":
            raise Away(said)  # it was dropped over there: the next plan begins anew
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Away(said)
    raise PublishFailed(f"the publisher refuses the result: {said}")


class _Problem(BaseModel):
    Code: str = ""
    Message: str = ""
    Hint: str = ""


def _told(body: bytes) -> tuple[str, str]:
    """Return the code and the sentence of an error's body, whoever wrote it."""
    try:
        problem = _Problem.model_validate_json(body)
    except ValidationError:
        return "", body[:200].decode("utf-8", "replace").strip()
    return problem.Code, " ".join(filter(None, (problem.Message, problem.Hint)))


def _parse(kind: type[UploadAnswer], body: bytes) -> UploadAnswer:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise Away("the publisher's answer cannot be read") from error


def _worst(failed: ExceptionGroup[SkreiError]) -> BaseException:
    """Return the error that decides: one that no further try mends, if there is one."""
    errors = [error for error in failed.exceptions if isinstance(error, SkreiError)]
    return next((error for error in errors if not isinstance(error, Away)), errors[0])


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except FileNotFoundError:
        return ""


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
