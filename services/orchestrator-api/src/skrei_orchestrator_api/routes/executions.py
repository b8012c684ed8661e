"""The executions of a job."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import Invalid
from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import deps_of
from skrei_orchestrator_api.describing import (
    ALL_VERSIONS,
    LIMIT,
    NAMESPACE,
    NEXT_TOKEN,
    REVERSE,
    VERSION,
    Query,
    described,
)
from skrei_orchestrator_api.http import answer
from skrei_orchestrator_api.queries import LAST_SECOND
from skrei_orchestrator_api.record import Place, Record
from skrei_orchestrator_api.views import JobView

_SHAPE = (str, int, int, int, str, int, str)
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
    limit: int = queries.MAX_PAGE,
    all_versions: bool = False,
    after: Place | None = None,
) -> tuple[list[str], Place | None]:
    """Return executions of a job's version, or of all, as JSON texts, and the last one's place where there are more."""
    version = None if all_versions else job.version
    found = await record.executions(job.id, order=order, reverse=reverse, limit=limit + 1, version=version, after=after)
    more = record.place(found[limit - 1], order) if len(found) > limit else None
    keeping = record.keeping(job)
    return [schemas.dump(execution.document(keeping)) for execution in found[:limit]], more


@described(
    answer="Executions",
    query=(
        NAMESPACE,
        LIMIT,
        REVERSE,
        VERSION,
        ALL_VERSIONS,
        Query("order_by", "`created_at` or `modified_at`.", example="created_at"),
        NEXT_TOKEN,
    ),
    refusals=(404, 409),
)
async def list_executions(request: Request) -> Response:
    """Return a page of the executions of a job's current version (or another, or all), oldest first unless asked
    otherwise; a token carries on with the order and size that it began with."""
    record = deps_of(request).record
    job = await job_of(request)
    # An unknown order is no error here: clients of the original send words that it never knew.
    order = "modified_at" if request.query_params.get("order_by", "") in _MODIFIED else "created_at"
    reverse, limit = queries.flag(request, "reverse"), queries.limit(request) or queries.MAX_PAGE
    after: Place | None = None
    if (token := queries.token_in(queries.text(request, "next_token"), "executions", *_SHAPE)) is not None:
        order, reverse, limit = str(token[0]), bool(token[1]), min(int(token[2]), queries.MAX_PAGE)
        after = (int(token[3]), str(token[4]), int(token[5]), str(token[6]))
        if order not in ("created_at", "modified_at") or limit < 1 or after[0] > LAST_SECOND * 1_000_000:
            raise Invalid("next_token: not one that this server gave out")
    all_versions = queries.flag(request, "all_job_versions")
    items, more = await executions_of(
        record, job, order=order, reverse=reverse, limit=limit, all_versions=all_versions, after=after
    )
    next_token = "" if more is None else queries.token_out("executions", order, int(reverse), limit, *more)
    return answer(request, schemas.page(items, next_token))


ROUTES = [Route("/api/v1/orchestrator/jobs/{job_id}/executions", list_executions)]
