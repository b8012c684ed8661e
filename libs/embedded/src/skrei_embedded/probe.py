"""What a supervisor asks of the API that it started: whether it answers, and which nodes are connected."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

ANSWER_SECONDS = 2.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is beside us: no proxy is on the way


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    return _get(url) is not None


def connected_nodes(url: str) -> set[str]:
    """Return the ids of the nodes that the list at `url` calls connected."""
    document = _get(url)
    nodes: list[dict[str, Any]] = (document or {}).get("Nodes") or []
    return {str(node["Info"]["NodeID"]) for node in nodes if node.get("Connection") == "CONNECTED"}


def _get(url: str) -> dict[str, Any] | None:
    try:
        with _OPENER.open(url, timeout=ANSWER_SECONDS) as answer:
            document = json.load(answer)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError):
        return None
    return document if isinstance(document, dict) else {}
