"""What an owner says of the node of this machine: small files of names in its agent's folder, which that watches."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from skrei import credentials, state
from skrei.cli import render
from skrei.cli.flags import text
from skrei.endpoint import is_named, resolve
from skrei.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skrei.cli.grammar import Values

KNOWN_SECONDS = 10
"""Within which a node tells the cluster what was declared."""
FOLDER = text("--data-dir", "FOLDER", "The node in this folder, instead of this user's usual one.", completes="file")


def folder_of(values: Values) -> Path:
    """Return the data folder of the agent that is meant: of the stack that is named, if it is one of this user's here,
    else of his usual node, which may be part of any cluster. Raises Rejected where there is none.
    """
    named, own = values.text("data-dir"), None
    if not named and is_named(values.text("api"), os.environ):
        own = credentials.own_stack(resolve(values.text("api"), os.environ))
    usual = state.usual_folder() if own is None else own[0]
    folder = Path(named).expanduser().absolute() if named else usual
    agent = folder if (folder / "journal").exists() else folder / "agent"
    if not agent.is_dir():
        raise Rejected(
            f"There is no node of this user in {folder}.",
            hint="Start one first (skrei serve), or name the folder of another with --data-dir.",
        )
    return agent


def read(file: Path, what: str) -> dict[str, str]:
    """Return what a file declares, names with a text each; none where it is not there. Raises Rejected."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise Rejected(f"{file} belongs to another user.", hint="Ask its owner, or run this as root.") from error
    except (OSError, ValueError) as error:
        raise Rejected(f"{file} cannot be read: {error}.", hint="Mend or remove it.") from error
    if not (isinstance(found, dict) and all(isinstance(said, str) for said in found.values())):
        raise Rejected(f"{file} does not hold {what}.", hint="Mend or remove it.")
    return found


@contextlib.contextmanager
def changing(file: Path, what: str) -> Iterator[dict[str, str]]:
    """Yield what is declared, and write what has become of it: whole or not at all, one who changes it at a time."""
    agent = file.parent
    turn = file.with_suffix(".lock")
    try:
        with turn.open("a+", encoding="utf-8") as holding:
            fcntl.flock(holding, fcntl.LOCK_EX)
            known = read(file, what)
            yield known
            text = json.dumps(known, indent=1, sort_keys=True)
            fresh = file.with_suffix(".new")
            fresh.write_text(text, "utf-8")
            fresh.replace(file)
    except PermissionError as error:
        raise Rejected(f"{agent} belongs to another user.", hint="Ask its owner, or run this as root.") from error


def tell_when(agent: Path, show: str) -> None:
    """Say when the cluster knows what was changed, and how that is seen."""
    if state.stack_state(agent.parent) is None and state.stack_state(agent) is None:
        render.note("No node runs here now: the cluster hears of it when one does.")
    else:
        render.note(f"The cluster knows within {KNOWN_SECONDS} s: skrei node list --show {show}")
