"""What is asked about nodes, and done with them."""

from collections.abc import Mapping, Sequence

from skrei.calls.call import NODES, Call, if_set, node_path, page_of, whole
from skrei.views import Document, Node, Page

JOIN = "/orchestrator/join"


def nodes(
    *,
    labels: Sequence[str] = (),
    approval: str = "",
    status: str = "",
    order_by: str = "",
    reverse: bool = False,
    limit: int = 0,
    next_token: str = "",
) -> Call[Page[Node]]:
    """A page of nodes; `limit` 0 is as many as one answer holds.

    `approval` and `status` are one of the API's words in lower case.
    """
    query = {
        "labels": tuple(labels),
        "filter-approval": approval,
        "filter-status": status,
        "order_by": order_by,
        "reverse": if_set(reverse),
        "limit": limit or "",
        "next_token": next_token,
    }
    return Call("GET", NODES, page_of(Node.parse, "Nodes"), query)


def node(node_id: str) -> Call[Node]:
    """The node that an id or the beginning of one names."""
    return Call("GET", node_path(node_id), lambda answer: Node.parse(answer.get("Node") or {}))


def change_node(
    node_id: str,
    action: str,
    message: str = "",
    *,
    deadline: str | float | None = None,
    labels: Mapping[str, str | None] | None = None,
) -> Call[Document]:
    """Approve, reject, delete, cordon, uncordon, drain or label a node."""
    body: dict[str, object] = {"Action": action, "Message": message, "NodeID": node_id}
    body |= {} if deadline is None else {"Deadline": deadline}
    body |= {} if labels is None else {"Labels": dict(labels)}
    return Call("PUT", node_path(node_id), whole, body=body, repeatable=False)


def revoke_node(node_id: str, reason: str = "") -> Call[tuple[str, str]]:
    """Let a node in no more with its key; the answer is its id, and what is left to do, mostly nothing."""

    def read(answer: Document) -> tuple[str, str]:
        return str(answer.get("NodeID") or ""), str(answer.get("Next") or "")

    return Call("DELETE", f"{node_path(node_id)}/credentials", read, body={"Reason": reason}, repeatable=False)


def join_command() -> Call[str]:
    """The command that makes another machine a node; `TOKEN` stands in it for whoever may not read the join token."""
    return Call("GET", JOIN, _command)


def new_join_token() -> Call[str]:
    """A new join token in place of the one before; the answer is the command with it."""
    return Call("POST", f"{JOIN}/token", _command, body={}, repeatable=False)


def _command(answer: Document) -> str:
    return str(answer.get("Command") or "")
