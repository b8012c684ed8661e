"""Connections of who sends a lot: over when the other side takes nothing for long.

HTTP clients time what they wait to read, and nothing while they write: a frozen server, or a firewall that has begun to
drop all, would keep a sender for ever, or for a quarter of an hour.
"""

import socket

from aiohttp.abc import AbstractResolver
from aiohttp.connector import AddrInfoType, TCPConnector


def connector(
    silence_seconds: float, *, limit: int = 100, resolver: AbstractResolver | None = None, use_dns_cache: bool = True
) -> TCPConnector:
    """Return a connector whose connections end once nothing of what is sent is taken for so long (on Linux)."""

    def made(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        found = socket.socket(family, kind, protocol)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # macOS has none
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence_seconds * 1_000))
        return found

    return TCPConnector(limit=limit, resolver=resolver, use_dns_cache=use_dns_cache, socket_factory=made)
