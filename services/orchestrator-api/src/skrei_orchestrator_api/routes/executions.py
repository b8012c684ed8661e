"""The executions of a job."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.http import answer
from skrei_orchestrator_api.record import Record
from skrei_orchestrator_api.views import JobView

_MODIFIED = frozenset({"modified_at", "modify_time"})


async def executions_of(
    record: Record, job: JobView, *, order: str = "created_at", reverse: bool = False, limit: int = 0
) -> list[str]:
    """Return a job's executions as JSON texts."""
    found = await record.executions(
        job.id, order=order, reverse=reverse, limit=limit or queries.MAX_PAGE, version=job.version
    )
    return [schemas.dump(execution.document()) for execution in found]


async def list_executions(request: Request) -> Response:
    """Return the executions of a job's current version (or all), oldest first unless asked otherwise."""
    record = deps_of(request).record
    job = await record.find_job(request.path_params["job_id"], request.query_params.get("namespace", ""))
    # An unknown order is no error here: clients of the original send words that it never knew.
    order = "modified_at" if request.query_params.get("order_by", "") in _MODIFIED else "created_at"
    items = await executions_of(
        record, job, order=order, reverse=queries.flag(request, "reverse"), limit=queries.limit(request)
    )
    return answer(request, schemas.page(items, ""))


ROUTES = [Route("/api/v1/orchestrator/jobs/{job_id}/executions", list_executions)]
