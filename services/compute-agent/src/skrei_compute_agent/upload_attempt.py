"""One try to bring a result to the publisher, over fresh connections: which parts are missing, those, the receipt.

Nothing here knows what stands behind an address. Memory is bounded by parts at once times what is read at once,
whatever a result's size.
"""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from skrei_compute_agent import upload_elsewhere
from skrei_compute_agent.file_range import FileRange
from skrei_compute_agent.pace import FREE, Pace
from skrei_compute_agent.sending_sockets import connector
from skrei_compute_agent.upload_errors import Away, Differs, PublishFailed, ResultDamaged, ResultTooLarge
from skrei_domain.errors import SkreiError
from skrei_domain.uploads import Parcel, UploadAnswer, UploadPlan, UploadRequest
from skrei_kit.proxies import through
from skrei_plugin_api import answers
from skrei_plugin_api.judged_http import JudgedResolver, judge
from skrei_plugin_api.outbound import Forbidden, Outbound

T = TypeVar("T")

CONNECT_SECONDS = 10.0
"""How long the other side may take to accept a connection."""
SILENCE_SECONDS = 60.0
"""How long it may take for an answer once all is sent, between two pieces of it, and to take what is sent: a link that
does less is gone."""
STAGE_SECONDS = 900.0
"""How long the publisher may take to verify and sync the whole: 64 GiB at the pace of a slow disk."""
PARALLEL_PARTS = 4
"""Parts of one result at once, whatever a plan allows."""
ANSWER_BYTES = 4 * 1024 * 1024
"""The longest answer that is read: a plan has some hundred requests of less than a kilobyte."""
ERROR_BYTES = 4 * 1024
"""Read of an answer that is an error: a sentence and a hint."""


class Attempt:
    """Asks what is missing, sends it, asks for the receipt; `sent` counts the parts that came through.

    `parcel` has the digests of its pieces once a plan has asked for them. `rules` are for servers that a job names.
    """

    def __init__(
        self, door: URL, path: Path, parcel: Parcel, token: str, rules: Outbound, *, pace: Pace = FREE
    ) -> None:
        self.sent = 0
        self.parcel = parcel
        self._door = door
        self._path = path
        self._headers = bearer(token)
        self._rules = rules
        self._pace = pace
        self._session: aiohttp.ClientSession
        self._judged: aiohttp.ClientSession

    async def run(self) -> str:
        """Return the receipt. Raises Away and Differs where another try may succeed, what is final otherwise."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        plain = connector(SILENCE_SECONDS, limit=PARALLEL_PARTS + 1)
        judged = connector(
            SILENCE_SECONDS, limit=PARALLEL_PARTS + 1, resolver=JudgedResolver(self._rules), use_dns_cache=False
        )
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=plain) as self._session,
            aiohttp.ClientSession(timeout=timeout, connector=judged) as self._judged,
        ):
            answer = await self._ask("")
            if answer.plan is not None and (size := answer.plan.piece_bytes):
                self.parcel = await asyncio.to_thread(upload_elsewhere.pieces_of, self._path, self.parcel.whole, size)
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
        url = self._door / "uploads" / self.parcel.execution_id
        body = self.parcel.model_dump_json().encode()
        headers = self._headers | {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=STAGE_SECONDS, sock_connect=CONNECT_SECONDS)

        async def once() -> UploadAnswer:
            async with self._session.post(
                url / what if what else url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                proxy=through(str(self._door)),
            ) as response:
                await _check(response)
                return _parse(UploadAnswer, await answers.body(response, ANSWER_BYTES))

        return await _connected(once(), self._door)

    async def _carry_out(self, plan: UploadPlan) -> None:
        """Send every part, some at once; the first that fails ends the others, which the next try finds missing."""
        waiting = iter(plan.requests)

        async def work() -> None:
            for request in waiting:
                await _connected(self._send(request, file, trusted=plan.trusted), self._url(request))
                self.sent += 1

        errors: list[SkreiError] = []
        file = await asyncio.to_thread(self._path.open, "rb", buffering=0)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(plan.parallel, PARALLEL_PARTS, len(plan.requests))):
                    group.create_task(work())
        except* SkreiError as failed:
            errors += [error for error in failed.exceptions if isinstance(error, SkreiError)]
        finally:
            file.close()
        if errors:
            raise _worst(errors)

    def _url(self, request: UploadRequest) -> URL:
        """Return a request's address as it was signed; a relative one is at the publisher's door."""
        url = URL(request.url, encoded=True)
        return url if url.is_absolute() else URL(f"{self._door}/").join(url)

    async def _send(self, request: UploadRequest, file: FileIO, *, trusted: bool) -> None:
        url, session, check = self._url(request), self._session, upload_elsewhere.check
        if not URL(request.url, encoded=True).is_absolute():
            check = _check
        elif not trusted:
            session = self._judged
        headers = request.headers | {"Content-Length": str(request.size), "Content-Type": "application/octet-stream"}
        body = FileRange(file, request.first, request.size, self._pace)
        proxy = None if session is self._judged else through(str(url))  # whom a proxy reaches nobody here can judge
        try:
            if session is self._judged:
                judge(self._rules, url.host or "", url.port or 0)
            async with session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False, proxy=proxy
            ) as response:
                await check(response)
        except Forbidden as error:
            raise upload_elsewhere.forbidden(error) from error
        except aiohttp.ClientError as error:
            if body.short:
                raise ResultDamaged("the packed result is shorter than it was") from error
            raise


async def _connected(call: Awaitable[T], at: URL) -> T:
    """Return what a call returns; whatever the connection did instead is worth another try."""
    try:
        return await call
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        said = str(error) or type(error).__name__  # a TimeoutError says nothing, and is no less one
        raise Away(f"{at.origin()} cannot be reached by this node: {said}") from error


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what an answer that is not 2xx means for the upload."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    code, message = _told(await answers.body(response, ERROR_BYTES))
    said = message or f"{response.reason} ({response.status})"
    match response.status:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise ResultTooLarge(said)
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            raise Differs(said)
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
    between = " " if problem.Message.endswith(".") else "; "
    return problem.Code, between.join(filter(None, (problem.Message, problem.Hint)))


def _parse(kind: type[UploadAnswer], body: bytes) -> UploadAnswer:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise Away("the publisher's answer cannot be read") from error


def _worst(errors: list[SkreiError]) -> SkreiError:
    """Return the error that decides: one that no further try mends, if there is one."""
    return next((error for error in errors if not isinstance(error, Away)), errors[0])


def bearer(token: str) -> dict[str, str]:
    """Return the headers that show a token."""
    return {"Authorization": f"Bearer {token}"}
