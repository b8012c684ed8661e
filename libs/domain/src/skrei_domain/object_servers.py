"""What servers of objects are called among nodes and their leader: one name for each, however a job writes it. Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit

USUAL = ""
"""The server that a node asks where a job names none: another one on each node."""
REGION = "us-east-1"
"""Where nobody says: Amazon's first, and what other servers call theirs."""
_PORTS = {"http": 80, "https": 443}


def server(endpoint: str) -> str:
    """Return the one form of a server's address, in which two are the same server or not; empty for an empty one.

    Raises ValueError for what is no address of the web.
    """
    if not endpoint:
        return USUAL
    parts = urlsplit(endpoint)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError(f"{endpoint[:200]!r} is no address of a server")
    host = (parts.hostname or "").removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS[scheme]) else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def amazon(region: str) -> str:
    """Return the address of Amazon's server in a region."""
    return f"https://s3.{region or REGION}.amazonaws.com"


def asked(type_: str, params: Mapping[str, object]) -> tuple[str, ...]:
    """Return by what names nodes know the server that an input comes from, the first that they know counts.

    None for what is no input of objects, and for what cannot be read: that is refused where it is brought.
    """
    if type_.casefold() != "s3":
        return ()
    said = {key.casefold(): value for key, value in params.items()}
    endpoint, region = said.get("endpoint") or "", said.get("region") or ""
    if not isinstance(endpoint, str) or not isinstance(region, str):
        return ()
    try:
        return (server(endpoint),) if endpoint else (USUAL, amazon(region))
    except ValueError:
        return ()
