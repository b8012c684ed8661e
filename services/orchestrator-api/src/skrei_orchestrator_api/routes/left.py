"""What stays on its node, for the publisher alone: a node is asked to send it, or to show it since it has won."""

import asyncio
import json
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain import subjects
from skrei_domain.envelope import unwrap, wrap
from skrei_domain.errors import Conflict, NotFound
from skrei_domain.lifecycle import Connection, Membership
from skrei_domain.messages import LEFT_GONE, LeftShow, LeftShown, LeftWanted
from skrei_kit.bus import Message
from skrei_orchestrator_api.deps import Deps, deps_of
from skrei_orchestrator_api.describing import HIDDEN, described
from skrei_orchestrator_api.http import check_internal, fields, read_json
from skrei_orchestrator_api.pieces import left_place
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.views import Row

LEFT_SECONDS = 60.0
"""How long a node may begin to bring what it was asked for: who waits for it gives up sooner."""
SHOW_SECONDS = 8.0
"""How long a node may take to show what it left: it renames a folder. Whoever asked asks again: it waits for
10 s itself, and would say that the API is away, not which node."""


@described(HIDDEN)
async def ask_node(request: Request) -> Response:
    """Ask a node for what an execution left there: it brings that to the publisher's door."""
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    body = fields(await read_json(request), "execution_id", "request_id", "left")
    execution_id, request_id = str(body.get("execution_id")), str(body.get("request_id"))
    left = str(body.get("left") or execution_id)
    row = await deps.record.left_on_node(execution_id)
    published = None if row is None or row["published"] is None else json.loads(row["published"])
    place = left_place(published, execution_id, left)
    if row is None or place is None:
        raise NotFound(f"nothing of {execution_id} stays on a node")
    _check_there(row)
    token = deps.signer.left(execution_id, request_id, seconds=LEFT_SECONDS)
    wanted = LeftWanted(request_id=request_id, execution_id=execution_id, place=place, token=token, left=left)
    payload = wrap(wanted, type_=wanted.type, source="skrei/api", id_=request_id)
    await deps.bus.publish(subjects.rpc(row["node_id"]), payload)
    return Response(status_code=202)


@described(HIDDEN)
async def show_left(request: Request) -> Response:
    """Have a node show what an execution left there, since it has won; return where it lies now, once it does.

    410 where that will never be: the node is none of the cluster's any more, or does not have it. It is a word that no
    proxy, and no API of an earlier version, says by mistake: an attempt fails by it.
    """
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    body = fields(await read_json(request), "execution_id", "left")
    execution_id = str(body.get("execution_id"))
    row = await deps.record.left_on_node(execution_id)
    if row is None or row["connection"] is None or row["membership"] == Membership.REJECTED:
        raise _gone(f"what {execution_id} left stays on a node that is none of this cluster's any more")
    _check_there(row)
    shown = await _shown(deps, row["node_id"], LeftShow(request_id=uuid.uuid4().hex, left=str(body.get("left"))))
    if shown.problem is not None:
        raise (_gone if shown.problem.code == LEFT_GONE else Conflict)(shown.problem.message)
    told: dict[str, Any] = {"NodeID": row["node_id"], "Path": shown.path, "Bytes": shown.left_bytes}
    if shown.digest:
        told["Archive"] = {"Digest": shown.digest, "Size": shown.size}
    return Response(json.dumps(told), media_type="application/json")


def _gone(message: str) -> HttpProblem:
    return HttpProblem(410, message, code="Gone")


def _check_there(row: Row) -> None:
    """Raise Conflict where a node is not heard."""
    if row["connection"] is None or Connection(row["connection"]) is not Connection.CONNECTED:
        raise Conflict(f"node {row['node_id']} is not connected")


async def _shown(deps: Deps, node_id: str, wanted: LeftShow) -> LeftShown:
    """Return a node's answer. Raises Conflict where none comes in time."""
    answered: asyncio.Future[LeftShown] = asyncio.get_running_loop().create_future()

    async def take(message: Message) -> None:
        if not answered.done():
            answered.set_result(unwrap(LeftShown, message.data))

    subscription = await deps.bus.subscribe(subjects.answer(node_id, wanted.request_id), take)
    try:
        await deps.bus.publish(
            subjects.rpc(node_id), wrap(wanted, type_=wanted.type, source="skrei/api", id_=wanted.request_id)
        )
        async with asyncio.timeout(SHOW_SECONDS):
            return await answered
    except TimeoutError as error:
        raise Conflict(f"node {node_id} has not shown it within {SHOW_SECONDS:g} s") from error
    finally:
        await deps.bus.unsubscribe(subscription)


ROUTES = [
    Route("/internal/left", ask_node, methods=["POST"]),
    Route("/internal/left/show", show_left, methods=["POST"]),
]
