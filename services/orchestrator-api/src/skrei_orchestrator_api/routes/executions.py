"""The executions of a job."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import ALL_VERSIONS, LIMIT, NAMESPACE, REVERSE, VERSION, Query, described
from skrei_orchestrator_api.http import answer
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.views import JobView

_MODIFIED = frozenset({"modified_at", "modify_time"})


async def job_of(request: Request) -> JobView:
    """Return the job of the path as the version that is asked for was or is. Raises NotFound, Ambiguous or Invalid."""
    return await deps_of(request).record.find_job(
        request.path_params["job_id"], queries.text(request, "namespace"), queries.version(request)
    )


async def executions_of(
    record: Record,
    job: JobView,
    *,
    order: str = "created_at",
    reverse: bool = False,
    limit: int = 0,
    all_versions: bool = False,
) -> list[str]:
    """Return the executions of a job's version, or of all, as JSON texts."""
    version = None if all_versions else job.version
    found = await record.executions(
        job.id, order=order, reverse=reverse, limit=limit or queries.MAX_PAGE, version=version
    )
    return [schemas.dump(execution.document()) for execution in found]


@described(
    answer="Executions",
    query=(
        NAMESPACE,
        LIMIT,
        REVERSE,
        VERSION,
        ALL_VERSIONS,
        Query("order_by", "`created_at` or `modified_at`.", example="created_at"),
    ),
    refusals=(404, 409),
)
async def list_executions(request: Request) -> Response:
    """Return the executions of a job's current version (or another, or all), oldest first unless asked otherwise."""
    record = deps_of(request).record
    job = await job_of(request)
    # An unknown order is no error here: clients of the original send words that it never knew.
    order = "modified_at" if request.query_params.get("order_by", "") in _MODIFIED else "created_at"
    items = await executions_of(
        record,
        job,
        order=order,
        reverse=queries.flag(request, "reverse"),
        limit=queries.limit(request),
        all_versions=queries.flag(request, "all_job_versions"),
    )
    return answer(request, schemas.page(items, ""))


ROUTES = [Route("/api/v1/orchestrator/jobs/{job_id}/executions", list_executions)]
