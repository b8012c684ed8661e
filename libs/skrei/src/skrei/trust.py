"""Which certificates are taken for an API and how long it may take, as its profile says; and what a refusal tells.

One place for every way to it: calls, streams of output, and downloads.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from skrei.answers import TIMEOUT_SECONDS
from skrei.errors import Unreachable
from skrei.profiles import of_endpoint

if TYPE_CHECKING:
    import ssl

E = TypeVar("E", bound=BaseException)


def context_for(endpoint: str, url: str = "") -> "ssl.SSLContext | None":
    """Return what judges the certificate of `url` (else of the API itself); None for an address without TLS.

    A profile that does not look at certificates says so of its API's host alone.
    """
    address = urlsplit(url or endpoint)
    if address.scheme not in ("https", "wss"):
        return None
    profile = of_endpoint(endpoint)
    insecure = profile is not None and profile.insecure and address.hostname == urlsplit(endpoint).hostname
    return _context(insecure, *(os.environ.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")))


@cache
def _context(insecure: bool, file: str, folder: str) -> "ssl.SSLContext":
    """Return one context for all connections: to read the authorities takes longer than most calls.

    `file` and `folder` are what OpenSSL reads them from where the environment says so.
    """
    import ssl

    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def limit_seconds(endpoint: str, said: float | None) -> float:
    """Return how long one answer may take: what was said, else what the API's profile says, else the usual."""
    profile = of_endpoint(endpoint)
    return said or (profile.timeout_seconds if profile is not None else 0.0) or TIMEOUT_SECONDS


def unreachable(endpoint: str, error: BaseException | None = None) -> Unreachable:
    """Return the error of an API that does not answer; `error` is what the connection said, where it said anything."""
    refused = (_refused(endpoint, error) or _unnamed(endpoint, error)) if error is not None else None
    return refused or Unreachable(
        f"No Skrei API answers at {endpoint}.",
        hint="Start one with `skrei serve`, or name another with --api URL (or SKREI_API_URL).",
        endpoint=endpoint,
    )


def _refused(endpoint: str, error: BaseException) -> Unreachable | None:
    """Return the error of a connection that TLS refused; None where it did not."""
    import ssl

    cause = _cause(error, ssl.SSLError)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            f"The certificate of {endpoint} is not trusted: {cause.verify_message}.",
            hint="Name the file of the authority that signed it in SSL_CERT_FILE.",
            endpoint=endpoint,
        )
    if cause is not None and endpoint.startswith("https"):
        plain = f"http{endpoint.removeprefix('https')}"
        return Unreachable(f"{endpoint} speaks no TLS.", hint=f"Try --api {plain}", endpoint=endpoint)
    return None


def _unnamed(endpoint: str, error: BaseException) -> Unreachable | None:
    """Return the error of a host whose name means nothing here; None where it does."""
    import socket

    if (cause := _cause(error, socket.gaierror)) is None:
        return None
    return Unreachable(
        f"The name in {endpoint} leads nowhere: {cause.strerror or cause}.",
        hint="Check the address (--api URL, SKREI_API_URL, the profile), and this machine's DNS.",
        endpoint=endpoint,
    )


def _cause(error: BaseException, kind: type[E]) -> E | None:
    """Return what of this kind an error came from, or is itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause
