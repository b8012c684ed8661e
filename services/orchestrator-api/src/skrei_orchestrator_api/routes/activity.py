"""How busy this server is, for the supervisor of its machine alone."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import HIDDEN, described
from skrei_orchestrator_api.http import answer, check_internal


@described(HIDDEN)
async def activity(request: Request) -> Response:
    """Return the requests that were counted so far, and the jobs that have not ended."""
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    return answer(request, {"Requests": deps.activity.requests, "OpenJobs": await deps.record.open_jobs()})


ROUTES = [Route("/internal/activity", activity)]
