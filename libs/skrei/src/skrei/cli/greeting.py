"""What `skrei serve` says on a terminal once a job could be run: six lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skrei import __version__, calls
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.join_line import join_command
from skrei.errors import ApiError, Unreachable
from skrei.state import default_folder
from skrei.views import Document

if TYPE_CHECKING:
    from skrei_embedded.place import StackState

REMEDIES = {
    "docker": "start it (`sudo systemctl start docker`), let this user reach its socket, or install Docker Engine",
    "wasm": "install Skrei again with its extra: skrei[serve]",
}
"""What to do about an engine that is not there."""


def greet(folder: Path, stack: "StackState") -> None:
    """Print the greeting of a stack that is ready."""
    node: Document = {}
    if stack.node_id and stack.api_url:
        try:
            with Ask(stack.api_url) as ask:
                node = ask.send(calls.node(stack.node_id)).document
        except (ApiError, Unreachable):
            node = {}  # an orchestrator alone has no node to tell of
    join = join_command(folder) if stack.join_url else ""
    for line in lines(stack.api_url, str(folder), node, join, found=folder == default_folder()):
        render.line(line)


def lines(api_url: str, folder: str, node: Document, join: str, *, found: bool = True) -> Sequence[str]:
    """Return the six lines. `found`: other commands of this user look for a stack where this one lies."""
    first = _first_command(node)
    if api_url and not found:
        first = f"export SKREI_API_URL={api_url}; {first}"
    others = (
        f"on another machine: {join}"
        if join
        else "this machine alone is let in; `skrei serve --listen ADDRESS` opens it to others"
    )
    return (
        f"Skrei {__version__} is ready. In another terminal: {first}",
        f"  API      {api_url}" if api_url else "  API      none here: this is a node alone",
        f"  Data     {folder} (logs in {folder}/logs)",
        f"  Engines  {_engines(node)}",
        f"  Join     {others}",
        "  Stop     Ctrl+C, or `skrei down`; what runs is taken up again at the next start",
    )


def _first_command(node: Document) -> str:
    engines = {one.get("Name") for one in _told(node).get("Engines") or ()}
    return "skrei docker run ubuntu echo hello" if "docker" in engines else "skrei node list"


def _told(node: Document) -> Document:
    told: Document = (node.get("Info") or {}).get("ComputeNodeInfo") or {}
    return told


def _engines(node: Document) -> str:
    told = _told(node)
    found = [" ".join(f"{one.get('Name')} {one.get('Version') or ''}".split()) for one in told.get("Engines") or ()]
    missing = [
        f"no {one.get('Name')}: {one.get('Reason')}; {REMEDIES.get(str(one.get('Name')), 'see its documentation')}"
        for one in told.get("Absent") or ()
        if one.get("Kind") == "engine"
    ]
    return " · ".join([", ".join(found) or "none on this machine", *missing])
