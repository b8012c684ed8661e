"""Jobs: submit, read, list, stop, and what happened to them."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import Invalid
from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import caller_of, deps_of
from skrei_orchestrator_api.describing import (
    ALL_VERSIONS,
    LABELS,
    LIMIT,
    NAMESPACE,
    NEXT_TOKEN,
    REVERSE,
    VERSION,
    Query,
    described,
)
from skrei_orchestrator_api.http import answer, fields, read_json, text_in
from skrei_orchestrator_api.joining import waits_for_any_node
from skrei_orchestrator_api.queries import LAST_SECOND
from skrei_orchestrator_api.routes.endpoints import endpoints_of
from skrei_orchestrator_api.routes.executions import executions_of, job_of
from skrei_orchestrator_api.routes.join import first_node_for

JOBS = "/api/v1/orchestrator/jobs"

MAX_REASON = 4_096
"""Characters of a stop's reason: it is shown in tables and kept in history."""
MAX_JOBS = 1_000
"""Jobs in one answer: with the largest specs that is 64 MiB, and a page of the usual ones takes 20 ms."""
INCLUDED = frozenset({"history", "executions", "endpoints"})
INCLUDED_HISTORY = 100
"""History items beside a job; more are paged through its own list."""

STATES_UNTIL = (1, 5, 0)
"""Clients of the original before this look for a state in each item of history, and go on with an empty one."""

_ORDERS = {
    "created_at": "created_at",
    "modified_at": "modified_at",
    "create_time": "created_at",
    "modify_time": "modified_at",
}


@described(answer="Submitted", body="Submit", query=(NAMESPACE,), refusals=(409, 501))
async def submit(request: Request) -> Response:
    """Accept a job; it is answered once its transaction has committed. A body that names no namespace goes to the
    query's."""
    accepted = await deps_of(request).submissions.submit(
        await request.body(), request.headers, caller_of(request), namespace=queries.text(request, "namespace")
    )
    return answer(request, accepted)


@described(
    answer="JobAnswer",
    query=(
        NAMESPACE,
        VERSION,
        Query("include", "What is told beside it: `history`, `executions`, `endpoints`.", example="history,executions"),
    ),
    refusals=(404, 409),
    cached=True,
)
async def get_job(request: Request) -> Response:
    """Return a job, and beside it what `include` asks for."""
    record = deps_of(request).record
    job = await record.in_line(await job_of(request))
    if waits_for_any_node(job.state, job.message):
        job = replace(job, message=f"{job.message}\n{first_node_for(deps_of(request), caller_of(request))}")
    text = f'{{"Job":{schemas.with_parts(await record.whole_json(job), *await record.parts(job))}'
    if wanted := _words(queries.given(request, "include")):
        if unknown := wanted - INCLUDED:
            raise Invalid(f"include: {', '.join(sorted(unknown))!r}; allowed: {', '.join(sorted(INCLUDED))}")
        if "history" in wanted:
            items = await record.history(job.id, first=1, limit=INCLUDED_HISTORY, version=job.version)
            text += f',"History":{schemas.page([schemas.dump(item) for item in items], "")}'
        if "executions" in wanted:
            text += f',"Executions":{schemas.page((await executions_of(record, job))[0], "")}'
        if "endpoints" in wanted:
            text += f',"Endpoints":{schemas.page(await endpoints_of(record, job), "")}'
    return answer(request, text + "}", cached=True)


def _words(text: str) -> set[str]:
    return {word for each in text.split(",") if (word := each.strip().lower())} if text else set()


@described(
    answer="Jobs",
    query=(
        Query("namespace", "Only this one; empty or `*`: all.", example="default"),
        LABELS,
        Query("order_by", "Oldest first.", ("created_at", "modified_at", "create_time", "modify_time"), "created_at"),
        REVERSE,
        LIMIT,
        NEXT_TOKEN,
    ),
    cached=True,
)
async def list_jobs(request: Request) -> Response:
    """Return a page of jobs; a token carries on with the order and size that it began with."""
    namespace = queries.text(request, "namespace")
    labels = queries.selector(request)
    order = _ORDERS[queries.choice(request, "order_by", tuple(_ORDERS), "created_at")]
    reverse, limit = queries.flag(request, "reverse"), min(queries.limit(request) or MAX_JOBS, MAX_JOBS)
    after: tuple[int, str] | None = None
    told = request.query_params.get("next_token", "")
    counted = queries.offset_in(told)
    token = None if counted else queries.token_in(told, "jobs", str, int, int, int, str)
    if counted is not None:
        order, reverse = _ORDERS.get(counted.order, "created_at"), counted.reverse
        limit = min(counted.limit or MAX_JOBS, MAX_JOBS)
    if token is not None:
        order, reverse, limit = str(token[0]), bool(token[1]), min(int(token[2]), MAX_JOBS)
        after = (int(token[3]), str(token[4]))
        if order not in _ORDERS.values() or limit < 1 or after[0] > LAST_SECOND * 1_000_000:
            raise Invalid("next_token: not one that this server gave out")
    found, more = await deps_of(request).record.list_jobs(
        namespace="" if namespace == "*" else namespace,
        labels=labels,
        order=order,
        reverse=reverse,
        after=after,
        limit=limit,
        skip=counted.offset if counted else 0,
    )
    next_token = ""
    if more is not None:
        next_token = queries.token_out("jobs", order, int(reverse), limit, more[0], more[1])
    return answer(request, schemas.page([job.json() for job in found], next_token), cached=True)


@described(
    answer="Evaluation",
    body="Stop",
    body_required=False,
    query=(NAMESPACE, Query("reason", "Why, where the body does not say it.", example="not needed")),
    refusals=(404, 409),
)
async def stop_job(request: Request) -> Response:
    """Stop a job; the reason is read from the body, else from the query."""
    body = fields(await read_json(request), "Reason", "Namespace")
    reason = text_in(body, "Reason") or queries.text(request, "reason")
    namespace = text_in(body, "Namespace") or queries.text(request, "namespace")
    evaluation_id = await deps_of(request).submissions.stop(
        request.path_params["job_id"], namespace, reason[:MAX_REASON] or "Stopped at user request", caller_of(request)
    )
    return answer(request, {"EvaluationID": evaluation_id})


@described(
    answer="HistoryPage",
    query=(
        NAMESPACE,
        Query("event_type", "Of the job, of its executions, or all.", ("all", "job", "execution"), "all"),
        Query("execution_id", "Of executions whose id begins so."),
        Query("since", "Not before this second since 1970.", "integer", 0),
        VERSION,
        ALL_VERSIONS,
        LIMIT,
        NEXT_TOKEN,
    ),
    refusals=(404, 409),
)
async def history(request: Request) -> Response:
    """Return a page of the history of a job's current version (or another, or all).

    The token stays non-empty until the version (or the execution that is named) has ended and all of it was read.
    """
    record = deps_of(request).record
    kind = queries.choice(request, "event_type", ("all", "job", "execution"), "all")
    since = queries.number(request, "since", high=LAST_SECOND)
    told = request.query_params.get("next_token", "")
    counted = queries.offset_in(told)
    token = (counted.offset, counted.limit) if counted else queries.token_in(told, "history", int, int)
    asked = queries.limit(request)
    first = max(int(token[0]), 1) if token else 1
    limit = asked or (min(int(token[1]), queries.MAX_PAGE) if token else 0) or queries.DEFAULT_HISTORY_PAGE
    # The state is read before the items: once terminal, all that led there is already in the history.
    job = await job_of(request)
    version = None if queries.flag(request, "all_job_versions") else job.version
    if version is None:
        over = (job if job.current else await record.find_job(job.id, "")).is_terminal
    else:  # of a version that was replaced, some may still run for a while
        over = job.is_terminal and (job.current or not await record.runs(job.id, version))
    execution_id = queries.text(request, "execution_id")
    if execution_id:  # looked for also where the job has ended: a mistyped id must not read as an empty history
        ended = (await record.find_execution(job.id, execution_id)).state.is_terminal
        over = over or ended
    items = await record.history(
        job.id, first=first, limit=limit, kind=kind, execution_id=execution_id, since=since, version=version
    )
    following = int(items[-1]["SeqNum"]) + 1 if items else first
    if (client := request.scope.get("client_version")) is not None and client < STATES_UNTIL:
        items = [item | {"ExecutionState" if "ExecutionID" in item else "JobState": {}} for item in items]
    if len(items) == limit:
        over = False
    next_token = "" if over else queries.token_out("history", following, limit)
    return answer(request, schemas.page([schemas.dump(item) for item in items], next_token))


ROUTES = [
    Route(f"{JOBS}/{{job_id}}", get_job, methods=["GET"]),
    Route(JOBS, submit, methods=["PUT", "POST"]),
    Route(f"{JOBS}/{{job_id}}", stop_job, methods=["DELETE"]),
    Route(JOBS, list_jobs, methods=["GET"]),
    Route(f"{JOBS}/{{job_id}}/history", history),
]
