"""Pages of other sites: let in by name alone, for those who set it; by default none is.

What is allowed here is that a page's script may read the answers. It still needs what everybody needs: the owner token,
or to run on the server's own machine, where its origin must be one of these names as well.
"""

from collections.abc import Mapping

from starlette.responses import Response

METHODS = "GET, HEAD, PUT, POST, DELETE"
SENT = "Authorization, Content-Type, If-None-Match, Last-Event-ID, X-Request-Id"
READ = "ETag, Retry-After, X-Request-Id, X-Bacalhau-Git-Version"
MAX_AGE_SECONDS = 600
"""How long browsers remember what is allowed: an origin that is taken out again is out within that."""


class Cors:
    """The origins (`https://ui.example`) whose pages may read answers."""

    def __init__(self, origins: frozenset[str] = frozenset()) -> None:
        self._origins = origins

    def allows(self, headers: Mapping[str, str]) -> str:
        """Return the origin of a request's page where it is one of them, else nothing."""
        origin = headers.get("origin", "")
        return origin if origin in self._origins else ""

    def headers(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """Return what an answer carries."""
        if not self._origins:
            return []
        told = [(b"vary", b"Origin")]
        if origin := self.allows(headers):
            told += [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", READ.encode()),
            ]
        return told

    def preflight(self, method: str, headers: Mapping[str, str]) -> Response | None:
        """Return the answer to a browser that asks first; None for anything else, and for other origins."""
        asks = method == "OPTIONS" and "access-control-request-method" in headers
        origin = self.allows(headers) if asks else ""
        if not origin:
            return None
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": SENT,
                "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
                "Vary": "Origin",
            },
        )
