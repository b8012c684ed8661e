"""Nodes as a person or a program reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.texts import quantity
from skrei_domain.amounts import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skrei.cli.shape import Shape
    from skrei.job_parts import DataSet, NodeService
    from skrei.views import Node, Page


def nodes(page: Page[Node], shape: Shape, groups: Sequence[str]) -> None:
    """Print a list of nodes, with these groups of columns beside the usual ones."""
    if not shape.is_rows:
        render.document(page.document, shape)
        return
    chosen = [*_USUAL, *(column for group in groups for column in GROUPS[group])]
    rows = ([value(node) for _, value in chosen] for node in page.items)
    render.table([name for name, _ in chosen], rows, shape)


def groups_of(text: str) -> tuple[str, ...] | str:
    """Return the groups that `a,b` names (nothing: the usual ones), or the first word that is none."""
    if not text:
        return USUAL
    words = tuple(word.strip().lower() for word in text.split(","))
    return next((word for word in words if word not in GROUPS), words)


def _compute(node: Node) -> dict[str, object]:
    found: dict[str, object] = (node.document.get("Info") or {}).get("ComputeNodeInfo") or {}
    return found


def _joined(name: str) -> Callable[[Node], str]:
    def value(node: Node) -> str:
        found = _compute(node).get(name)
        return ", ".join(map(str, found)) if isinstance(found, list) else ""

    return value


def _version(name: str) -> Callable[[Node], str]:
    return lambda node: str(((node.document.get("Info") or {}).get("BacalhauVersion") or {}).get(name) or "")


def _data_set(each: DataSet) -> str:
    """Return a data set in a word or two: `books 61 MB`."""
    size = "" if each.size is None else f" {'>' if each.at_least else ''}{amount(each.size)}"
    return f"{each.name}{':rw' if each.read_write else ''}{size}"


def _cache(node: Node) -> str:
    """Return what a node's input cache holds and has saved: `61 MB in 3 files, 12 hits, 240 MB not fetched again`."""
    found = node.input_cache
    if found is None:
        return ""
    files = f"{amount(found.size)} in {found.files} file{'' if found.files == 1 else 's'}"
    return f"{files}, {found.hits} hits, {amount(found.saved)} not fetched again"


def _service(each: NodeService) -> str:
    """Return a service in a word or two: `mongodb`, `duckdb (file:rw)`."""
    access = ":rw" if each.read_write else ""
    return each.name if each.kind == "address" else f"{each.name} ({each.kind}{access})"


def _amount(name: str) -> Callable[[Node], str]:
    if name in ("CPU", "GPU"):
        return lambda node: f"{node.available[name]:g} / {node.capacity[name]:g}"
    return lambda node: f"{quantity(node.available[name])} / {quantity(node.capacity[name])}"


_USUAL: list[tuple[str, Callable[[Node], str]]] = [
    ("ID", lambda node: node.id),
    ("TYPE", lambda node: node.type),
    ("APPROVAL", lambda node: node.membership),
    ("STATUS", lambda node: node.connection + ("" if node.intake == "open" else f" ({node.intake})")),
]
GROUPS: dict[str, list[tuple[str, Callable[[Node], str]]]] = {
    "labels": [("LABELS", lambda node: " ".join(f"{key}={value}" for key, value in sorted(node.labels.items())))],
    "version": [
        ("VERSION", _version("GitVersion")),
        ("ARCHITECTURE", _version("GOARCH")),
        ("OS", _version("GOOS")),
    ],
    "features": [
        ("ENGINES", _joined("ExecutionEngines")),
        ("INPUTS FROM", _joined("StorageSources")),
        ("OUTPUTS", _joined("Publishers")),
    ],
    "engines": [("ENGINES", lambda node: ", ".join(node.engines))],
    "data": [("DATA", lambda node: ", ".join(map(_data_set, node.data_sets)))],
    "services": [("SERVICES", lambda node: ", ".join(map(_service, node.services)))],
    "cache": [("INPUT CACHE", _cache)],
    "capacity": [
        ("CPU FREE", _amount("CPU")),
        ("MEMORY FREE", _amount("Memory")),
        ("DISK FREE", _amount("Disk")),
        ("GPU FREE", _amount("GPU")),
        ("RUNNING", lambda node: str(node.running)),
    ],
}
"""Groups of columns by the words of `--show`."""
USUAL = ("engines", "capacity", "labels")
