"""Which addresses the stack listens on, and how this machine and others reach them."""

import socket
from dataclasses import dataclass
from ipaddress import ip_address

from skrei_domain.errors import Invalid, Unavailable

LOOPBACK = "127.0.0.1"
ANY = ("0.0.0.0", "::")
_ELSEWHERE = ("192.0.2.1", 9)
"""An address that nobody has: connecting a datagram socket to it asks the routing table, and sends nothing."""


@dataclass(frozen=True, slots=True)
class Listen:
    """What `--listen` means. `told` is the address that others are told; empty when only this machine is let in."""

    hosts: tuple[str, ...] = (LOOPBACK,)
    transport: str = LOOPBACK
    told: str = ""


def read_listen(text: str | None) -> Listen:
    """Return where to listen. This machine's own programs keep loopback beside an address. Raises Invalid."""
    if not text:
        return Listen()
    address = _address(text)
    if address in ANY:
        return Listen((address,), address, usable_address())
    if ip_address(address).is_loopback:
        return Listen((address,), address, "")
    named = text.strip() if "[" not in text else address
    return Listen((LOOPBACK, address), address, named)


def usable_address() -> str:
    """Return an address of this machine that others can try: that of its default route, else the first it has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            found = str(probe.getsockname()[0])
        except OSError:
            found = _first_of_an_interface()
    if not found or ip_address(found).is_loopback:
        raise Invalid(
            "this machine has no address that others could reach", hint="name one with --listen, or leave it out"
        )
    return found


def _first_of_an_interface() -> str:
    import psutil  # nobody else of this process needs it

    found = [
        one.address
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family == socket.AF_INET and not ip_address(one.address).is_loopback
    ]
    return found[0] if found else ""


def _address(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise Invalid(
            f"--listen {text}: that is no address of this machine", hint="give one that `ip address` shows, or 0.0.0.0"
        ) from error


def near_host(host: str) -> str:
    """Return how this machine reaches a server that listens on `host`, or on several, `a,b`: the first."""
    first = host.split(",", maxsplit=1)[0].strip()
    return LOOPBACK if first in ANY else bracketed(first)


def bracketed(host: str) -> str:
    """Return a host as URLs write it."""
    return f"[{host}]" if ":" in host else host


def check_free(host: str, port: int, flag: str) -> None:
    """Raise Unavailable, naming the flag, when somebody else listens there or the address is not this machine's."""
    for one in host.split(","):
        with socket.socket(socket.AF_INET6 if ":" in one else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((one, port))
            except OSError as error:
                foreign = "assign" in (error.strerror or "")
                hint = (
                    "give --listen an address that `ip address` shows on this machine, or 0.0.0.0"
                    if foreign
                    else f"stop what listens there, or choose another port with {flag}"
                )
                raise Unavailable(f"{one}:{port} cannot be listened on: {error.strerror}", hint=hint) from error
