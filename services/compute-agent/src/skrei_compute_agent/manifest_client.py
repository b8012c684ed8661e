"""The result store's door for lists of inputs: a node brings what it listed, and reads its part of what others did."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from skrei_domain.errors import SkreiError, Unavailable
from skrei_kit.proxies import through
from skrei_plugin_api import answers
from skrei_plugin_api.manifest import Manifest, ManifestDamaged, Slice, parse, tail_bytes

CONNECT_SECONDS = 5.0
"""How long the door may take to accept a connection."""
SILENCE_SECONDS = 30.0
"""How long it may stay silent between two pieces; it reads a list to its end before it answers that it has it."""
PAUSES_SECONDS = (0.0, 0.2, 1.0, 3.0)
"""Before each further try: a door that restarts is back within seconds."""
PACKED_BYTES = 64 * 1024 * 1024
"""The longest part of a list that is fetched: a hundred thousand files have some 4 MB."""
CHUNK_BYTES = 256 * 1024
"""Of a list that is read from disk and sent at once."""
ERROR_BYTES = 2048
_AWAY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class StoreAway(Unavailable):
    """The store of lists could not be asked; another try may succeed."""

    code = "manifest-unavailable"


class ManifestGone(SkreiError):
    """The list that a job was pinned to is not kept any more."""

    code = "input-missing"


class ManifestRefused(SkreiError):
    """The store does not take a list: too large, or there is no room."""

    code = "manifest-refused"


class ManifestClient:
    """A client of `/manifests/<digest>` at the publisher's door; `door` says where that is, empty: nowhere."""

    def __init__(self, door: Callable[[], str], *, pauses_seconds: tuple[float, ...] = PAUSES_SECONDS) -> None:
        self._door = door
        self._pauses_seconds = pauses_seconds
        self._session: aiohttp.ClientSession | None = None

    async def bring(self, path: Path, digest: str, token: str) -> None:
        """Have the store hold a manifest, durably. Raises StoreAway, ManifestRefused."""
        await self._ask(_Asked("PUT", digest, token, path=path))

    async def index(self, digest: str, parts: int, token: str) -> Manifest:
        """Return the index of a manifest. Raises StoreAway, ManifestGone, ManifestDamaged."""
        size = tail_bytes(parts)
        return parse(await self._ask(_Asked("GET", digest, token, span=f"-{size}", size=size)), digest)

    async def part(self, digest: str, wanted: Slice, token: str) -> bytes:
        """Return the packed bytes of a part. Raises as `index` does."""
        if wanted.packed_bytes > PACKED_BYTES:
            raise ManifestDamaged(f"a part of manifest {digest} has {wanted.packed_bytes:,} bytes")
        span = f"{wanted.offset}-{wanted.offset + wanted.packed_bytes - 1}"
        return await self._ask(_Asked("GET", digest, token, span=span, size=wanted.packed_bytes))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, asked: "_Asked") -> bytes:
        pauses = iter(self._pauses_seconds)
        while True:
            try:
                return await self._once(asked)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                problem = StoreAway(f"the store of lists cannot be reached: {error or type(error).__name__}")
                problem.__cause__ = error
            except StoreAway as error:
                problem = error
            if (pause := next(pauses, None)) is None:
                raise problem
            await asyncio.sleep(pause)

    async def _once(self, asked: "_Asked") -> bytes:
        if not (door := self._door()):
            raise StoreAway("nobody has said where the store of lists is")
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        headers = {"Authorization": f"Bearer {asked.token}"} | ({"Range": f"bytes={asked.span}"} if asked.span else {})
        body = None if asked.path is None else _read(asked.path)
        url = URL(door) / "manifests" / asked.digest
        async with self._session.request(
            asked.method, url, headers=headers, data=body, allow_redirects=False, proxy=through(door)
        ) as response:
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _refused(response.status, await answers.body(response, ERROR_BYTES))
            data = await answers.body(response, asked.size + 1)
        if len(data) != asked.size:
            raise StoreAway(f"the store of lists gave {len(data):,} bytes of {asked.size:,}")
        return data


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request: the file that it brings, or the span of bytes that it wants, `size` of them."""

    method: str
    digest: str
    token: str
    path: Path | None = None
    span: str = ""
    size: int = 0


class _Problem(BaseModel):
    Message: str = ""
    Hint: str = ""


def _refused(status: int, body: bytes) -> SkreiError:
    if status in _AWAY:
        return StoreAway(f"the store of lists answers {status}")
    if status == HTTPStatus.NOT_FOUND:
        return ManifestGone(
            "the list that this job was pinned to is not kept any more", hint="`skrei job rerun` lists its inputs anew"
        )
    try:
        said = _Problem.model_validate_json(body)
    except ValidationError:
        said = _Problem(Message=body[:200].decode(errors="replace"))
    return ManifestRefused(f"the store of lists answers {status}: {said.Message}", hint=said.Hint)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
