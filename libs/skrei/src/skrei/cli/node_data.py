"""`skrei node data …`: what the node of this machine lets jobs read by name, in a file that its agent watches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.flags import TABLE
from skrei.cli.grammar import Argument, Command, Values
from skrei.cli.node_files import FOLDER, changing, folder_of, read, tell_when
from skrei.cli.shape import Shape
from skrei.errors import Rejected

if TYPE_CHECKING:
    from skrei_domain.data_sets import Declared

WHAT = "data sets"
NAME = Argument("NAME", "what jobs call it: data://NAME")
ADD = Command(
    "node data add",
    "Let jobs of the cluster read a folder or file of this machine by a name.",
    "skrei.cli.node_data:add",
    (FOLDER,),
    (NAME, Argument("PATH", "where it lies; PATH:rw lets jobs write there too", completes="file")),
)
LIST = Command(
    "node data list",
    "List what was added on this machine; `node list --show data` has all nodes'.",
    "skrei.cli.node_data:list_data",
    (FOLDER, *TABLE),
)
REMOVE = Command(
    "node data remove",
    "Let jobs read it no more; what runs goes on.",
    "skrei.cli.node_data:remove",
    (FOLDER,),
    (NAME,),
)


def add(values: Values) -> None:
    """Declare a data set; one of the same name is replaced."""
    from skrei_domain.data_sets import MAX_DATA_SETS

    each = _declared(values.text("NAME"), values.text("PATH"))
    path = Path(each.path)
    if not path.exists():
        raise Rejected(f"{path} is not there.", hint="Name a folder or file of this machine.")
    folder = folder_of(values)
    with changing(_file(folder), WHAT) as known:
        if each.name not in known and len(known) >= MAX_DATA_SETS:
            raise Rejected(
                f"{len(known)} data sets are declared here, which is the most.", hint="skrei node data remove NAME"
            )
        known[each.name] = each.text
    doing = "read and write" if each.read_write else "read"
    render.line(f"{each.name} is {each.path}: every job of the cluster that names it may {doing} it.")
    tell_when(folder, "data")
    render.next_step(f"skrei docker run -i data://{each.name}:/in ubuntu ls /in", "read it where it lies")


def list_data(values: Values) -> None:
    """List what is declared in the file."""
    from skrei_domain.data_sets import parse_declared

    shape = Shape.of(values)
    known = [parse_declared(name, said) for name, said in sorted(read(_file(folder_of(values)), WHAT).items())]
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

    name, folder = values.text("NAME"), folder_of(values)
    with changing(_file(folder), WHAT) as known:
        if known.pop(name, None) is None:
            near = near_name(name, known)
            raise Rejected(
                f"No data set {name} was added here." + (f" Did you mean {near}?" if near else ""),
                hint="Those that were: skrei node data list; a node's settings (SKREI_DATA) may declare others.",
            )
    render.line(f"{name} is no data set of this node any more. Nothing of it was touched.")
    tell_when(folder, "data")


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


def _file(agent: Path) -> Path:
    from skrei_domain.data_sets import DATA_FILE

    return agent / DATA_FILE
