"""What an IPFS daemon has pinned, read as a stream: names of whole files and directories, as many as are of use."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp

from skrei_plugin_ipfs.endpoint import Endpoint

MOST_PINS = 4_096
"""That are read: half of what a node's filter has room for, so that its own cache is never left out for them."""
READ_SECONDS = 20.0
"""How long a daemon may take to list them."""
LINE_BYTES = 64 * 1024
"""Of one line."""


async def pins(endpoint: Endpoint) -> list[str]:
    """Return names that are pinned with all below them, as the daemon writes them, as many as came within the limits.

    Raises OSError and aiohttp.ClientError where it does not answer.
    """
    if endpoint.gateway:
        return []
    found: list[str] = []
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=READ_SECONDS, sock_read=READ_SECONDS)
    try:
        async with asyncio.timeout(READ_SECONDS), aiohttp.ClientSession(timeout=timeout) as session:
            url = f"{endpoint.url}/api/v0/pin/ls?type=recursive&stream=true"
            async with session.post(url) as response:
                if response.status != 200:
                    return []
                async for line in _lines(response):
                    found += _names(line)
                    if len(found) >= MOST_PINS:
                        break
    except TimeoutError:
        pass  # what came until then is true all the same
    return found[:MOST_PINS]


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield lines; one that is too long ends them, since what follows is not understood."""
    rest = b""
    async for data in response.content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LINE_BYTES:
            return
    yield rest


def _names(line: bytes) -> list[str]:
    """Return the names in a line: one, as Kubo streams them, or all of an answer that is one object."""
    try:
        said = json.loads(line)
    except ValueError:
        return []
    if not isinstance(said, dict):
        return []
    if isinstance(keys := said.get("Keys"), dict):
        return [name for name in keys if isinstance(name, str)]
    return [name for name in (said.get("Cid"), said.get("cid")) if isinstance(name, str)]
