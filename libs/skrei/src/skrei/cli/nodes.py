"""`skrei node …`: who can run jobs, and how much room they have."""

from pathlib import Path
from urllib.parse import quote

from skrei.cli import render, render_nodes
from skrei.cli.ask import Ask
from skrei.cli.flags import API, FORMATS, OUTPUT, text, texts
from skrei.cli.grammar import Argument, Command, Option, Values
from skrei.cli.join_line import join_command
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
JOIN_LINE = Command(
    "node join-line",
    "Print the command that makes another machine a node; it holds the join token.",
    "skrei.cli.nodes:join_line",
    (text("--data-dir", "FOLDER", "Read it from the data folder of a control plane of this machine."), API),
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


def join_line(values: Values) -> None:
    """Print the command for another machine: from the API, or from the files of a stack here."""
    folder = values.text("data-dir")
    if folder:
        render.line(join_command(Path(folder)))
        return
    with Ask(values.text("api")) as ask:
        command = str(ask.get("/orchestrator/join").get("Command") or "")
    render.line(command)
    if command.endswith(" --token TOKEN"):
        render.note("TOKEN is for the owner: ask as the user who started Skrei, or set SKREI_API_KEY.")
