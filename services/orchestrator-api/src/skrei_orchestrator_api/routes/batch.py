"""Many jobs in one request: each is accepted or refused by itself."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from skrei_domain.errors import Invalid
from skrei_orchestrator_api import problems
from skrei_orchestrator_api.deps import caller_of, deps_of
from skrei_orchestrator_api.describing import described
from skrei_orchestrator_api.http import answer, fields, read_json
from skrei_orchestrator_api.routes.jobs import JOBS

MOST_JOBS = 256
"""Jobs in one request: one commit of the record, and an eighth of a second of reading."""


@described(answer="BatchAnswer", body="Batch", refusals=(501,))
async def submit_batch(request: Request) -> Response:
    """Accept many jobs; each is answered by itself, in order, once its transaction has committed.

    The answer is 200 whatever became of each: an item is what a submission is answered, or `Error`.
    """
    jobs = fields(await read_json(request), "Jobs").get("Jobs")
    if not isinstance(jobs, list) or not 1 <= len(jobs) <= MOST_JOBS:
        told = f"{len(jobs):,} of them" if isinstance(jobs, list) else "missing" if jobs is None else "no list"
        raise Invalid(f"Jobs: {told}; allowed: 1 to {MOST_JOBS:,} submissions", component="APIServer")
    deps = deps_of(request)
    done = await deps.submissions.submit_all(jobs, request.headers, caller_of(request))
    request_id = str(request.scope["request_id"])
    items = [
        {"Error": problems.body_of(problems.problem_of(each), request_id)} if isinstance(each, Exception) else each
        for each in done
    ]
    return answer(request, {"Items": items})


ROUTES: list[BaseRoute] = [Route(f"{JOBS}:batch", submit_batch, methods=["POST"])]
