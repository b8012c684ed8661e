"""Where inline results are before they are stored: the API's internal route, which reads them from the record."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from skrei_domain.errors import SkreiError

_SIZES: TypeAdapter[list[tuple[str, Annotated[int, Field(ge=0)]]]] = TypeAdapter(
    list[tuple[str, Annotated[int, Field(ge=0)]]]
)


NEEDED_BYTES = 64 * 1024
"""The longest answer about what jobs need: some hundred ids."""


class _Needed(BaseModel):
    Results: list[str]
    Manifests: list[str]


class SourceAway(SkreiError):
    """The API cannot be asked right now."""

    code: ClassVar[str] = "source-away"
    retryable: ClassVar[bool] = True


class NodeAway(SkreiError):
    """A node cannot be asked for what it has."""

    code: ClassVar[str] = "left-away"


class NodeGone(NodeAway):
    """A node is none of the cluster's any more, or does not have what it had."""


class ApiSource:
    """Fetches results from the API with the stack's internal token."""

    def __init__(self, session: aiohttp.ClientSession, *, api_url: str, token: str, most_bytes: int) -> None:
        self._session = session
        self._base = f"{api_url.rstrip('/')}/internal/results"
        self._needed = f"{api_url.rstrip('/')}/internal/needed"
        self._left = f"{api_url.rstrip('/')}/internal/left"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._most_bytes = most_bytes

    async def fetch(self, execution_id: str) -> bytes | None:
        """Return the result, or None when the record holds none. Raises SourceAway when that cannot be known."""
        url = f"{self._base}/{quote(execution_id, safe='')}"
        try:
            async with self._session.get(url, headers=self._headers) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    return None
                if response.status != HTTPStatus.OK:
                    raise SourceAway(f"The API answered {response.status} for the result of {execution_id}.")
                return await _read(response, self._most_bytes)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceAway(f"The API does not answer: {error}", execution_id=execution_id) from error

    async def ask_node(self, execution_id: str, request_id: str, left: str) -> None:
        """Have the API ask a node for what an execution left there. Raises SourceAway, NodeAway with its words."""
        await self._ask("", {"execution_id": execution_id, "request_id": request_id, "left": left})

    async def show(self, execution_id: str, left: str) -> dict[str, Any]:
        """Have the API have a node show what an execution left there; return where that is, as it is published.

        Raises SourceAway, NodeAway with its words, and NodeGone where that will never be.
        """
        try:
            told = json.loads(await self._ask("/show", {"execution_id": execution_id, "left": left}))
        except ValueError as error:
            raise SourceAway("The API's answer cannot be read.") from error
        if not isinstance(told, dict):
            raise SourceAway("The API's answer cannot be read.")
        return told

    async def _ask(self, route: str, asked: dict[str, str]) -> bytes:
        try:
            async with self._session.post(f"{self._left}{route}", headers=self._headers, json=asked) as response:
                body = await _read(response, self._most_bytes)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceAway(f"The API does not answer: {error}") from error
        if response.ok:
            return body
        try:
            message = str(json.loads(body)["Message"])
        except (ValueError, KeyError, TypeError):
            message = f"the API answers {response.status}"
        raise (NodeGone if response.status == HTTPStatus.GONE else NodeAway)(message)

    async def fetch_many(self, execution_ids: Sequence[str]) -> dict[str, bytes]:
        """Return those of these results that the record still holds. Raises SourceAway."""
        try:
            async with self._session.post(self._base, headers=self._headers, json=list(execution_ids)) as response:
                if response.status != HTTPStatus.OK:
                    raise SourceAway(f"The API answered {response.status} for {len(execution_ids)} results.")
                body = await _read(response, self._most_bytes * len(execution_ids))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceAway(f"The API does not answer: {error}") from error
        found = _split(body)
        if not found.keys() <= set(execution_ids):
            raise SourceAway("The API sent results that nobody asked for.")
        return found

    async def needed(self, results: Sequence[str], manifests: Sequence[str]) -> frozenset[str]:
        """Return those of these executions and digests of lists that a job which has not ended may read.

        Raises SourceAway.
        """
        asked = {"Results": list(results), "Manifests": list(manifests)}
        try:
            async with self._session.post(self._needed, headers=self._headers, json=asked) as response:
                if response.status != HTTPStatus.OK:
                    raise SourceAway(f"The API answered {response.status} where it was asked what jobs need.")
                told = _Needed.model_validate_json(await _read(response, NEEDED_BYTES))
        except ValidationError as error:
            raise SourceAway("The API's answer cannot be read.") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceAway(f"The API does not answer: {error}") from error
        return frozenset((*told.Results, *told.Manifests))


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > most_bytes:
            raise SourceAway(f"The API sent more than {most_bytes} bytes.")
        parts.append(part)
    return b"".join(parts)


def _split(body: bytes) -> dict[str, bytes]:
    """Return the results of a bulk answer: a line of JSON `[[id, size], …]`, then their bytes, all of them."""
    head, _, rest = body.partition(b"\n")
    try:
        sizes = _SIZES.validate_json(head)
    except ValidationError as error:
        raise SourceAway("The API's answer cannot be read.") from error
    if sum(size for _, size in sizes) != len(rest):
        raise SourceAway(f"The API's answer is not whole: {len(rest)} bytes.")
    found: dict[str, bytes] = {}
    start = 0
    for execution_id, size in sizes:
        found[execution_id] = rest[start : start + size]
        start += size
    return found


def read_token(path: Path) -> str:
    """Return the token in a file, without its line end."""
    return path.read_text(encoding="ascii").strip()
