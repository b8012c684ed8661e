"""The command that makes another machine a node, told from the files of the stack here, without its API."""

import json
from pathlib import Path

from skrei.errors import Rejected


def join_command(folder: Path) -> str:
    """Return the command for another machine. Raises Rejected where no stack runs here, or none that others reach."""
    try:
        state = json.loads((folder / "stack.json").read_text("utf-8"))
        token = (folder / "keys" / "join.token").read_text("ascii").strip()
    except PermissionError as error:
        raise Rejected(f"{folder} belongs to somebody else.", hint="Ask as the user who started Skrei.") from error
    except (OSError, ValueError) as error:
        raise Rejected(
            f"No control plane runs with the data folder {folder}.", hint="Name another with --data-dir, or start one."
        ) from error
    url = state.get("join_url") if isinstance(state, dict) else None
    if not url:
        raise Rejected(
            "This control plane listens for its own machine only, so no other can join.",
            hint="Start it with `skrei serve --listen ADDR`, ADDR being an address that the others reach.",
        )
    return f"skrei serve --compute --join {url} --token {token}"
