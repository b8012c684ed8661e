"""What a supervisor asks of what it started: the API, the nodes, who uses it, and how its own node stands."""

import asyncio
import http.client
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from skrei_embedded.idle import Activity

ANSWER_SECONDS = 2.0
LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 1.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is beside us: no proxy is on the way


async def until_ready(api: str, token: str, node_id: str) -> None:
    """Return once the API at `api` answers and, where one is named, its node is connected. May be cancelled."""
    for ready in (
        lambda: answers(f"{api}/agent/alive"),
        lambda: not node_id or node_id in connected_nodes(f"{api}/orchestrator/nodes", token),
    ):
        pause = LOOK_SECONDS
        while not await asyncio.to_thread(ready):
            await asyncio.sleep(pause)  # it is another process, which has no event for us
            pause = min(pause * 1.2, LONGEST_LOOK_SECONDS)


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    return _get(url) is not None


def connected_nodes(url: str, token: str = "") -> set[str]:
    """Return the ids of the nodes that the list at `url` calls connected; `token` is the owner's."""
    document = _get(url, token)
    nodes: list[dict[str, Any]] = (document or {}).get("Nodes") or []
    return {str(node["Info"]["NodeID"]) for node in nodes if node.get("Connection") == "CONNECTED"}


class NodeStanding(NamedTuple):
    """`greeted`, `waiting` with a reason and what to do, or nothing yet."""

    state: str = ""
    reason: str = ""
    hint: str = ""


def read_standing(folder: Path) -> NodeStanding:
    """Return what the agent whose data lies in `folder` said last; that of a process that has ended greets nobody."""
    try:
        told = json.loads((folder / "standing.json").read_text("utf-8"))
        standing = NodeStanding(str(told["state"]), str(told["reason"]), str(told["hint"]))
        if not standing.reason:
            os.kill(int(told["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return NodeStanding()
    return standing


def activity(url: str, token: str) -> Activity | None:
    """Return what the API tells of its use at `url`, to whoever shows the stack's own token; None without an answer."""
    document = _get(url, token)
    if document is None:
        return None
    return Activity(int(document.get("Requests") or 0), int(document.get("OpenJobs") or 0))


def _get(url: str, token: str = "") -> dict[str, Any] | None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with _OPENER.open(request, timeout=ANSWER_SECONDS) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError as answer:
        answer.close()
        return None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return document if isinstance(document, dict) else {}
