"""Where a node's IPFS daemon is asked for blocks: at its RPC, or at a gateway. Pure but for one small file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

API_OPTION = "ipfs_api"
GATEWAY_OPTION = "ipfs_gateway"
FIND_OPTION = "ipfs_find_seconds"
FIND_SECONDS = 15.0
"""How long a daemon may look for a block in its network: most are found within a few, and a job that names what nobody
has is to be told so at once, not after minutes."""
ADDRESS_BYTES = 1024
"""Of the file in which a daemon says where it listens."""

_MULTIADDR = re.compile(
    r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[^/]+)/tcp/(?P<port>\d{1,5})(?P<tls>/tls)?(?:/(?P<scheme>https?))?/?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a daemon, without a slash at its end, and how long it may look for a block.

    `gateway`: it speaks as gateways do, else Kubo's RPC.
    """

    url: str
    gateway: bool = False
    find_seconds: float = FIND_SECONDS


def find(options: Mapping[str, str], environ: Mapping[str, str]) -> Endpoint | None:
    """Return what the node's owner names, else the daemon of this user that says where it is. Raises ValueError."""
    seconds = _seconds(options.get(FIND_OPTION, ""))
    if named := options.get(API_OPTION):
        return Endpoint(_url(named), find_seconds=seconds)
    if named := options.get(GATEWAY_OPTION):
        return Endpoint(_url(named), gateway=True, find_seconds=seconds)
    named = environ.get("IPFS_PATH", "")
    home = environ.get("HOME", "")
    folder = Path(named) if named else Path(home, ".ipfs")
    said = _said(folder / "api") if named or home else ""
    return Endpoint(_url(said), find_seconds=seconds) if said else None


def _seconds(text: str) -> float:
    """Return how long a daemon may look. Raises ValueError."""
    if not text:
        return FIND_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{FIND_OPTION} must be a number of seconds above 0, not {text[:50]!r}")
    return seconds


def _said(path: Path) -> str:
    """Return what a running daemon has written into its folder: where it listens."""
    try:
        with path.open() as file:
            return file.read(ADDRESS_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _url(text: str) -> str:
    """Return the URL that a multiaddr, or a URL itself, writes. Raises ValueError."""
    if found := _MULTIADDR.fullmatch(text):
        host = f"[{found['host']}]" if found["kind"] == "ip6" else found["host"]
        scheme = found["scheme"] or ("https" if found["tls"] else "http")
        return f"{scheme}://{host}:{int(found['port'])}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            f"{text[:200]!r} is no address of an IPFS daemon: /ip4/127.0.0.1/tcp/5001, or http://host:port"
        )
    return text.rstrip("/")
