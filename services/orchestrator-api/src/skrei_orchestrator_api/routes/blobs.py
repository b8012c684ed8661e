"""Inline inputs that were cut out of specs, for the nodes that run them."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import NotFound
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import described
from skrei_orchestrator_api.http import run_token


@described(answer="Bytes", media="application/octet-stream", refusals=(404,))
async def get_blob(request: Request) -> Response:
    """Return a blob to the bearer of a run token that names it."""
    deps = deps_of(request)
    allowed = deps.verifier.run(run_token(request))
    digest = request.path_params["digest"]
    data = await deps.record.blob(digest) if allowed.opens(digest) else None
    if data is None:
        raise NotFound(f"no such blob among the inputs of {allowed.execution_id}: {digest}")
    return Response(data, media_type="application/octet-stream")


ROUTES = [Route("/api/v1/blobs/{digest}", get_blob)]
