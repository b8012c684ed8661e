"""HTTP to one server of objects: every address judged, no redirect followed, every wait limited."""

import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
from yarl import URL

from skrei_plugin_api import answers
from skrei_plugin_api.judged_http import (
    FAILURES,
    TLS_FAILURES,
    JudgedResolver,
    cause,
    judge,
    raise_unknown,
    timeout,
    unsafe,
)
from skrei_plugin_api.outbound import Forbidden, Outbound
from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_s3.failures import Asked, Cut, code_in, passes, refused, region_in

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
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and yield the answer while it is read. Raises Cut, and StageFailed for where nobody may ask."""
        target = URL(url, encoded=True)
        self._judge(target)
        try:
            async with self._client().request(
                method,
                target,
                headers={**headers, "Accept-Encoding": "identity"},
                data=None if data is None else io.BytesIO(data),
                skip_auto_headers=("Content-Type",),
                allow_redirects=False,
            ) as response:
                yield response
        except Forbidden as error:
            raise denied(target, error) from error
        except TLS_FAILURES as error:
            raise unsafe(error, str(target.origin()), "AWS_CA_BUNDLE") from error
        except FAILURES as error:
            raise_unknown(error)
            raise Cut(cause(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _judge(self, url: URL) -> None:
        """Raise StageFailed unless this address may be asked; a name's addresses are judged once it is looked up."""
        if self._rules is None:
            return
        try:
            judge(self._rules, url.host or "", url.port or 0)
        except Forbidden as error:
            raise denied(url, error) from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._ca_bundle or None)
            # A proxy would look the name up by itself, so that nothing was judged.
            resolver = JudgedResolver(self._rules) if self._rules is not None else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=REQUESTS, ssl=context),
                timeout=timeout(),
                auto_decompress=False,
                read_bufsize=READ_BYTES,
                trust_env=self._rules is None,
            )
        return self._session


async def check(response: aiohttp.ClientResponse, asked: Asked) -> None:
    """Raise what an answer means that is none: Cut where another try may help, StageFailed where it will not."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    body = await answers.body(response, ERROR_BYTES)
    code = code_in(body)
    if passes(response.status, code):
        raise Cut(f"the server answers {response.status} {code}".rstrip())
    raise refused(asked, response.status, code, response.headers.get("x-amz-bucket-region", "") or region_in(body))


def denied(url: URL, error: Forbidden) -> StageFailed:
    """Return the error of a server that jobs may not ask here."""
    return StageFailed(StageProblem.DENIED, f"{url.origin()} may not be asked: {error}")
