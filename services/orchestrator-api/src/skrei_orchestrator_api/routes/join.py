"""Joining: another machine shows the join token and its own public key, and becomes a node."""

import time
from dataclasses import replace
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import Conflict, Invalid, Unavailable
from skrei_kit import nats_auth
from skrei_kit.nats_auth import Signer
from skrei_kit.observability import get_logger
from skrei_orchestrator_api.access import JOIN_PATH, RENEWAL_PATH, Caller
from skrei_orchestrator_api.deps import Deps, caller_of, deps_of
from skrei_orchestrator_api.describing import HIDDEN, described
from skrei_orchestrator_api.http import answer, check_internal, fields, read_json
from skrei_orchestrator_api.joining import (
    HIDDEN_TOKEN,
    join_line,
    nats_ways,
    nobody_joined,
    read_join,
    read_renewal,
    seen_from,
)
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.routes.agent import VERSION
from skrei_orchestrator_api.routes.nodes import NODES
from skrei_store.joining import Joining

log = get_logger()


@described(answer="Joined", body="Join", refusals=(409,))
async def join(request: Request) -> Response:
    """Let a node in: its credentials, and where everything is. The same node with the same key may ask again."""
    deps = deps_of(request)
    signer = _signer(deps)
    body = fields(await read_json(request), "NodeID", "PublicKey", "Name", "Time", "TakeOver")
    wanted = read_join(body, now=time.time())
    address = _address(request)
    joining = Joining(wanted.node_id, wanted.key, wanted.name, address, wanted.take_over, _lifetime(deps))
    await deps.record.join_node(joining)
    if wanted.take_over:
        await deps.access.publish()  # the key that spoke for it speaks no more
    log.info("node_joined", node_id=wanted.node_id, name=wanted.name, address=address, take_over=wanted.take_over)
    asked = request.headers.get("host", "")
    ways = nats_ways(deps.settings.nats_public_url) or (seen_from(deps.settings.nats_url, asked),)
    return answer(
        request,
        {
            "NodeID": wanted.node_id,
            "JWT": nats_auth.node_jwt(signer, wanted.key, wanted.node_id, seconds=_seconds(joining.lifetime)),
            "NATSURL": ways[0],
            "NATSURLs": list(ways),
            "APIURL": seen_from(deps.settings.api_url, asked),
            "PublisherURL": deps.settings.publisher_internal_url or seen_from(deps.settings.publisher_url, asked),
            "NATSCA": deps.nats_ca,
            "TokenPublicKey": deps.token_public_key,
            "ServerVersion": VERSION,
        },
    )


@described(answer="Renewed", body="Renewal", refusals=(409,))
async def renew(request: Request) -> Response:
    """Let a node that joined in for longer, by proof of its own key, also after the time that it was given."""
    deps = deps_of(request)
    signer = _signer(deps)
    address = _address(request)
    body = fields(await read_json(request), "NodeID", "PublicKey", "NextPublicKey", "Proof", "NextProof")
    wanted = replace(read_renewal(body, address), lifetime=_lifetime(deps))
    try:
        if await deps.record.renew_node(wanted):
            await deps.access.publish()  # two renewals within what the first key was given: that key speaks no more
    except Conflict as error:
        log.warning("node_renewal_refused", node_id=wanted.node_id, address=address, problem=error.message)
        raise
    log.info("node_renewed", node_id=wanted.node_id, address=address)
    token = nats_auth.node_jwt(signer, wanted.next_key, wanted.node_id, seconds=_seconds(wanted.lifetime))
    return answer(request, {"NodeID": wanted.node_id, "JWT": token})


@described(answer="JoinLine", refusals=(409,))
async def rotate(request: Request) -> Response:
    """Make a new join token; the one that was lets nobody in any more. For the owner alone."""
    deps = deps_of(request)
    await deps.access.rotate_token(_owner(request))
    return answer(request, {"Command": line_for(deps, Caller.OWNER), "URL": _url(deps)})


@described(answer="NodeRevoked", body="NodeRevoke", refusals=(404, 409))
async def revoke(request: Request) -> Response:
    """Let a node in no more with the key that it joined with. For the owner alone."""
    deps, actor = deps_of(request), _owner(request)
    node = await deps.record.find_node(request.path_params["node_id"])
    body = fields(await read_json(request), "Reason")
    reason = body.get("Reason", "")
    if not isinstance(reason, str):
        raise Invalid("Reason: allowed: a text", component="NodeManager")
    left_to_do = await deps.access.revoke(node.id, actor=actor, reason=reason)
    return answer(request, {"NodeID": node.id} | ({"Next": left_to_do} if left_to_do else {}))


@described(HIDDEN)
async def tell_revoked(request: Request) -> Response:
    """Return all keys that are let in no more, for whoever tells the transport."""
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    return answer(request, {"Keys": await deps.record.revoked_keys()})


def _signer(deps: Deps) -> Signer:
    if deps.node_signer is None:
        raise Unavailable("this server cannot sign nodes", hint="start it with `skrei serve`, or set SKREI_NODE_SIGNER")
    return deps.node_signer


def _address(request: Request) -> str:
    """Return who asks, as the network tells it."""
    return request.client.host if request.client is not None else ""


def _lifetime(deps: Deps) -> timedelta | None:
    """Return for how long a node is let in by what is signed now; None: without end."""
    return timedelta(hours=deps.settings.node_credentials_hours) or None


def _seconds(lifetime: timedelta | None) -> float:
    return 0.0 if lifetime is None else lifetime.total_seconds()


def _owner(request: Request) -> str:
    """Return what the audit calls the owner. Raises HttpProblem for anybody else, programs of this machine too."""
    caller = caller_of(request)
    if caller is not Caller.OWNER:
        raise HttpProblem(
            403,
            "only the owner may take back what was given to nodes",
            code="Forbidden",
            component="Authorizer",
            hint="ask as the user who started Skrei, or set SKREI_API_KEY to what stands in keys/owner.token",
        )
    return caller.value


@described(answer="JoinLine", refusals=(409,))
async def tell_line(request: Request) -> Response:
    """Return the command for another machine; the join token stands in it for the owner alone."""
    deps = deps_of(request)
    return answer(request, {"Command": line_for(deps, caller_of(request)), "URL": _url(deps)})


def line_for(deps: Deps, caller: Caller) -> str:
    """Return the command for another machine as this caller may see it. Raises Conflict where none can join."""
    url = _url(deps)
    if not deps.gate.join_token or not url:
        raise Conflict(
            "this control plane listens for its own machine only, so no other can join",
            hint="start it with `skrei serve --listen ADDR`, ADDR being an address that the others reach",
            component="NodeManager",
        )
    return join_line(url, deps.gate.join_token if caller is Caller.OWNER else HIDDEN_TOKEN)


def first_node_for(deps: Deps, caller: Caller) -> str:
    """Return how to add the first node, as this caller may see it."""
    token = deps.gate.join_token
    return nobody_joined(_url(deps) if token else "", token if caller is Caller.OWNER else "")


def _url(deps: Deps) -> str:
    return deps.settings.join_url.rstrip("/")


ROUTES = [
    Route(JOIN_PATH, join, methods=["POST"]),
    Route(JOIN_PATH, tell_line, methods=["GET"]),
    Route(RENEWAL_PATH, renew, methods=["POST"]),
    Route(f"{JOIN_PATH}/token", rotate, methods=["POST"]),
    Route("/internal/revoked", tell_revoked),
    Route(f"{NODES}/{{node_id}}/credentials", revoke, methods=["DELETE"]),
]
