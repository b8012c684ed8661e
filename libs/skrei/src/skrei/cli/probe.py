"""One small question to the API without an HTTP library: `skrei version` is asked often and answers at once."""

import http.client
import json
import os
from urllib.parse import urlsplit

from skrei import __version__
from skrei.cli import render
from skrei.cli.formats import Format
from skrei.endpoint import API, resolve

TIMEOUT_SECONDS = 2.0
"""A server that has not told its version by then is told as not reachable."""


def server_version(given: str | None) -> tuple[str, str]:
    """Return the endpoint and the version of what answers there; empty when nothing that speaks Skrei's API does."""
    url = resolve(given, os.environ)
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path}{API}/agent/version")
        document = json.loads(connection.getresponse().read(65536))
        return url, str(document.get("GitVersion") or "")
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return url, ""
    finally:
        connection.close()


def show_version(given: str | None, output: Format) -> None:
    """Print the version of this program and of the API."""
    url, server = server_version(given)
    render.version(__version__, server, url, output)
