"""`skrei node data …`: what the node of this machine lets jobs read by name, in a file that its agent watches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skrei.cli import node_files, render
from skrei.cli.flags import TABLE
from skrei.cli.grammar import Argument, Command, Values
from skrei.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skrei.views import Document
    from skrei_domain.data_sets import Declared

NAME = Argument("NAME", "what jobs call it: data://NAME")
ADD = Command(
    "node data add",
    "Let jobs of the cluster read a folder or file of this machine by a name.",
    "skrei.cli.node_data:add",
    (node_files.FOLDER,),
    (NAME, Argument("PATH", "where it lies; PATH:rw lets jobs write there too", completes="file")),
)
LIST = Command(
    "node data list",
    "List what was added on this machine; `node list --show data` has all nodes'.",
    "skrei.cli.node_data:list_data",
    (node_files.FOLDER, *TABLE),
)
REMOVE = Command(
    "node data remove",
    "Let jobs read it no more; what runs goes on.",
    "skrei.cli.node_data:remove",
    (node_files.FOLDER,),
    (NAME,),
)


def add(values: Values) -> None:
    """Declare a data set; one of the same name is replaced."""
    each = _declared(values.text("NAME"), values.text("PATH"))
    node_files.add(_data_sets(), each, values)
    render.next_step(f"skrei docker run -i data://{each.name}:/in ubuntu ls /in", "read it where it lies")


def list_data(values: Values) -> None:
    """List what is declared in the file."""
    node_files.show(_data_sets(), values)


def remove(values: Values) -> None:
    """Take a data set back."""
    node_files.remove(_data_sets(), values)


def _data_sets() -> node_files.Names[Declared]:
    from skrei_domain.data_sets import DATA_FILE, MAX_DATA_SETS, parse_declared

    return node_files.Names(
        file=DATA_FILE,
        most=MAX_DATA_SETS,
        parse=parse_declared,
        document=_document,
        one="data set",
        word="data",
        show="data",
        told=lambda node: node.data_sets,
        place="PATH",
        places="a folder or file",
        declare="declare",
        declared="declared",
    )


def _document(known: Sequence[Declared]) -> Document:
    return {"DataSets": [{"Name": one.name, "Path": one.path, "ReadWrite": one.read_write} for one in known]}


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
