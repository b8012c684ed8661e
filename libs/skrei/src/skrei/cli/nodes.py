"""`skrei node …`: who can run jobs, how much room they have, and who may be one."""

from pathlib import Path

from skrei import calls
from skrei.cli import render, render_nodes
from skrei.cli.again import next_page
from skrei.cli.ask import Ask
from skrei.cli.flags import OBJECT, TABLE, flag, one_of, page, text, texts
from skrei.cli.grammar import Argument, Command, Misuse, Option, Values
from skrei.cli.join_line import join_command
from skrei.cli.references import of_node
from skrei.cli.shape import Shape
from skrei.cli.watch import WATCH, watched
from skrei.errors import Rejected

ORDERS = ("id", "type", "available_cpu", "available_memory", "available_disk", "available_gpu", "approval", "status")
NODE = Argument("NODE", "a node's id, a prefix of it, or its name", completes="node")
_SHOW = Option(
    ("--show",),
    f"Columns beside the usual ones: {', '.join(render_nodes.GROUPS)}; joined by commas.",
    default="",
    metavar="GROUPS",
)
LIST = Command(
    "node list",
    "List nodes with what is free on them.",
    "skrei.cli.nodes:list_nodes",
    (
        _SHOW,
        texts("--labels", "SELECTOR", "Only nodes that meet this selector.", "-l"),
        one_of("--filter-approval", "Only nodes that are so.", "approved", "pending", "rejected"),
        one_of("--filter-status", "Only nodes that are so.", "connected", "disconnected"),
        *page(0, ORDERS),
        *WATCH,
        *TABLE,
    ),
)
DESCRIBE = Command("node describe", "Tell everything about a node.", "skrei.cli.nodes:describe", OBJECT, (NODE,))
JOIN_LINE = Command(
    "node join-line",
    "Print the command that makes another machine a node; it holds the join token.",
    "skrei.cli.nodes:join_line",
    (
        text("--data-dir", "FOLDER", "Read it from the data folder of a control plane of this machine."),
        flag("--rotate", "Make a new token first: nobody can join by the old one any more. Nodes that joined go on."),
    ),
)
REVOKE = Command(
    "node revoke",
    "Let a node in no more with the key that it joined with: it is cut off at once.",
    "skrei.cli.nodes:revoke",
    (text("--reason", "TEXT", "Why, for the audit."),),
    (NODE,),
)


def _change(action: str, summary: str) -> Command:
    return Command(
        f"node {action}",
        summary,
        f"skrei.cli.nodes:{action}",
        (text("--message", "TEXT", "Why; it is kept with the node.", "-m"),),
        (NODE,),
    )


APPROVE = _change("approve", "Let a node take work.")
REJECT = _change("reject", "Let a node take no more work, and turn it away.")
DELETE = _change("delete", "Forget a node; one that is still there says hello again.")


def list_nodes(values: Values) -> None:
    """List nodes."""
    watched(values, _list)


def _list(values: Values) -> bool:
    groups = render_nodes.groups_of(values.text("show"))
    if isinstance(groups, str):
        raise Misuse(
            f"skrei node list: --show {groups}: allowed are {', '.join(render_nodes.GROUPS)}.",
            hint="All options: skrei node list --help",
        )
    with Ask(values.text("api")) as ask:
        found = ask.send(
            calls.nodes(
                labels=values.texts("labels"),
                approval=values.text("filter-approval"),
                status=values.text("filter-status"),
                order_by=values.text("order-by"),
                reverse=values.flag("order-reversed"),
                limit=values.integer("limit"),
                next_token=values.text("next-token"),
            )
        )
    render_nodes.nodes(found, Shape.of(values), groups)
    if found.next_token:
        render.note(f"More: {next_page(LIST, values, found.next_token)}")
    elif found.items:
        render.next_step(f"skrei node describe {found.items[0].id}", "everything about one of them")
    return False


def describe(values: Values) -> None:
    """Describe a node."""
    with Ask(values.text("api")) as ask:
        found = of_node(ask, values.text("NODE"), calls.node)
    render.document(found.document, Shape.of(values))


def approve(values: Values) -> None:
    """Let a node take work."""
    _act(values, "approve")


def reject(values: Values) -> None:
    """Turn a node away."""
    _act(values, "reject")


def delete(values: Values) -> None:
    """Forget a node."""
    _act(values, "delete")


def _act(values: Values, action: str) -> None:
    with Ask(values.text("api")) as ask:
        of_node(ask, values.text("NODE"), lambda node_id: calls.change_node(node_id, action, values.text("message")))
    render.line("Ok")
    if action != "delete":
        render.next_step(f"skrei node describe {values.text('NODE')}", "how it stands")


def join_line(values: Values) -> None:
    """Print the command for another machine: from the API, or from the files of a stack here."""
    folder = values.text("data-dir")
    if folder and values.flag("rotate"):
        raise Rejected("--rotate asks the control plane's API.", hint="Leave --data-dir out.")
    if folder:
        render.line(join_command(Path(folder)))
        return
    with Ask(values.text("api")) as ask:
        command = ask.send(calls.new_join_token() if values.flag("rotate") else calls.join_command())
    render.line(command)
    if command.endswith(" --token TOKEN"):
        render.note("TOKEN is for the owner: ask as the user who started Skrei, or set SKREI_API_KEY.")


def revoke(values: Values) -> None:
    """Cut a node off."""
    with Ask(values.text("api")) as ask:
        revoked = of_node(ask, values.text("NODE"), lambda node_id: calls.revoke_node(node_id, values.text("reason")))
    render.line(revoked)
    render.note(
        "Its key is refused from now on. Whoever still has the join token can come back under a new key: "
        "`skrei node join-line --rotate` changes that too."
    )
