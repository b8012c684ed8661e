"""May the cluster's ports be published where somebody asks, and is there room for them?"""

import ipaddress
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass

from skrei_domain.errors import Invalid, Unavailable

ANSWER_SECONDS = 2.0
"""For what listens at a port to say who it is: it is on this machine."""


@dataclass(frozen=True, slots=True)
class Door:
    """A port of this machine that is published, by the variable that chooses it.

    `path` and `token`: what only the service of this very cluster answers well.
    """

    variable: str
    port: int
    what: str
    path: str
    token: str
    body: bytes | None = None


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


def check_free(address: str, door: Door) -> None:
    """Raise Unavailable, naming the variable, where somebody else has a port.

    Nothing is said where the service of this cluster answers there: the cluster runs already.
    """
    host = address.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, door.port))
        except PermissionError:
            return  # a low port, which whoever publishes it may have
        except OSError as error:
            if _is_ours(host, door):
                return
            other = door.port + 1_000 if door.port < 64_000 else door.port - 1_000
            raise Unavailable(
                f"port {door.port} of {address} cannot be had for {door.what}: {error.strerror}",
                hint=f"stop what listens there, or choose another: {door.variable}={other} docker compose up -d",
            ) from error


def _is_ours(host: str, door: Door) -> bool:
    """Whether what listens there takes a token that this cluster alone has."""
    near = f"[{host}]" if ":" in host else host
    headers = {"Authorization": f"Bearer {door.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{near}:{door.port}{door.path}", data=door.body, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.HTTPError, OSError, ValueError):
        return False
