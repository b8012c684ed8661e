"""May the cluster's ports be published where somebody asks, and is there room for them?"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from skrei_domain.errors import Invalid, Unavailable
from skrei_kit.secret_files import write_secret


@dataclass(frozen=True, slots=True)
class Door:
    """A port of this machine that is published, by the variable that chooses it."""

    variable: str
    port: int
    what: str


def read_port(variable: str, text: str) -> int:
    """Return a port. Raises Invalid, naming the variable, for what is none."""
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535:
        return int(text)
    raise Invalid(f"{variable}={text}: that is no port", hint=f"{variable} is a number from 1 to 65535")


def check_published(address: str) -> None:
    """Raise Invalid unless an address is one that this machine alone reaches."""
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        raise Invalid(f"SKREI_PUBLISH={address}: that is no address", hint="leave it out, or say 127.0.0.1") from None
    if not parsed.is_loopback:
        raise Invalid(
            f"SKREI_PUBLISH={address} is refused as long as no user authentication is configured: the ports are "
            "published on this machine's loopback alone",
            hint="leave SKREI_PUBLISH out; from another machine come through "
            "`ssh -L 1234:127.0.0.1:1234 -L 1235:127.0.0.1:1235 THIS-MACHINE`",
        )


def check_edge(address: str) -> None:
    """Raise Invalid unless an address, where there is one, is such as other machines can be told."""
    try:
        told = not address or not ipaddress.ip_address(address).is_unspecified
    except ValueError:
        told = False
    if not told:
        raise Invalid(
            f"SKREI_EDGE_ADDRESS={address}: nodes cannot be told to come there",
            hint="name the one address of this machine that they reach, 10.0.0.1 say",
        )


def settle(address: str, doors: Iterable[Door], had: Path) -> list[str]:
    """See that each port can be had, and keep in `had` that it could; returns what is worth saying.

    A port that the cluster was given before may be in use by the cluster itself, which need not answer while it
    starts: that is said, and left to whoever publishes it. Raises Unavailable, naming the variable, for a new one that
    is taken.
    """
    before = had.read_text("ascii").split() if had.exists() else []
    said = []
    for door in doors:
        problem = _taken(address, door)
        other = door.port + 1_000 if door.port < 64_000 else door.port - 1_000
        choose = f"{door.variable}={other} docker compose up -d"
        if problem and _entry(address, door) not in before:
            raise Unavailable(
                f"port {door.port} of {address} cannot be had for {door.what}: {problem}",
                hint=f"stop what listens there, or choose another: {choose}",
            )
        if problem:
            said.append(f"Port {door.port} is in use: by this cluster, if it runs; else choose another: {choose}")
    write_secret(had, " ".join(_entry(address, door) for door in doors))
    return said


def _entry(address: str, door: Door) -> str:
    return f"{door.variable}={address}:{door.port}"


def _taken(address: str, door: Door) -> str:
    """Return why a port cannot be listened on now; empty where it can."""
    host = address.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, door.port))
        except PermissionError:
            return ""  # a low port, which whoever publishes it may have
        except OSError as error:
            return error.strerror or str(error)
    return ""
