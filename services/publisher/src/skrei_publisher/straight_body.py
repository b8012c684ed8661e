"""The body of a part's request: pieces as they come, or its connection itself, past aiohttp."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import ClientPayloadError, StreamReader, web

from skrei_plugin_api.inflow import Straight, Tap, given_away
from skrei_plugin_api.publisher import UploadIncomplete


class StraightBody(Straight):
    """The body of a request."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._pieces = pieces(request.content)

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    @asynccontextmanager
    async def straight(self) -> AsyncIterator[Tap | None]:
        """Give the connection away where it is a plain one whose body is sent as it is."""
        request, content = self._request, self._request.content
        plain = "Content-Encoding" not in request.headers
        left = (request.content_length or 0) - content.total_bytes if plain else 0
        with _cut_is_incomplete(), given_away(content, request.transport, request.protocol, left) as tap:
            yield tap


async def pieces(content: StreamReader) -> AsyncIterator[bytes]:
    """Yield what comes, as it came: nothing is copied. A link that is cut is UploadIncomplete."""
    with _cut_is_incomplete():
        async for piece, _ in content.iter_chunks():
            if piece:
                yield piece


@contextmanager
def _cut_is_incomplete() -> Iterator[None]:
    try:
        yield
    except (ClientPayloadError, ConnectionError) as error:
        raise UploadIncomplete("The link was cut.") from error
