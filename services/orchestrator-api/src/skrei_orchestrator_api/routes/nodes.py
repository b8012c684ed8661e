"""The nodes, as the record holds them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain import constraints
from skrei_domain.errors import Invalid
from skrei_domain.lifecycle import Membership
from skrei_orchestrator_api import queries
from skrei_orchestrator_api.deps import caller_of, deps_of
from skrei_orchestrator_api.describing import LABELS, LIMIT, NEXT_TOKEN, REVERSE, Query, described
from skrei_orchestrator_api.http import answer, fields, read_json
from skrei_orchestrator_api.node_wishes import check_labels, read_change
from skrei_store.node_intents import check

NODES = "/api/v1/orchestrator/nodes"

MOST_AMOUNT = 2**62
"""Thousandths of an amount that an order tells apart: more than any node has of anything."""

_ORDERS = ("id", "type", "available_cpu", "available_memory", "available_disk", "available_gpu", "approval", "status")
_WORDS = {"approval": "Membership", "status": "Connection"}
_AMOUNTS = {f"available_{name.lower()}": name for name in ("CPU", "Memory", "Disk", "GPU")}


@described(
    answer="Nodes",
    query=(
        LABELS,
        Query("filter-approval", "Only nodes whose membership is this.", ("approved", "pending", "rejected")),
        Query("filter-status", "Only nodes whose connection is this.", ("connected", "disconnected")),
        Query("order_by", "Amounts descend.", _ORDERS, "id"),
        REVERSE,
        LIMIT,
        NEXT_TOKEN,
    ),
    cached=True,
)
async def list_nodes(request: Request) -> Response:
    """Return a page of nodes, by labels, approval and status, in the order asked for (amounts descend).

    A token carries on with the order and size that it began with.
    """
    labels = queries.selector(request)
    approval = queries.choice(request, "filter-approval", ("approved", "pending", "rejected"), "")
    status = queries.choice(request, "filter-status", ("connected", "disconnected"), "")
    order = queries.choice(request, "order_by", _ORDERS, "id")
    reverse, limit = queries.flag(request, "reverse"), queries.limit(request) or queries.MAX_PAGE
    after: tuple[int, str, str] | None = None
    token = queries.token_in(request.query_params.get("next_token", ""), "nodes", str, int, int, int, str, str)
    if token is not None:
        order, reverse, limit = str(token[0]), bool(token[1]), min(int(token[2]), queries.MAX_PAGE)
        after = (int(token[3]), str(token[4]), str(token[5]))
        if order not in _ORDERS or limit < 1:
            raise Invalid("next_token: not one that this server gave out", component="NodeManager")
    found = [
        document
        for document in (node.document() for node in await deps_of(request).record.nodes())
        if (not approval or document["Membership"].lower() == approval)
        and (not status or document["Connection"].lower() == status)
        and constraints.matches(labels, document["Info"]["Labels"])
    ]
    found.sort(key=lambda document: _place(document, order), reverse=reverse)
    if after is not None:
        found = [each for each in found if (_place(each, order) < after if reverse else _place(each, order) > after)]
    next_token = ""
    if len(found) > limit:
        next_token = queries.token_out("nodes", order, int(reverse), limit, *_place(found[limit - 1], order))
    return answer(request, {"NextToken": next_token, "Nodes": found[:limit]}, cached=True)


def _place(document: dict[str, Any], order: str) -> tuple[int, str, str]:
    """Return where a node stands in an order: by an amount (descending) or a word, then by its id."""
    node_id = str(document["Info"]["NodeID"])
    if order in _AMOUNTS:
        amount = document["Info"]["ComputeNodeInfo"]["AvailableCapacity"].get(_AMOUNTS[order], 0)
        return (MOST_AMOUNT - int(min(max(amount * 1000, 0), MOST_AMOUNT)), "", node_id)
    return (0, str(document[_WORDS[order]]) if order in _WORDS else "", node_id)


@described(answer="NodeAnswer", refusals=(404, 409), cached=True)
async def get_node(request: Request) -> Response:
    """Return the node that an id or the beginning of one names, and what happened to it lately."""
    record = deps_of(request).record
    node = await record.find_node(request.path_params["node_id"])
    return answer(request, {"Node": node.document() | {"Events": await record.node_events(node.id)}}, cached=True)


@described(answer="NodeChanged", body="NodeChange", refusals=(404, 409))
async def change_node(request: Request) -> Response:
    """Approve, reject or delete a node; close, drain or open it; label it.

    A rejected node is given nothing more: what it runs is stopped and tried elsewhere. A deleted one is forgotten, with
    what it holds; if it is still there it comes back as a new one. On a cordoned one nothing new is placed. On one that
    drains neither: batch jobs may run to their end until `Deadline` has passed, services move first. `uncordon` ends
    both. Labels of `Labels` win over the node's own and stay when it is started again; null takes one back. The leader
    carries this out, mostly before the answer, and in any case after it.
    """
    body = fields(await read_json(request), "Action", "Message", "NodeID", "Deadline", "Labels")
    deps = deps_of(request)
    wanted = read_change(body)
    node = await deps.record.find_node(request.path_params["node_id"])
    check(wanted.action, node.id, Membership(node.row["membership"]))
    check_labels(wanted.labels, node.info.labels, node.labels)
    await deps.changes.ask(node.id, wanted, actor=caller_of(request))
    return answer(request, {"Success": True})


ROUTES = [
    Route(NODES, list_nodes),
    Route(f"{NODES}/{{node_id}}", get_node, methods=["GET"]),
    Route(f"{NODES}/{{node_id}}", change_node, methods=["PUT", "POST"]),
]
