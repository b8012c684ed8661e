"""Services that a node's owner offers: what is declared, and what programs are told. Pure.

A service is an address that the node reaches (`127.0.0.1:27017`), or a file or folder on it
(`file:///srv/x.duckdb`). Jobs name it (`Uses: [mongodb]`) and never say where it is: that is the node's own business.
"""

import re
from ipaddress import IPv6Address
from typing import NamedTuple

from skrei_domain.data_sets import ALLOWED_NAME, is_data_name

SERVICES_FILE = "services.json"
"""The file in an agent's data folder that declares some of its services: names with what `parse_offered` reads."""
MAX_SERVICES = 64
"""Services of one node: each is told with everything else that the node says of itself, and people name a handful."""
SERVICES_FOLDER = "/skrei/services"
"""Where programs find those services that are files: each under its own name."""
ADDRESS, FILE = "address", "file"
"""The kinds of service."""

_SCHEME = "file://"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
_EXAMPLE = "an address such as `127.0.0.1:27017`, or a file such as `file:///srv/x.duckdb`, `file:///srv/out:rw`"


class Offered(NamedTuple):
    """A service as its node's owner says it: `host` and `port`, or a `path` and whether programs may write there."""

    name: str
    host: str = ""
    port: int = 0
    path: str = ""
    read_write: bool = False

    @property
    def kind(self) -> str:
        """What kind it is."""
        return FILE if self.path else ADDRESS

    @property
    def text(self) -> str:
        """Return what `parse_offered` reads."""
        if self.path:
            return f"{_SCHEME}{self.path}:{'rw' if self.read_write else 'ro'}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """Where programs find one that is a file."""
        return f"{SERVICES_FOLDER}/{self.name}"


def parse_offered(name: str, text: str) -> Offered:
    """Return the service `name` at `HOST:PORT` or `file:///PATH[:ro|:rw]`. Raises ValueError."""
    if not is_data_name(name):
        raise ValueError(f"{name!r} is no name of a service: {ALLOWED_NAME}")
    said = text.strip()
    found = _file(name, said) if said.lower().startswith(_SCHEME) else _address(name, said)
    if found is None:
        raise ValueError(f"{text!r} is not where a service is: {_EXAMPLE}")
    return found


def _file(name: str, said: str) -> Offered | None:
    path, read_write = said[len(_SCHEME) :], False
    for suffix in (":ro", ":rw"):
        if path.endswith(suffix):
            path, read_write = path.removesuffix(suffix), suffix == ":rw"
    return Offered(name, path=path, read_write=read_write) if path.startswith("/") and "\0" not in path else None


def _address(name: str, said: str) -> Offered | None:
    host, colon, number = said.rpartition(":")
    if not (colon and number.isascii() and number.isdecimal() and len(number) <= 5 and 0 < int(number) <= 65_535):
        return None
    if host.startswith("[") and host.endswith("]"):
        host = _ipv6(host[1:-1])
    elif _HOST.fullmatch(host) is None:
        host = ""
    return Offered(name, host.lower(), int(number)) if host else None


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        return ""
