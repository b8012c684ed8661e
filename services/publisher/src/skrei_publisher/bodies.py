"""Bodies of requests, read whole and no further than they may be."""

from aiohttp import web

from skrei_domain.errors import Invalid


async def body_of(request: web.Request, most_bytes: int, what: str) -> bytes:
    """Return the body, of whoever that is. Raises Invalid once it has more than `most_bytes`; `what` it is to be."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            raise Invalid(f"{what} has at most {most_bytes} bytes.")
    return bytes(body)
