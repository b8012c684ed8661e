"""Whom a program with a filtered network may speak to: names by the job's list, addresses by the node's owner. Pure.

A name is judged as it was asked for, its addresses after one look-up; who connects uses those addresses and asks no
second time. Private ones are refused whatever a name says, unless the owner of the node allows them: a job must not
look around in the network that its node stands in.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Found: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""What `getaddrinfo` answers."""

WEB_PORTS = (80, 443)
LEAST_PORT = 1024
"""Ports below are those of mail, shells and files; the web's own two are allowed, and all above."""
MOST_ADDRESSES = 4
"""Addresses of one name that are tried: a host that answers at none of four is not there."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Forbidden(Exception):
    """A program asks for what it may not reach; the text says what, and who may change that."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """The rules of one program. `domains`: `example.com` is that name, `.example.com` that and all below it,
    `*.example.com` all below it alone, an address itself; None: every name. `services` are those of the node that it
    uses, (host, port): just these, whatever the other rules say."""

    domains: tuple[str, ...] | None = None
    private: tuple[Network, ...] = ()
    services: tuple[tuple[str, int], ...] = ()
    _exact: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        """Prepare the plain names: most lists have nothing else."""
        object.__setattr__(self, "_exact", frozenset(plain(domain) for domain in self.domains or ()))

    def check(self, host: str, port: int) -> None:
        """Raise Forbidden unless this name (or address) and this port may be asked for."""
        if self._serves(host, port):
            return
        if not self.knows(host):
            listed = ", ".join(self.domains or ()) or "nothing"
            raise Forbidden(f"host not allowed: {host} (Network.Domains of the job lists {listed})")
        if port not in WEB_PORTS and not LEAST_PORT <= port <= 65_535:
            raise Forbidden(f"port not allowed: {port} of {host} (80, 443 and those from {LEAST_PORT} on are)")

    def _serves(self, host: str, port: int) -> bool:
        return bool(self.services) and (plain(host), port) in self.services

    def knows(self, host: str) -> bool:
        """Whether the job's list has this name."""
        if self.domains is None:
            return True
        host = plain(host)
        if host in self._exact:
            return True
        return any(
            host.endswith(domain.removeprefix("*")) or (domain[0] == "." and host == domain[1:])
            for domain in map(plain, self.domains)
            if domain[:1] in (".", "*")
        )

    def choose(self, host: str, found: Iterable[Found]) -> Sequence[Found]:
        """Return those of a name's addresses that may be connected to, in order. Raises Forbidden when none may."""
        every = list(found)
        if self.services and all(self._serves(host, one[4][1]) for one in every):
            return every[:MOST_ADDRESSES]
        chosen = [one for one in every if self.reaches(str(one[4][0]))]
        if not chosen:
            told = ", ".join(sorted({str(one[4][0]) for one in every})) or "no address"
            raise Forbidden(
                f"host not allowed: {host} is {told}, which is no public address "
                "(the node's owner may allow it: SKREI_ALLOW_ADDRESSES)"
            )
        return chosen[:MOST_ADDRESSES]

    def reaches(self, text: str) -> bool:
        """Whether an address may be connected to."""
        address = ipaddress.ip_address(text.partition("%")[0])
        every = (address, *_within(address))
        if any(one in network for one in every for network in self.private if network.version == one.version):
            return True
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        return all(_is_public(one) for one in every)


def internet(found: Iterable[tuple[object, ...]]) -> list[Found]:
    """Return those answers of `getaddrinfo` that are addresses of IPv4 or IPv6."""
    return [one for one in found if one[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]  # its own words


def web_parts(address: object) -> SplitResult | None:
    """Return the parts of an address of a web server, None for what is no such address."""
    if not isinstance(address, str) or any(each <= " " or each == "\x7f" for each in address):
        return None
    try:
        parts = urlsplit(address)
        right = parts.scheme.lower() in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if right else None


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks that texts name; one address is a network too. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def plain(host: str) -> str:
    """Return a name as it is compared: lower case, without dots and blanks at its end; an address in its one form.

    What is plain stays as it is.
    """
    host = host.lower()
    while (shorter := host.strip().removesuffix(".")) != host:
        host = shorter
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return host


def _within(address: Address) -> Iterator[Address]:
    """Yield the addresses that one of IPv6 stands for: what is sent to it may end there."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_public(address: Address) -> bool:
    if address in _NAT64:  # judged by what it stands for
        return True
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
