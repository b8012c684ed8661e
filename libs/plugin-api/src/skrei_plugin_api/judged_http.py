"""HTTP by aiohttp to where jobs lead: each address judged before it is connected to, each wait limited, what goes wrong
told apart. Packages that import it ask for the extra `http`; nothing else here needs that client.
"""

import asyncio
import ipaddress
import os
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from skrei_plugin_api.outbound import Found, Outbound, internet
from skrei_plugin_api.storage import StageFailed, StageProblem

CONNECT_SECONDS = 10.0
"""How long a server may take to accept a connection."""
SILENCE_SECONDS = 60.0
"""How long it may stay silent between two pieces; a whole transfer has no limit but the execution's own."""

TLS_FAILURES = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)
"""What a connection ends with that cannot be made safe; see `unsafe`."""
FAILURES = (aiohttp.ClientError, TimeoutError, ConnectionError)
"""What a request ends with that is cut, those above among them; what the disk refuses is none. See `cause`."""


UNKNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""What a resolver says of a name that there is not; one that could not find out says something else."""


class JudgedResolver(AbstractResolver):
    """Looks a name up once, and answers only with what may be connected to."""

    def __init__(self, rules: Outbound) -> None:
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name, of either family. Raises Forbidden, and OSError."""
        del family
        loop = asyncio.get_running_loop()
        found = internet(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return [_result(host, one) for one in self._rules.choose(host, found)]

    async def close(self) -> None:
        """Nothing is held."""


def judge(rules: Outbound, host: str, port: int) -> None:
    """Raise Forbidden unless this server may be asked; a name's addresses are judged once it is looked up."""
    rules.check(host, port)
    if _is_address(host):  # no resolver is asked
        rules.choose(host, [_found(host, port)])


def timeout() -> aiohttp.ClientTimeout:
    """Return the limits of every wait."""
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)


def unsafe(
    error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError, where: str, trust: str
) -> StageFailed:
    """Return the error of a server of whom nobody knows who it is; `trust` names what tells the node whom to trust."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return StageFailed(
            StageProblem.INVALID,
            f"{where} shows a certificate that nobody here trusts: {error.certificate_error}",
            hint=f"name it by the name in its certificate, or let the node trust who signed it ({trust})",
        )
    return StageFailed(StageProblem.INVALID, f"{where} speaks no TLS: {error}")


class HostUnknown(StageFailed):
    """There is no server of that name, as far as is known here: asking again changes nothing, another node may know."""

    retryable = True

    def __init__(self, host: str) -> None:
        super().__init__(
            StageProblem.HOST_UNKNOWN,
            f"there is no server {host}: its name is not known here",
            hint="look at the address, or at `Endpoint`",
        )


def raise_unknown(error: BaseException) -> None:
    """Raise HostUnknown where that is why a request had no answer."""
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno in UNKNOWN:
        raise HostUnknown(error.host) from error


def cause(error: BaseException) -> str:
    """Return in words how a request was cut."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):  # its number is the resolver's, whose words are there
        return f"{error.host} could not be looked up: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError) and (number := error.os_error.errno) is not None and number > 0:
        return f"no connection to {error.host}:{error.port}: {os.strerror(number)}"
    if isinstance(error, TimeoutError):
        return f"the server said nothing for {SILENCE_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was cut"
    return str(error) or type(error).__name__


def _result(host: str, found: Found) -> ResolveResult:
    family, _, protocol, _, address = found
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=int(address[1]),
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _found(host: str, port: int) -> Found:
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))
