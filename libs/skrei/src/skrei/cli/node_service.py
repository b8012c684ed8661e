"""`skrei node service …`: what jobs may use of this machine by name, in a file that its agent watches."""

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
    from skrei_domain.node_services import Offered

NAME = Argument("NAME", "what jobs call it: Uses: [NAME]")
ADD = Command(
    "node service add",
    "Let jobs of the cluster use a database or file of this machine by a name.",
    "skrei.cli.node_service:add",
    (node_files.FOLDER,),
    (NAME, Argument("ADDRESS", "HOST:PORT, or file:///PATH; file:///PATH:rw lets jobs write there too")),
    more="For example: skrei node service add mongodb 127.0.0.1:27017, or duckdb file:///srv/x.duckdb",
)
LIST = Command(
    "node service list",
    "List what was added on this machine; `node list --show services` has all nodes'.",
    "skrei.cli.node_service:list_services",
    (node_files.FOLDER, *TABLE),
)
REMOVE = Command(
    "node service remove",
    "Let jobs use it no more; what runs goes on.",
    "skrei.cli.node_service:remove",
    (node_files.FOLDER,),
    (NAME,),
)


def add(values: Values) -> None:
    """Offer a service; one of the same name is replaced."""
    from skrei_domain.services import variable

    each = _offered(values.text("NAME"), values.text("ADDRESS"))
    node_files.add(_services(), each, values)
    render.next_step(f"Uses: [{each.name}]", f"in a task: it goes where that is, and finds it as {variable(each.name)}")


def list_services(values: Values) -> None:
    """List what is offered in the file."""
    node_files.show(_services(), values)


def remove(values: Values) -> None:
    """Take a service back."""
    node_files.remove(_services(), values)


def _services() -> node_files.Names[Offered]:
    from skrei_domain.node_services import MAX_SERVICES, SERVICES_FILE, parse_offered

    return node_files.Names(
        file=SERVICES_FILE,
        most=MAX_SERVICES,
        parse=parse_offered,
        document=_document,
        one="service",
        word="service",
        show="services",
        told=lambda node: node.services,
        place="ADDRESS",
        places="a file or folder",
        declare="offer",
        declared="offered",
    )


def _document(known: Sequence[Offered]) -> Document:
    services = [{"Name": one.name, "Kind": one.kind, "Address": one.text, "ReadWrite": one.read_write} for one in known]
    return {"Services": services}


def _offered(name: str, said: str) -> Offered:
    """Return what was said; a path of this machine may be said without its scheme. Raises Rejected."""
    from skrei_domain.node_services import parse_offered

    text = said if "://" in said or not _is_path(said) else f"file://{os.path.normpath(Path.cwd() / said)}"
    try:
        return parse_offered(name, text)
    except ValueError as error:
        raise Rejected(f"{error}.", hint="For example skrei node service add mongodb 127.0.0.1:27017") from error


def _is_path(said: str) -> bool:
    return said.startswith(("/", "./", "../"))
