"""Who may come in: one pure decision for each request, from where it comes, what it asks for and which token it shows.

Deny by default. What counts as this machine is the other end of the socket, never a header; a header that says that
the request was passed on only ever takes trust away.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

JOIN_PATH = "/api/v1/orchestrator/join"
RENEWAL_PATH = f"{JOIN_PATH}/renewal"
OPEN_PATHS = frozenset(
    {
        "/api/v1/agent/alive",
        "/livez",
        "/healthz",
        "/readyz",
        "/api/v1/agent/authconfig",
        "/api/v1/auth",
        "/openapi.json",
        "/docs",
        "/schemas/job.json",
    }
)
"""What says that the process serves, how to prove who one is, and how the API is spoken: nothing of what it serves."""
AUTH_PREFIX = "/api/v1/auth/"
"""Proving who one is: whoever could do it already had no need to."""
OWN_TOKEN_PREFIXES = ("/api/v1/blobs/", "/api/v1/inputs/", "/internal/")
"""Routes that let nobody in without a token of their own: an execution's, or the publisher's."""
PASSED_ON = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-server", "x-real-ip"}
)
"""Headers that proxies add: whoever sends one from this machine speaks for somebody else."""


KNOWN_PEERS = 1_024
"""Addresses whose kind is remembered: reading one costs as much as the rest of letting a request in."""


class Door(Enum):
    """What a path needs of its caller."""

    OPEN = "nothing"
    OWN_TOKEN = "a token, or a proof of a node's key, that its route checks"
    JOIN = "the join token"
    OWNER = "the owner, or this machine"


class Shown(Enum):
    """Which token a request carries."""

    NONE = "none"
    OWNER = "owner"
    JOIN = "join"
    CLIENT = "client"  # names who holds a key, and opens nothing that this machine may not do without it
    OTHER = "other"


class Caller(StrEnum):
    """Who is let in; the value is what the audit calls the actor."""

    OWNER = "owner"
    LOCAL = "anonymous"
    JOINING = "joining"
    BEARER = "bearer"
    ANYBODY = "anybody"


class Refusal(Enum):
    """Why somebody is not let in."""

    NEEDS_OWNER = "needs the owner token"
    NEEDS_JOIN = "needs the join token"
    WRONG_OWNER = "not the owner token"
    WRONG_JOIN = "not the join token"


@dataclass(frozen=True, slots=True)
class Knock:
    """A request as far as letting it in is concerned. `peer` is the socket's other end, empty where not known."""

    door: Door
    peer: str
    passed_on: bool
    shown: Shown


def door_of(method: str, path: str) -> Door:
    """Return what a path needs; one that nobody knows needs the owner, so that a new route is closed at first."""
    if (path in OPEN_PATHS and method in ("GET", "HEAD")) or path.startswith(AUTH_PREFIX):
        return Door.OPEN
    if path.startswith(OWN_TOKEN_PREFIXES) or (path == RENEWAL_PATH and method == "POST"):
        return Door.OWN_TOKEN
    if path == JOIN_PATH and method == "POST":
        return Door.JOIN
    return Door.OWNER


def decide(knock: Knock, *, trust_loopback: bool = True) -> Caller | Refusal:
    """Return who the caller is, or why it is refused."""
    match knock.door:
        case Door.OPEN:
            return Caller.ANYBODY
        case Door.OWN_TOKEN:
            return Caller.BEARER
        case Door.JOIN:
            if knock.shown is Shown.JOIN:
                return Caller.JOINING
            return Refusal.NEEDS_JOIN if knock.shown is Shown.NONE else Refusal.WRONG_JOIN
        case Door.OWNER:
            if knock.shown is Shown.OWNER:
                return Caller.OWNER
            if knock.shown not in (Shown.NONE, Shown.CLIENT):
                return Refusal.WRONG_OWNER  # a wrong token is never better than none, nor quietly the same
            return Caller.LOCAL if trust_loopback and is_local(knock) else Refusal.NEEDS_OWNER


def is_local(knock: Knock) -> bool:
    """Whether a request comes from this machine and on nobody else's behalf."""
    return is_loopback(knock.peer) and not knock.passed_on


@lru_cache(KNOWN_PEERS)
def is_loopback(address: str) -> bool:
    """Whether an address is one that only this machine has; False for what is no address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback


def was_passed_on(names: Iterable[str]) -> bool:
    """Whether any of these header names (lower case) is one that proxies add."""
    return not PASSED_ON.isdisjoint(names)
