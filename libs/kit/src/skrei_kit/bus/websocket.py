"""NATS over WebSocket, through the proxy that leads to it where there is one: imported by who connects so."""

import ssl
from urllib.parse import ParseResult

import aiohttp
from nats.aio import client, transport

from skrei_kit.proxies import through


class WebSocket(transport.WebSocketTransport):
    """The client's own transport, but for how it connects."""

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect without TLS."""
        self._ws = await self._open(uri.geturl(), connect_timeout)
        self._using_tls = False

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        """Connect with TLS; once connected there is nothing more to agree on."""
        if self._ws is not None and not self._ws.closed:
            return
        self._ws = await self._open(uri if isinstance(uri, str) else uri.geturl(), connect_timeout, ssl_context)
        self._using_tls = True

    async def _open(
        self, url: str, seconds: float, ssl_context: ssl.SSLContext | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        return await self._client.ws_connect(
            url,
            timeout=aiohttp.ClientWSTimeout(ws_close=seconds),
            headers=None,
            max_msg_size=0,
            ssl=ssl_context or True,
            proxy=through(url),
        )


def bring() -> None:
    """Give the client this transport, and what it is made of: it was imported without."""
    vars(transport)["aiohttp"] = aiohttp
    vars(client)["WebSocketTransport"] = WebSocket
