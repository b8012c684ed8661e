"""What daemons say of themselves, and of what went wrong.

Read without the client library: nodes ask every few seconds, also those that never bring anything.
"""

import http.client
import json
from urllib.parse import urlsplit

from skrei_plugin_ipfs.endpoint import Endpoint

ANSWER_BYTES = 64 * 1024
"""Of what a daemon says of itself."""


def told(body: bytes) -> str:
    """Return what an error says, short."""
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    said = read.get("Message") if isinstance(read, dict) else body.decode("utf-8", "replace")
    return " ".join(str(said or "").split())[:200]


def version(endpoint: Endpoint, limit_seconds: float) -> str:
    """Return what a daemon calls its version, empty for a gateway, which tells none. Blocks. Raises OSError."""
    parts = urlsplit(endpoint.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    line = kind(parts.hostname or "", parts.port, timeout=limit_seconds)
    try:
        if endpoint.gateway:
            line.connect()
            return ""
        line.request("POST", f"{parts.path}/api/v0/version")
        answer = line.getresponse()
        body = answer.read(ANSWER_BYTES)
        if answer.status != 200:
            raise ConnectionError(f"it answers {answer.status}: {told(body)}")
        said = json.loads(body)
        return str(said.get("Version", "")) if isinstance(said, dict) else ""
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"it speaks no RPC of IPFS ({error})") from error
    finally:
        line.close()
