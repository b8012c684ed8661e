"""Fetching blobs from the API: the bytes that were cut out of a spec, opened by the run command's token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from skrei_compute_agent.input_cache import InputDenied
from skrei_domain.errors import Unavailable

CONNECT_SECONDS = 5.0
"""How long the API may take to accept a connection."""
SILENCE_SECONDS = 30.0
"""How long it may stay silent between two pieces: a whole download has no limit but the execution's own."""
CHUNK_BYTES = 256 * 1024
PAUSES_SECONDS = (0.0, 0.2, 1.0, 3.0)
"""Before each further try: a pooled connection that the server has closed fails once, an API that restarts is back
within seconds; a longer absence is left to another node."""
_REFUSALS = {401, 403, 404, 410}
_AWAY = {429, 500, 502, 503, 504}


class BlobUnavailable(Unavailable):
    """The API could not be asked; the execution may be tried again, here or elsewhere."""

    code = "input-unavailable"


class Blobs:
    """A client of `GET <api>/api/v1/blobs/<digest>`."""

    def __init__(self, api_url: str, *, pauses_seconds: tuple[float, ...] = PAUSES_SECONDS) -> None:
        self._base = api_url.rstrip("/")
        self._pauses_seconds = pauses_seconds
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def open(self, digest: str, token: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the bytes of a blob. Raises InputDenied where the API refuses, BlobUnavailable where it is away."""
        if not self._base:
            raise BlobUnavailable(
                "nobody has said where the API is", hint="set SKREI_API_URL on this node, or on the scheduler"
            )
        response = await self._request(f"{self._base}/api/v1/blobs/{digest}", token)
        async with response:
            if response.status in _REFUSALS:
                raise InputDenied(f"the API refuses blob {digest}: {response.status} {await _reason(response)}")
            if response.status != 200:
                raise BlobUnavailable(f"the API answered {response.status} for blob {digest}")
            yield _chunks(response, digest)

    def move(self, api_url: str) -> None:
        """Ask there from now on."""
        self._base = api_url.rstrip("/")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _request(self, url: str, token: str) -> aiohttp.ClientResponse:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        pauses = iter(self._pauses_seconds)
        while True:
            try:
                response = await self._session.get(url, headers={"Authorization": f"Bearer {token}"})
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = BlobUnavailable(f"{url} cannot be fetched: {error or type(error).__name__}")
                problem.__cause__ = error
            else:
                if response.status not in _AWAY:
                    return response
                response.release()
                problem = BlobUnavailable(f"{url} answers {response.status}")
            pause = next(pauses, None)
            if pause is None:
                raise problem
            await asyncio.sleep(pause)


async def _chunks(response: aiohttp.ClientResponse, digest: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise BlobUnavailable(f"blob {digest} was cut off: {error or type(error).__name__}") from error


async def _reason(response: aiohttp.ClientResponse) -> str:
    """The first words of the API's answer."""
    return (await response.content.read(512)).decode("utf-8", errors="replace")
