"""`skrei node data …`: what the node of this machine lets jobs read by name, in a file that its agent watches."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from skrei import credentials, state
from skrei.cli import render
from skrei.cli.flags import TABLE, text
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.shape import Shape
from skrei.endpoint import is_named, resolve
from skrei.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skrei_domain.data_sets import Declared

KNOWN_SECONDS = 10
"""Within which a node tells the cluster what was declared."""
_FOLDER = text("--data-dir", "FOLDER", "The node in this folder, instead of this user's usual one.", completes="file")
NAME = Argument("NAME", "what jobs call it: data://NAME")
ADD = Command(
    "node data add",
    "Let jobs of the cluster read a folder or file of this machine by a name.",
    "skrei.cli.node_data:add",
    (_FOLDER,),
    (NAME, Argument("PATH", "where it lies; PATH:rw lets jobs write there too", completes="file")),
)
LIST = Command(
    "node data list",
    "List what was added on this machine; `node list --show data` has all nodes'.",
    "skrei.cli.node_data:list_data",
    (_FOLDER, *TABLE),
)
REMOVE = Command(
    "node data remove",
    "Let jobs read it no more; what runs goes on.",
    "skrei.cli.node_data:remove",
    (_FOLDER,),
    (NAME,),
)


def add(values: Values) -> None:
    """Declare a data set; one of the same name is replaced."""
    from skrei_domain.data_sets import MAX_DATA_SETS

    each = _declared(values.text("NAME"), values.text("PATH"))
    path = Path(each.path)
    if not path.exists():
        raise Rejected(f"{path} is not there.", hint="Name a folder or file of this machine.")
    folder = _folder(values)
    with _changing(folder) as known:
        if each.name not in known and len(known) >= MAX_DATA_SETS:
            raise Rejected(
                f"{len(known)} data sets are declared here, which is the most.", hint="skrei node data remove NAME"
            )
        known[each.name] = each.text
    doing = "read and write" if each.read_write else "read"
    render.line(f"{each.name} is {each.path}: every job of the cluster that names it may {doing} it.")
    _tell_when(folder)
    render.next_step(f"skrei docker run -i data://{each.name}:/in ubuntu ls /in", "read it where it lies")


def list_data(values: Values) -> None:
    """List what is declared in the file."""
    from skrei_domain.data_sets import parse_declared

    shape = Shape.of(values)
    known = [parse_declared(name, said) for name, said in sorted(_read(_file(_folder(values))).items())]
    if not shape.is_rows:
        sets = [{"Name": one.name, "Path": one.path, "ReadWrite": one.read_write} for one in known]
        render.document({"DataSets": sets}, shape)
        return
    if not known and shape.output == "table":
        render.line("None so far: skrei node data add NAME PATH")
        return
    rows = (
        (
            one.name,
            one.path,
            "read, write" if one.read_write else "read",
            "" if Path(one.path).exists() else "not there",
        )
        for one in known
    )
    render.table(("NAME", "PATH", "JOBS MAY", "NOTE"), rows, shape)


def remove(values: Values) -> None:
    """Take a data set back."""
    from skrei_domain.data_sets import near_name

    name, folder = values.text("NAME"), _folder(values)
    with _changing(folder) as known:
        if known.pop(name, None) is None:
            near = near_name(name, known)
            raise Rejected(
                f"No data set {name} was added here." + (f" Did you mean {near}?" if near else ""),
                hint="Those that were: skrei node data list; a node's settings (SKREI_DATA) may declare others.",
            )
    render.line(f"{name} is no data set of this node any more. Nothing of it was touched.")
    _tell_when(folder)


def _declared(name: str, said: str) -> Declared:
    """Return what was said, its path made absolute. Raises Rejected."""
    from skrei_domain.data_sets import parse_declared

    path, access = said, ""
    for suffix in (":ro", ":rw"):
        if said.endswith(suffix):
            path, access = said.removesuffix(suffix), suffix
    whole = os.path.normpath(Path.cwd() / Path(path).expanduser())
    try:
        return parse_declared(name, f"{whole}{access}")
    except ValueError as error:
        raise Rejected(f"{error}.", hint="For example skrei node data add books /srv/books") from error


def _folder(values: Values) -> Path:
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


def _file(agent: Path) -> Path:
    from skrei_domain.data_sets import DATA_FILE

    return agent / DATA_FILE


def _read(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise Rejected(f"{file} belongs to another user.", hint="Ask its owner, or run this as root.") from error
    except (OSError, ValueError) as error:
        raise Rejected(f"{file} cannot be read: {error}.", hint="Mend or remove it.") from error
    if not (isinstance(found, dict) and all(isinstance(said, str) for said in found.values())):
        raise Rejected(f"{file} does not hold data sets.", hint="Mend or remove it.")
    return found


@contextlib.contextmanager
def _changing(agent: Path) -> Iterator[dict[str, str]]:
    """Yield what is declared, and write what has become of it: whole or not at all, one who changes it at a time."""
    file = _file(agent)
    turn = file.with_suffix(".lock")
    try:
        with turn.open("a+", encoding="utf-8") as holding:
            fcntl.flock(holding, fcntl.LOCK_EX)
            known = _read(file)
            yield known
            text = json.dumps(known, indent=1, sort_keys=True)
            fresh = file.with_suffix(".new")
            fresh.write_text(text, "utf-8")
            fresh.replace(file)
    except PermissionError as error:
        raise Rejected(f"{agent} belongs to another user.", hint="Ask its owner, or run this as root.") from error


def _tell_when(agent: Path) -> None:
    if state.stack_state(agent.parent) is None and state.stack_state(agent) is None:
        render.note("No node runs here now: the cluster hears of it when one does.")
    else:
        render.note(f"The cluster knows within {KNOWN_SECONDS} s: skrei node list --show data")
