"""`skrei node …`: who can run jobs, and how much room they have."""

from urllib.parse import quote

from skrei.cli import render, render_nodes
from skrei.cli.ask import Ask
from skrei.cli.flags import API, FORMATS, OUTPUT, texts
from skrei.cli.grammar import Argument, Command, Option, Values
from skrei.views import Node, Page, items

LIST = Command(
    "node list",
    "List nodes with what is free on them.",
    "skrei.cli.nodes:list_nodes",
    (texts("--labels", "SELECTOR", "Only nodes that meet this selector.", "-l"), OUTPUT, API),
)
DESCRIBE = Command(
    "node describe",
    "Tell everything about a node.",
    "skrei.cli.nodes:describe",
    (
        Option(("--output", "-o"), "For programs.", choices=FORMATS[1:], default="yaml", metavar="json|yaml"),
        API,
    ),
    (Argument("NODE", "a node's id, or a prefix of it"),),
)


def list_nodes(values: Values) -> None:
    """List nodes."""
    with Ask(values.text("api")) as ask:
        answer = ask.get("/orchestrator/nodes", labels=values.texts("labels"))
    page = Page(tuple(map(Node.parse, items(answer.get("Nodes")))), str(answer.get("NextToken") or ""), answer)
    render_nodes.nodes(page, values.text("output"))
    if page.items:
        render.next_step(f"skrei node describe {page.items[0].id}", "everything about one of them")


def describe(values: Values) -> None:
    """Describe a node."""
    with Ask(values.text("api")) as ask:
        answer = ask.get(f"/orchestrator/nodes/{quote(values.text('NODE'), safe='')}")
    render.document(answer.get("Node") or {}, values.text("output"))
