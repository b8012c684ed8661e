"""Nodes as a person or a program reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.texts import quantity

if TYPE_CHECKING:
    from skrei.views import Node, Page


def nodes(page: Page[Node], output: str) -> None:
    """Print a list of nodes."""
    if output != "table":
        render.document(page.document, output)
        return
    rows = (
        (
            node.id,
            node.type,
            node.membership,
            node.connection,
            ", ".join(node.engines),
            f"{node.available['CPU']:g} / {node.capacity['CPU']:g}",
            f"{quantity(node.available['Memory'])} / {quantity(node.capacity['Memory'])}",
            str(node.running),
            " ".join(f"{key}={value}" for key, value in sorted(node.labels.items())),
        )
        for node in page.items
    )
    render.table(("ID", "TYPE", "APPROVAL", "STATUS", "ENGINES", "CPU FREE", "MEMORY FREE", "RUNNING", "LABELS"), rows)
