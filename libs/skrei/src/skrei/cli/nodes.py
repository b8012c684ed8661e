"""`skrei node …`: who can run jobs, how much room they have, who may be one, and what is placed on them."""

import time
from collections.abc import Mapping
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
from skrei.views import Node
from skrei_domain.job_reading import parse_seconds

DRAIN_LOOK_SECONDS = 1.0
"""Between two looks at a node that drains: it takes as long as its jobs."""
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


_MESSAGE = text("--message", "TEXT", "Why; it is kept with the node.", "-m")
CORDON = _change("cordon", "Let nothing new be placed on a node; what runs stays.")
UNCORDON = _change("uncordon", "Let work be placed on a node again; this ends a drain too.")
DRAIN = Command(
    "node drain",
    "Empty a node: batch jobs may run to their end, services move first and are stopped then, daemons go last.",
    "skrei.cli.nodes:drain",
    (
        text("--deadline", "TIME", "Stop what still runs after so long, 30m; 0 is at once. Else it may take its time."),
        flag("--wait", "Come back when nothing runs on it any more."),
        _MESSAGE,
    ),
    (NODE,),
    more="What was stopped is run elsewhere. A second call sets the deadline anew; `skrei node uncordon` ends it.",
)
LABEL = Command(
    "node label",
    "Give a node labels (KEY=VALUE), or take back those that were given (KEY-).",
    "skrei.cli.nodes:label",
    (_MESSAGE,),
    (NODE, Argument("LABEL", "KEY=VALUE to give, KEY- to take back", several=True)),
    more="They win over the node's own labels, and stay when it is started again. Waiting jobs are looked at anew.",
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


def cordon(values: Values) -> None:
    """Close a node."""
    _act(values, "cordon")


def uncordon(values: Values) -> None:
    """Open a node."""
    _act(values, "uncordon")


def drain(values: Values) -> None:
    """Empty a node."""
    deadline = values.text("deadline") or None
    if deadline is not None and parse_seconds(deadline) is None:
        raise Misuse(f"skrei node drain: --deadline {deadline}: no time.", hint="It looks like 30m, 90s, 1h30m, or 0.")
    with Ask(values.text("api")) as ask:
        node = of_node(ask, values.text("NODE"), calls.node)
        ask.send(calls.change_node(node.id, "drain", values.text("message"), deadline=deadline))
        if values.flag("wait"):
            _until_drained(ask, node.id)
            render.line(f"{node.id} is drained: nothing runs on it any more.")
        else:
            render.line(f"{node.id} drains; {_left(ask.send(calls.node(node.id)))}.")
    render.next_step(f"skrei node uncordon {node.id}", "let work be placed on it again")


def _left(node: Node) -> str:
    """Say what is left on a node."""
    if node.intake == "drained":
        return "nothing runs on it"
    many = "1 execution runs" if node.running == 1 else f"{node.running} executions run"
    return f"{many} there, and are waited for"


def _until_drained(ask: Ask, node_id: str) -> None:
    """Return once a node is drained. Raises Rejected where somebody ends the drain meanwhile."""
    while (node := ask.send(calls.node(node_id))).intake != "drained":
        if node.intake != "draining":
            raise Rejected(f"{node_id} is {node.intake}: somebody has ended the drain.")
        time.sleep(DRAIN_LOOK_SECONDS)


def label(values: Values) -> None:
    """Label a node."""
    labels: dict[str, str | None] = {}
    for word in values.texts("LABEL"):
        key, equals, value = word.partition("=")
        if not equals and not word.endswith("-"):
            raise Misuse(f"skrei node label: {word}: no label.", hint="KEY=VALUE gives one, KEY- takes one back.")
        labels[key if equals else word[:-1]] = value if equals else None
    if not labels:
        raise Misuse("skrei node label: no labels.", hint="KEY=VALUE gives one, KEY- takes one back.")
    with Ask(values.text("api")) as ask:
        of_node(
            ask,
            values.text("NODE"),
            lambda node_id: calls.change_node(node_id, "label", values.text("message"), labels=labels),
        )
    render.line("Ok")
    render.next_step(f"skrei node list --labels {_shown(labels)}", "which nodes have them")


def _shown(labels: Mapping[str, str | None]) -> str:
    return ",".join(f"{key}={value}" if value is not None else f"!{key}" for key, value in labels.items())


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
    node_id, left_to_do = revoked
    render.line(node_id)
    if left_to_do:
        render.note(f"The API refuses its key from now on. The transport does after this: {left_to_do}")
    else:
        render.note("Its key is refused from now on.")
    render.note(
        "Whoever still has the join token can come back under a new key: "
        "`skrei node join-line --rotate` changes that too."
    )
