"""Opening the address of a result, as its API's profile says."""

import urllib.request
from contextlib import AbstractContextManager
from http.client import HTTPResponse
from typing import cast
from urllib.parse import urljoin

from skrei.endpoint import is_loopback
from skrei.trust import context_for


def opened(endpoint: str, url: str, *, silence_seconds: float) -> AbstractContextManager[HTTPResponse]:
    """Open `url`, as the API at `endpoint` named a result. Raises OSError."""
    url = urljoin(f"{endpoint}/", url)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
    if context := context_for(endpoint, url):
        handlers.append(urllib.request.HTTPSHandler(context=context))
    answer = urllib.request.build_opener(*handlers).open(url, timeout=silence_seconds)
    return cast("AbstractContextManager[HTTPResponse]", answer)
