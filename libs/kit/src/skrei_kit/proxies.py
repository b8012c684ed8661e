"""The way out where a network lets nobody out but through its proxy: which one, as everybody's programs are told.

The variables are those that every program knows: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and `NO_PROXY` for whatever
is reached without (names and their endings, addresses; `*`: everything). A WebSocket with TLS goes the way of HTTPS;
one without goes through no proxy, since few pass it on.
"""

import base64
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment
from urllib.request import proxy_bypass_environment as bypasses  # type: ignore[attr-defined]  # typeshed lacks it

from skrei_domain.errors import Invalid

_HTTP_OF = {"http": "http", "https": "https", "wss": "https"}
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Proxy(NamedTuple):
    """A proxy that is spoken to in plain HTTP; `user` is empty where it asks nobody who he is."""

    host: str
    port: int
    user: str = ""
    """`name:password` as it stands in its address."""

    @property
    def url(self) -> str:
        """Where it is, without who asks: what may be shown and logged."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def secret_url(self) -> str:
        """Where it is, with who asks."""
        return self.url.replace("//", f"//{self.user}@", 1) if self.user else self.url

    @property
    def headers(self) -> dict[str, str]:
        """What it is shown by who speaks to it without a library that does that."""
        if not self.user:
            return {}
        return {"Proxy-Authorization": f"Basic {base64.b64encode(unquote(self.user).encode()).decode()}"}


def through(url: str) -> str | None:
    """Return the proxy that leads to an address as aiohttp wants it named; None where there is none. Raises Invalid."""
    found = proxy_of(url)
    return None if found is None else found.secret_url


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that this process's environment names for an address; None: it is reached without.

    Raises Invalid for a variable that names no proxy that can be spoken to.
    """
    parts = urlsplit(url)
    kind = _HTTP_OF.get(parts.scheme)
    if kind is None or not parts.hostname:
        return None
    told = getproxies_environment()
    named = told.get(kind) or told.get("all")
    if not named or bypasses(f"{parts.hostname}:{port_of(url)}", told):
        return None
    return _read(named, f"{kind.upper()}_PROXY" if told.get(kind) else "ALL_PROXY")


def port_of(url: str) -> int:
    """Return the port of an address, that of its scheme where none is named."""
    parts = urlsplit(url)
    return parts.port or _PORTS.get(parts.scheme, 4222)


def _read(named: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(named if "//" in named else f"http://{named}")
        host, port = parts.hostname or "", parts.port or 3128
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if not host or parts.scheme != "http":
        raise Invalid(
            f"{variable} names no HTTP proxy",
            hint="it looks like http://proxy.example:3128, or http://USER:PASSWORD@proxy.example:3128",
        )
    return Proxy(host, port, parts.netloc.rpartition("@")[0])
