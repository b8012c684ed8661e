"""What an owner says of the node of this machine: small files of names in its agent's folder, which that watches."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from skrei import credentials, state
from skrei.cli import render
from skrei.cli.flags import text
from skrei.cli.shape import Shape
from skrei.endpoint import is_named, resolve
from skrei.errors import Rejected
from skrei_domain.errors import SkreiError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from skrei.cli.grammar import Values
    from skrei.job_parts import DataSet, NodeService
    from skrei.views import Document, Node
    from skrei_domain.data_sets import Declared
    from skrei_domain.node_services import Offered

KNOWN_SECONDS = 10
"""Within which a node tells the cluster what was declared: so long is waited, since the next command means it."""
LOOK_SECONDS = 0.2
"""Between two looks whether it has."""
FOLDER = text("--data-dir", "FOLDER", "The node in this folder, instead of this user's usual one.", completes="file")


Told: TypeAlias = "DataSet | NodeService"
Each = TypeVar("Each", "Declared", "Offered")
"""What has a name: something at a `path` of this machine, or else what its `text` in the file says."""


@dataclass(frozen=True, slots=True)
class Names(Generic[Each]):
    """One kind of names: its file, and the words for it."""

    file: str
    most: int
    """How many a node may have."""
    parse: Callable[[str, str], Each]
    """Makes of a name and its text what is meant, or raises ValueError."""
    document: Callable[[Sequence[Each]], Document]
    """What programs are told of them."""
    one: str
    """What each is (`data set`); several are called by an s more."""
    word: str
    """In commands: `skrei node WORD add`; a node calls the kind of what it cannot use so, too."""
    show: str
    """In `skrei node list --show`; the node's setting is called so too."""
    told: Callable[[Node], Sequence[Told]]
    """What of them a node has told the cluster."""
    place: str
    """What is said beside the name."""
    places: str
    """What it may be on this machine."""
    declare: str
    declared: str
    """What its owner does with it, and has done."""


def add(names: Names[Each], each: Each, values: Values) -> None:
    """Give what is meant its name; one of the same name is replaced. Raises Rejected."""
    if each.path and not Path(each.path).exists():
        raise Rejected(f"{each.path} is not there.", hint=f"Name {names.places} of this machine.")
    folder = folder_of(values)
    with _changing(names, folder) as known:
        if each.name not in known and len(known) >= names.most:
            raise Rejected(
                f"{len(known)} {names.one}s are {names.declared} here, which is the most.",
                hint=f"skrei node {names.word} remove NAME",
            )
        known[each.name] = each.text
    where, doing = each.path or each.text, _may(each, " and ")
    render.line(f"{each.name} is {where}: every job of the cluster that names it may {doing} it.")
    meant = (each.name, bool(each.path) and each.read_write)
    _tell_when(names, folder, values, each.name, lambda told: meant in told)


def show(names: Names[Each], values: Values) -> None:
    """List what has a name in the file."""
    shape = Shape.of(values)
    known = [names.parse(name, said) for name, said in sorted(_read(names, folder_of(values)).items())]
    if not shape.is_rows:
        render.document(names.document(known), shape)
        return
    if not known and shape.output == "table":
        render.line(f"None so far: skrei node {names.word} add NAME {names.place}")
        return
    rows = (
        (
            one.name,
            one.path or one.text,
            _may(one, ", "),
            "not there" if one.path and not Path(one.path).exists() else "",
        )
        for one in known
    )
    render.table(("NAME", names.place, "JOBS MAY", "NOTE"), rows, shape)


def remove(names: Names[Each], values: Values) -> None:
    """Take a name back. Raises Rejected where there is none such."""
    from skrei_domain.data_sets import near_name

    name, folder = values.text("NAME"), folder_of(values)
    with _changing(names, folder) as known:
        if known.pop(name, None) is None:
            near = near_name(name, known)
            raise Rejected(
                f"No {names.one} {name} was added here." + (f" Did you mean {near}?" if near else ""),
                hint=f"Those that were: skrei node {names.word} list; "
                f"a node's settings (SKREI_{names.show.upper()}) may {names.declare} others.",
            )
    render.line(f"{name} is no {names.one} of this node any more. Nothing of it was touched.")
    _tell_when(names, folder, values, name, lambda told: name not in dict(told))


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


def _may(each: Each, between: str) -> str:
    """Return what jobs may do with it."""
    if not each.path:
        return "use"
    return f"read{between}write" if each.read_write else "read"


def _read(names: Names[Each], agent: Path) -> dict[str, str]:
    """Return what the file says, names with a text each; none where it is not there. Raises Rejected."""
    file = agent / names.file
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise Rejected(f"{file} belongs to another user.", hint="Ask its owner, or run this as root.") from error
    except (OSError, ValueError) as error:
        raise Rejected(f"{file} cannot be read: {error}.", hint="Mend or remove it.") from error
    if not (isinstance(found, dict) and all(isinstance(said, str) for said in found.values())):
        raise Rejected(f"{file} does not hold {names.one}s.", hint="Mend or remove it.")
    return found


@contextlib.contextmanager
def _changing(names: Names[Each], agent: Path) -> Iterator[dict[str, str]]:
    """Yield what is said, and write what has become of it: whole or not at all, one who changes it at a time."""
    file = agent / names.file
    turn = file.with_suffix(".lock")
    try:
        with turn.open("a+", encoding="utf-8") as holding:
            fcntl.flock(holding, fcntl.LOCK_EX)
            known = _read(names, agent)
            yield known
            text = json.dumps(known, indent=1, sort_keys=True)
            fresh = file.with_suffix(".new")
            fresh.write_text(text, "utf-8")
            fresh.replace(file)
    except PermissionError as error:
        raise Rejected(f"{agent} belongs to another user.", hint="Ask its owner, or run this as root.") from error


def _tell_when(
    names: Names[Each], agent: Path, values: Values, name: str, known: Callable[[Collection[tuple[str, bool]]], bool]
) -> None:
    """Wait until the cluster knows what was changed, as `known` sees by what the node has told, and say how that is
    seen; where nobody here can be asked, when it will, and where the node cannot use it, why.
    """
    stack = state.stack_state(agent.parent) or state.stack_state(agent)
    if stack is None:
        render.note("No node runs here now: the cluster hears of it when one does.")
        return
    api = values.text("api") or str(stack.get("api_url") or "") or None
    seen, node = _wait(names, api, str(stack.get("node_id") or ""), known)
    if not seen and node is not None and (why := _why_away(names, node, name)):
        render.note(
            f"The node cannot use {name} now: {why}. It goes on looking, and no job that names it starts before."
        )
        return
    when = "" if seen else f" within {KNOWN_SECONDS} s"
    render.note(f"The cluster knows{when}: skrei node list --show {names.show}")


def _wait(
    names: Names[Each], api: str | None, node_id: str, known: Callable[[Collection[tuple[str, bool]]], bool]
) -> tuple[bool, Node | None]:
    """Return whether the cluster comes to know in time, and what it was told last; None, where it cannot be asked."""
    from skrei import calls
    from skrei.cli.ask import Ask

    node, until = None, time.monotonic() + KNOWN_SECONDS
    try:
        with Ask(api, timeout_seconds=KNOWN_SECONDS) as ask:
            while node_id and time.monotonic() < until:
                node = ask.send(calls.node(node_id))
                if known([(one.name, one.read_write) for one in names.told(node)]):
                    return True, node
                time.sleep(LOOK_SECONDS)
    except SkreiError:
        return False, None
    return False, node


def _why_away(names: Names[Each], node: Node, name: str) -> str:
    """Return why a node says that it cannot use what has this name; empty where it does not say so."""
    told = (node.document.get("Info") or {}).get("ComputeNodeInfo") or {}
    away = {(one.get("Kind"), one.get("Name")): str(one.get("Reason")) for one in told.get("Absent") or ()}
    return away.get((names.word, name), "")
