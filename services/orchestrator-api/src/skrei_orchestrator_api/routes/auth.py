"""Proving who one is, as clients of the original do it."""

import json

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import NotFound
from skrei_orchestrator_api import challenge
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import described
from skrei_orchestrator_api.http import answer, fields, read_json

AUTH = "/api/v1/auth"


@described(answer="AuthMethods")
async def list_methods(request: Request) -> Response:
    """Return the ways to prove who one is.

    From the server's own machine there is one, and what it proves is a name; from elsewhere there is none, because
    there the owner token counts alone.
    """
    return answer(request, {"NextToken": "", "Methods": challenge.methods(local=_local(request))})


@described(answer="AuthRequirement", refusals=(404,))
async def tell_method(request: Request) -> Response:
    """Return what one method asks for."""
    _check_method(request)
    return answer(request, challenge.REQUIREMENT)


@described(answer="Authenticated", body="AuthProof", refusals=(404,))
async def prove(request: Request) -> Response:
    """Take a proof and return a token that names its holder.

    On the server's own machine it may be shown with every request, and changes nothing; it lasts 30 days.
    """
    _check_method(request)
    body = fields(await read_json(request), "MethodData", "Name", "Namespace", "Credential")
    deps = deps_of(request)
    if not _local(request):
        return _refused("this server knows callers by the owner token alone: show it as bearer (SKREI_API_KEY)")
    try:
        client_id = challenge.client_of(body)
    except challenge.NotProven as error:
        return _refused(str(error))
    token = deps.signer.client(client_id, server=challenge.SERVER_ID, seconds=challenge.CLIENT_DAYS * 86_400)
    return answer(request, {"Authentication": {"success": True, "token": token}})


def _check_method(request: Request) -> None:
    name = request.path_params["method"]
    if name not in challenge.methods(local=True):
        raise NotFound(f"no such method: {name}", component="Authenticator")


def _local(request: Request) -> bool:
    return deps_of(request).gate.is_local(request.scope, Headers(scope=request.scope))


def _refused(reason: str) -> Response:
    body = json.dumps({"Authentication": {"success": False, "reason": reason}})
    return Response(body, 401, media_type="application/json", headers={"WWW-Authenticate": 'Bearer realm="skrei"'})


ROUTES = [
    Route(AUTH, list_methods),
    Route(f"{AUTH}/{{method}}", tell_method, methods=["GET"]),
    Route(f"{AUTH}/{{method}}", prove, methods=["POST"]),
]
