"""HTTP to one server of objects: every address judged, no redirect followed, every wait limited."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from skrei_plugin_api.outbound import Forbidden, Found, Outbound, internet
from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_s3.failures import Asked, Cut, code_in, passes, refused, region_in

CONNECT_SECONDS = 10.0
"""How long a server may take to accept a connection."""
SILENCE_SECONDS = 60.0
"""How long it may stay silent between two pieces; a whole object has no limit but the execution's own."""
REQUESTS = 32
"""Under way to one server at once, of all inputs of a node: enough for small objects, and few enough for its memory."""
READ_BYTES = 256 * 1024
"""What is taken off a connection before it is asked to wait: large objects come in fewer pieces."""

ERROR_BYTES = 4096
"""Read of an answer that is an error: its code stands at its beginning."""


class Wire:
    """Sends requests. `rules` are None for a server that the node's owner named, who may mean any."""

    def __init__(self, rules: Outbound | None, ca_bundle: str = "") -> None:
        self._rules = rules
        self._ca_bundle = ca_bundle
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def request(self, method: str, url: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and yield the answer while it is read. Raises Cut, and StageFailed for where nobody may ask."""
        target = URL(url, encoded=True)
        self._judge(target)
        try:
            async with self._client().request(
                method,
                target,
                headers={**headers, "Accept-Encoding": "identity"},
                skip_auto_headers=("Content-Type",),
                allow_redirects=False,
            ) as response:
                yield response
        except Forbidden as error:
            raise denied(target, error) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise StageFailed(
                StageProblem.INVALID,
                f"{target.origin()} shows a certificate that nobody here trusts: {error.certificate_error}",
                hint="name it by the name in its certificate, or let the node trust who signed it (AWS_CA_BUNDLE)",
            ) from error
        except aiohttp.ClientConnectorSSLError as error:
            raise StageFailed(StageProblem.INVALID, f"{target.origin()} speaks no TLS: {error}") from error
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:  # not what the disk refuses
            raise Cut(_cause(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _judge(self, url: URL) -> None:
        """Raise StageFailed unless this address may be asked; a name's addresses are judged once it is looked up."""
        if self._rules is None:
            return
        host, port = url.host or "", url.port or 0
        try:
            self._rules.check(host, port)
            if _is_address(host):  # no resolver is asked
                self._rules.choose(host, [_found(host, port)])
        except Forbidden as error:
            raise denied(url, error) from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._ca_bundle or None)
            # A proxy would look the name up by itself, so that nothing was judged.
            resolver = _Judged(self._rules) if self._rules is not None else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=REQUESTS, ssl=context),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
                auto_decompress=False,
                read_bufsize=READ_BYTES,
                trust_env=self._rules is None,
            )
        return self._session


async def check(response: aiohttp.ClientResponse, asked: Asked) -> None:
    """Raise what an answer means that is none: Cut where another try may help, StageFailed where it will not."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    body = await response.content.read(ERROR_BYTES)
    code = code_in(body)
    if passes(response.status, code):
        raise Cut(f"the server answers {response.status} {code}".rstrip())
    raise refused(asked, response.status, code, response.headers.get("x-amz-bucket-region", "") or region_in(body))


class _Judged(AbstractResolver):
    """Looks a name up once, and answers only with what may be connected to."""

    def __init__(self, rules: Outbound) -> None:
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        loop = asyncio.get_running_loop()
        found = internet(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        return [_result(host, one) for one in self._rules.choose(host, found)]

    async def close(self) -> None:
        """Nothing is held."""


def denied(url: URL, error: Forbidden) -> StageFailed:
    """Return the error of a server that jobs may not ask here."""
    return StageFailed(StageProblem.DENIED, f"{url.origin()} may not be asked: {error}")


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


def _cause(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"the server said nothing for {SILENCE_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was cut"
    return str(error) or type(error).__name__
