"""The nodes, as the record holds them."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain import constraints
from skrei_domain.errors import Unsupported
from skrei_orchestrator_api import queries
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import LABELS, LIMIT, NEXT_TOKEN, REVERSE, Query, described
from skrei_orchestrator_api.http import answer, fields, read_json

NODES = "/api/v1/orchestrator/nodes"

_ORDERS = ("id", "type", "available_cpu", "available_memory", "available_disk", "available_gpu", "approval", "status")
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
)
async def list_nodes(request: Request) -> Response:
    """Return nodes, by labels, approval and status, in the order asked for (amounts descend)."""
    labels = queries.selector(request)
    approval = queries.choice(request, "filter-approval", ("approved", "pending", "rejected"), "")
    status = queries.choice(request, "filter-status", ("connected", "disconnected"), "")
    order = queries.choice(request, "order_by", _ORDERS, "id")
    limit = queries.limit(request) or queries.MAX_PAGE
    found = [
        document
        for document in (node.document() for node in await deps_of(request).record.nodes())
        if (not approval or document["Membership"].lower() == approval)
        and (not status or document["Connection"].lower() == status)
        and constraints.matches(labels, document["Info"]["Labels"])
    ]
    found.sort(key=lambda document: str(document["Info"]["NodeID"]))
    if order in _AMOUNTS:
        name = _AMOUNTS[order]
        found.sort(key=lambda document: -document["Info"]["ComputeNodeInfo"]["AvailableCapacity"].get(name, 0))
    elif order in ("approval", "status"):
        key = "Membership" if order == "approval" else "Connection"
        found.sort(key=lambda document: str(document[key]))
    if queries.flag(request, "reverse"):
        found.reverse()
    return answer(request, {"NextToken": "", "Nodes": found[:limit]})


@described(answer="NodeAnswer", refusals=(404, 409))
async def get_node(request: Request) -> Response:
    """Return the node that an id or the beginning of one names, and what happened to it lately."""
    record = deps_of(request).record
    node = await record.find_node(request.path_params["node_id"])
    return answer(request, {"Node": node.document() | {"Events": await record.node_events(node.id)}})


@described(answer="NodeChanged", body="NodeChange", refusals=(404, 409, 501))
async def change_node(request: Request) -> Response:
    """Refuse to approve, reject or delete a node: every node that holds credentials is approved yet."""
    body = fields(await read_json(request), "Action", "Message", "NodeID")
    node = await deps_of(request).record.find_node(request.path_params["node_id"])
    action = body.get("Action")
    raise Unsupported(
        f"{action!r} of nodes is not supported yet (node {node.id})" if isinstance(action, str) else "no Action",
        component="NodeManager",
    )


ROUTES = [
    Route(NODES, list_nodes),
    Route(f"{NODES}/{{node_id}}", get_node, methods=["GET"]),
    Route(f"{NODES}/{{node_id}}", change_node, methods=["PUT", "POST"]),
]
