"""`skrei node service …`: what jobs may use of this machine by name, in a file that its agent watches."""

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
    from skrei_domain.node_services import Offered

WHAT = "services"
NAME = Argument("NAME", "what jobs call it: Uses: [NAME]")
ADD = Command(
    "node service add",
    "Let jobs of the cluster use a database or file of this machine by a name.",
    "skrei.cli.node_service:add",
    (FOLDER,),
    (NAME, Argument("ADDRESS", "HOST:PORT, or file:///PATH; file:///PATH:rw lets jobs write there too")),
    more="For example: skrei node service add mongodb 127.0.0.1:27017, or duckdb file:///srv/x.duckdb",
)
LIST = Command(
    "node service list",
    "List what was added on this machine; `node list --show services` has all nodes'.",
    "skrei.cli.node_service:list_services",
    (FOLDER, *TABLE),
)
REMOVE = Command(
    "node service remove",
    "Let jobs use it no more; what runs goes on.",
    "skrei.cli.node_service:remove",
    (FOLDER,),
    (NAME,),
)


def add(values: Values) -> None:
    """Offer a service; one of the same name is replaced."""
    from skrei_domain.node_services import MAX_SERVICES
    from skrei_domain.services import variable

    each = _offered(values.text("NAME"), values.text("ADDRESS"))
    if each.path and not Path(each.path).exists():
        raise Rejected(f"{each.path} is not there.", hint="Name a file or folder of this machine.")
    folder = folder_of(values)
    with changing(_file(folder), WHAT) as known:
        if each.name not in known and len(known) >= MAX_SERVICES:
            raise Rejected(
                f"{len(known)} services are offered here, which is the most.", hint="skrei node service remove NAME"
            )
        known[each.name] = each.text
    doing = "use" if not each.path else "read and write" if each.read_write else "read"
    render.line(f"{each.name} is {each.path or each.text}: every job of the cluster that names it may {doing} it.")
    tell_when(folder, "services")
    render.next_step(f"Uses: [{each.name}]", f"in a task: it goes where that is, and finds it as {variable(each.name)}")


def list_services(values: Values) -> None:
    """List what is offered in the file."""
    from skrei_domain.node_services import parse_offered

    shape = Shape.of(values)
    known = [parse_offered(name, said) for name, said in sorted(read(_file(folder_of(values)), WHAT).items())]
    if not shape.is_rows:
        found = [
            {"Name": one.name, "Kind": one.kind, "Address": one.text, "ReadWrite": one.read_write} for one in known
        ]
        render.document({"Services": found}, shape)
        return
    if not known and shape.output == "table":
        render.line("None so far: skrei node service add NAME ADDRESS")
        return
    rows = (
        (
            one.name,
            one.path or one.text,
            "use" if not one.path else "read, write" if one.read_write else "read",
            "not there" if one.path and not Path(one.path).exists() else "",
        )
        for one in known
    )
    render.table(("NAME", "ADDRESS", "JOBS MAY", "NOTE"), rows, shape)


def remove(values: Values) -> None:
    """Take a service back."""
    from skrei_domain.data_sets import near_name

    name, folder = values.text("NAME"), folder_of(values)
    with changing(_file(folder), WHAT) as known:
        if known.pop(name, None) is None:
            near = near_name(name, known)
            raise Rejected(
                f"No service {name} was added here." + (f" Did you mean {near}?" if near else ""),
                hint="Those that were: skrei node service list; a node's settings (SKREI_SERVICES) may offer others.",
            )
    render.line(f"{name} is no service of this node any more. Nothing of it was touched.")
    tell_when(folder, "services")


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


def _file(agent: Path) -> Path:
    from skrei_domain.node_services import SERVICES_FILE

    return agent / SERVICES_FILE
