"""Joining: another machine shows the join token and its own public key, and becomes a node."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import Conflict, Unavailable
from skrei_kit import nats_auth
from skrei_kit.observability import get_logger
from skrei_orchestrator_api.access import JOIN_PATH, Caller
from skrei_orchestrator_api.deps import Deps, caller_of, deps_of
from skrei_orchestrator_api.describing import described
from skrei_orchestrator_api.http import answer, fields, read_json
from skrei_orchestrator_api.joining import HIDDEN_TOKEN, join_line, nobody_joined, read_join, seen_from
from skrei_orchestrator_api.routes.agent import VERSION
from skrei_store.joining import Joining

log = get_logger()


@described(answer="Joined", body="Join", refusals=(409,))
async def join(request: Request) -> Response:
    """Let a node in: its credentials, and where everything is. The same node with the same key may ask again."""
    deps = deps_of(request)
    if deps.node_signer is None:
        raise Unavailable("this server cannot sign nodes", hint="start it with `skrei serve`, or set SKREI_NODE_SIGNER")
    body = fields(await read_json(request), "NodeID", "PublicKey", "Name", "Time", "TakeOver")
    wanted = read_join(body, now=time.time())
    address = request.client.host if request.client is not None else ""
    await deps.record.join_node(Joining(wanted.node_id, wanted.key, wanted.name, address, wanted.take_over))
    log.info("node_joined", node_id=wanted.node_id, name=wanted.name, address=address, take_over=wanted.take_over)
    asked = request.headers.get("host", "")
    return answer(
        request,
        {
            "NodeID": wanted.node_id,
            "JWT": nats_auth.node_jwt(deps.node_signer, wanted.key, wanted.node_id),
            "NATSURL": deps.settings.nats_public_url or seen_from(deps.settings.nats_url, asked),
            "APIURL": seen_from(deps.settings.api_url, asked),
            "PublisherURL": seen_from(deps.settings.publisher_url, asked),
            "TokenPublicKey": deps.token_public_key,
            "ServerVersion": VERSION,
        },
    )


@described(answer="JoinLine", refusals=(409,))
async def tell_line(request: Request) -> Response:
    """Return the command for another machine; the join token stands in it for the owner alone."""
    deps = deps_of(request)
    return answer(request, {"Command": line_for(deps, caller_of(request)), "URL": _url(deps)})


def line_for(deps: Deps, caller: Caller) -> str:
    """Return the command for another machine as this caller may see it. Raises Conflict where none can join."""
    url = _url(deps)
    if not deps.join_token or not url:
        raise Conflict(
            "this control plane listens for its own machine only, so no other can join",
            hint="start it with `skrei serve --listen ADDR`, ADDR being an address that the others reach",
            component="NodeManager",
        )
    return join_line(url, deps.join_token if caller is Caller.OWNER else HIDDEN_TOKEN)


def first_node_for(deps: Deps, caller: Caller) -> str:
    """Return how to add the first node, as this caller may see it."""
    return nobody_joined(_url(deps) if deps.join_token else "", deps.join_token if caller is Caller.OWNER else "")


def _url(deps: Deps) -> str:
    return deps.settings.join_url.rstrip("/")


ROUTES = [Route(JOIN_PATH, join, methods=["POST"]), Route(JOIN_PATH, tell_line, methods=["GET"])]
