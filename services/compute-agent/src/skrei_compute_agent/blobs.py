"""Fetching what belongs to a job itself, opened by the run command's token: the bytes that were cut out of its spec,
and the addresses of what its earlier tasks left.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from skrei_compute_agent.input_cache import InputDenied
from skrei_compute_agent.upload_errors import ResultMissing
from skrei_domain.errors import SkreiError, Unavailable
from skrei_domain.task_results import ResultPage, Standing
from skrei_kit.proxies import through
from skrei_plugin_api import answers

CONNECT_SECONDS = 5.0
"""How long the API may take to accept a connection."""
SILENCE_SECONDS = 30.0
"""How long it may stay silent between two pieces: a whole download has no limit but the execution's own."""
CHUNK_BYTES = 256 * 1024
PAUSES_SECONDS = (0.0, 0.2, 1.0, 3.0)
"""Before each further try: a pooled connection that the server has closed fails once, an API that restarts is back
within seconds; a longer absence is left to another node."""
PAGE_BYTES = 256 * 1024
"""One page of addresses: 64 of them have less than a kilobyte each."""
_REFUSALS = {401, 403, 404, 410}
_AWAY = {429, 500, 502, 503, 504}


class BlobUnavailable(Unavailable):
    """The API could not be asked; the execution may be tried again, here or elsewhere."""

    code = "input-unavailable"


class AddressExpired(SkreiError):
    """An address opens nothing any more: a fresh one is to be asked for."""

    code = "address-expired"


class Blobs:
    """A client of `GET <api>/api/v1/blobs/<digest>` and `GET <api>/api/v1/inputs/results`."""

    def __init__(self, api_url: str, *, pauses_seconds: tuple[float, ...] = PAUSES_SECONDS) -> None:
        self._base = api_url.rstrip("/")
        self._pauses_seconds = pauses_seconds
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def open(self, digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the bytes of a blob. Raises InputDenied where the API refuses, BlobUnavailable where it is away."""
        response = await self._request(f"{self._api()}/api/v1/blobs/{digest}", token)
        async with response:
            if response.status in _REFUSALS:
                raise InputDenied(f"the API refuses blob {digest}: {response.status} {await _reason(response)}")
            if response.status != 200:
                raise BlobUnavailable(f"the API answered {response.status} for blob {digest}")
            yield _chunks(response, f"blob {digest}")

    async def results(self, task: str, first: int, token: str) -> ResultPage:
        """Return where what partition `first` of an earlier task left lies, and the next ones.

        Raises InputDenied where this execution does not wait for that task, ResultMissing where a result is gone,
        BlobUnavailable where the API is away.
        """
        query = {"task": task, "first": str(first)}
        response = await self._request(f"{self._api()}/api/v1/inputs/results", token, query)
        async with response:
            if response.status == HTTPStatus.GONE:
                raise ResultMissing(await _reason(response))
            if response.status in _REFUSALS:
                raise InputDenied(
                    f"the API refuses results of task {task!r}: {response.status} {await _reason(response)}"
                )
            if response.status != 200:
                raise BlobUnavailable(f"the API answered {response.status} for results of task {task!r}")
            try:
                return ResultPage.model_validate_json(await _whole(response, f"results of task {task!r}"))
            except ValidationError as error:
                raise BlobUnavailable(f"the API's answer about results of task {task!r} cannot be read") from error

    async def standing(self, execution_id: str, token: str) -> bool | None:
        """Return whether what an execution left counts; None while that is not decided.

        Raises InputDenied where the API does not say, ResultMissing where the record knows no such execution (any
        more), BlobUnavailable where it is away.
        """
        response = await self._request(f"{self._api()}/api/v1/inputs/standing", token, {"execution": execution_id})
        async with response:
            if response.status == HTTPStatus.NOT_FOUND:
                raise ResultMissing(await _reason(response))
            if response.status in _REFUSALS:
                raise InputDenied(f"the API does not say: {response.status} {await _reason(response)}")
            if response.status != 200:
                raise BlobUnavailable(f"the API answered {response.status}")
            try:
                return Standing.model_validate_json(await _whole(response, f"execution {execution_id}")).counts
            except ValidationError as error:
                raise BlobUnavailable("the API's answer cannot be read") from error

    @asynccontextmanager
    async def open_address(self, url: str, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open what lies at a signed address.

        Raises AddressExpired, ResultMissing where there is nothing, BlobUnavailable where its door is away.
        """
        response = await self._request(url)
        async with response:
            if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise AddressExpired(f"the address of {name} is not good: {await _reason(response)}")
            if response.status in _REFUSALS:
                raise ResultMissing(f"{name} is not there any more")
            if response.status != 200:
                raise BlobUnavailable(f"the publisher answered {response.status} for {name}")
            yield _chunks(response, name)

    def move(self, api_url: str) -> None:
        """Ask there from now on."""
        self._base = api_url.rstrip("/")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _api(self) -> str:
        if not self._base:
            raise BlobUnavailable(
                "nobody has said where the API is", hint="set SKREI_API_URL on this node, or on the scheduler"
            )
        return self._base

    async def _request(
        self, url: str, token: str = "", query: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        where = url.partition("?")[0]  # a signed address is not for logs
        target = URL(url, encoded=True)
        target = target.update_query(query) if query else target
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        pauses = iter(self._pauses_seconds)
        while True:
            try:
                response = await self._session.get(target, headers=headers, proxy=through(url))
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = BlobUnavailable(f"{where} cannot be fetched: {error or type(error).__name__}")
                problem.__cause__ = error
            else:
                if response.status not in _AWAY:
                    return response
                response.release()
                problem = BlobUnavailable(f"{where} answers {response.status}")
            pause = next(pauses, None)
            if pause is None:
                raise problem
            await asyncio.sleep(pause)


async def _chunks(response: aiohttp.ClientResponse, name: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BlobUnavailable(f"{name} was cut off: {error or type(error).__name__}") from error


async def _whole(response: aiohttp.ClientResponse, name: str) -> bytes:
    """Return an answer that has at most PAGE_BYTES."""
    body = bytearray()
    async for chunk in _chunks(response, name):
        body += chunk
        if len(body) > PAGE_BYTES:
            raise BlobUnavailable(f"the answer about {name} has over {PAGE_BYTES} bytes")
    return bytes(body)


class _Problem(BaseModel):
    Message: str


async def _reason(response: aiohttp.ClientResponse) -> str:
    """What the API says, in its own words or as it came."""
    said = await answers.body(response, 2048)
    try:
        return _Problem.model_validate_json(said).Message
    except ValidationError:
        return said[:512].decode("utf-8", errors="replace")
