"""What is said of requests that had no answer."""

import errno
import socket

import aiohttp
from aiohttp.client_reqrep import ConnectionKey

from skrei_plugin_api.judged_http import cause

KEY = ConnectionKey("books", 443, True, True, None, None, None)


def test_a_resolver_s_number_is_none_of_the_kernel_s() -> None:
    """On some systems both are positive: 2 would be a file that is not there."""
    error = aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(2, "Try again"))
    assert cause(error) == "books could not be looked up: Try again"
    refused = aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"))
    assert cause(refused) == "no connection to books:443: Connection refused"
