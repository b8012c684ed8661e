"""What jobs leave: addresses for people, and the inline results themselves for the publisher."""

import hmac
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import NotFound
from skrei_orchestrator_api import schemas
from skrei_orchestrator_api.deps import Deps, deps_of
from skrei_orchestrator_api.http import answer
from skrei_orchestrator_api.problems import HttpProblem


def download_url(deps: Deps, execution_id: str) -> str:
    """Return an address that opens one result at the publisher's door for a while."""
    token = deps.signer.download(execution_id, seconds=deps.settings.download_seconds)
    base = deps.settings.publisher_url.rstrip("/")
    return f"{base}/results/{quote(execution_id, safe='')}.tar.gz?token={quote(token, safe='')}"


async def list_results(request: Request) -> Response:
    """Return one address for each unit that has a committed result, in the order of partitions."""
    deps = deps_of(request)
    job = await deps.record.find_job(request.path_params["job_id"], request.query_params.get("namespace", ""))
    items = [
        schemas.dump(
            {
                "Type": "urlDownload",
                "Params": {
                    "URL": download_url(deps, result.execution_id),
                    "ExecutionID": result.execution_id,
                    "PartitionIndex": result.partition,
                },
            }
        )
        for result in await deps.record.results(job.id, job.version)
    ]
    return answer(request, schemas.page(items, ""))


async def inline_result(request: Request) -> Response:
    """Return a result that the record still holds, to the publisher alone."""
    deps = deps_of(request)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), deps.internal_token.encode()):
        raise HttpProblem(401, "this route is the publisher's alone", code="Unauthorized", component="Authorizer")
    execution_id = request.path_params["execution_id"]
    data = await deps.record.inline_result(execution_id)
    if data is None:
        raise NotFound(f"no inline result: {execution_id}", execution_id=execution_id)
    return Response(data, media_type="application/gzip")


ROUTES = [
    Route("/api/v1/orchestrator/jobs/{job_id}/results", list_results),
    Route("/internal/results/{execution_id}", inline_result),
]
