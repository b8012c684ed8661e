"""What others answer over HTTP to an aiohttp client, read up to a limit.

Imports nothing of that: a node does without its 8 MB for long.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


async def body(response: "aiohttp.ClientResponse", most: int) -> bytes:
    """Return what an answer says, up to so many bytes: it comes in as many pieces as the network makes of it."""
    said = bytearray()
    while len(said) < most and (piece := await response.content.read(most - len(said))):
        said += piece
    return bytes(said)
