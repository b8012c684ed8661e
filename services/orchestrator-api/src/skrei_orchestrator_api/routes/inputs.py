"""What earlier tasks of a job left, for the nodes that run the later ones."""

import json
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import NotFound
from skrei_domain.job import MAX_COUNT, decode
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.node_results import LOCAL_DIRECTORY
from skrei_domain.task_results import PAGE, ResultAddress, ResultPage, Standing
from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import Deps, deps_of
from skrei_orchestrator_api.describing import Query, described
from skrei_orchestrator_api.http import run_token
from skrei_orchestrator_api.pieces import pieces, whole
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.routes.results import download_url
from skrei_orchestrator_api.views import Row


@dataclass(frozen=True, slots=True)
class Share:
    """Which results of an earlier task an execution may read: all of its partitions (`apart` if several), or one."""

    job_id: str
    version: int
    task: str
    partition: int | None
    apart: bool


@described(
    answer="InputResults",
    query=(
        Query("task", "Whose results.", example="train"),
        Query("first", "From this partition on: the `next` of the page before.", "integer", 0),
    ),
    refusals=(404, 410),
)
async def list_input_results(request: Request) -> Response:
    """Return addresses of what a task left, to the bearer of a run token of an execution that waits for that task."""
    deps = deps_of(request)
    execution_id = deps.verifier.run(run_token(request)).execution_id
    task, first = request.query_params.get("task", ""), queries.number(request, "first", high=MAX_COUNT)
    row = await deps.record.reader(execution_id)
    if row is None:
        raise NotFound(f"execution not found: {execution_id}")
    share = _share(row, task, execution_id)
    found = await deps.record.earlier_results(
        share.job_id, share.version, share.task, first=first, partition=share.partition, limit=PAGE + 1
    )
    asked = request.headers.get("host", "")
    page = ResultPage(
        apart=share.apart,
        results=tuple(one for each in found[:PAGE] for one in _addresses(deps, share, each, asked)),
        next=found[PAGE]["partition"] if len(found) > PAGE else None,
    )
    return Response(page.model_dump_json(), media_type="application/json")


@described(
    answer="Standing",
    query=(Query("execution", "Whose: that of the run token, or another of its job.", example="e-1"),),
    refusals=(404,),
)
async def tell_standing(request: Request) -> Response:
    """Return whether what an execution left counts: null while that is not decided.

    To the node that holds it, or that finds it where another attempt of its job is to leave something.
    """
    deps = deps_of(request)
    execution_id = request.query_params.get("execution", "")
    row = await deps.record.standing(execution_id, deps.verifier.ended(run_token(request)))
    if row is None:
        raise NotFound(f"execution not found: {execution_id}")
    state = ExecutionState(row["state"])
    told = Standing(counts=bool(row["committed"]) if state.is_terminal else None)
    return Response(told.model_dump_json(), media_type="application/json")


def _share(row: Row, task: str, execution_id: str) -> Share:
    spec = decode(row["spec"])
    own = next(each for each in spec.tasks if each.name == row["task"])
    need = next((need for need in own.needs if need.task == task), None)
    if need is None:
        raise HttpProblem(
            403, f"task {own.name!r} of {execution_id} does not wait for a task {task!r}", code="Forbidden"
        )
    several = next(each.split is not None or spec.count_of(each) > 1 for each in spec.tasks if each.name == task)
    partition = row["partition"] if need.same else None
    return Share(row["job_id"], row["job_version"], task, partition, apart=not need.same and several)


def _addresses(deps: Deps, share: Share, row: Row, asked: str) -> list[ResultAddress]:
    published = None if row["published"] is None else json.loads(row["published"])
    own = row["own_bytes"] is not None
    if not row["kept"] or not whole(published, own=own):
        raise HttpProblem(
            410,
            f"the result of partition {row['partition']} of task {share.task!r} is not kept any more: it is from "
            f"{schemas.rfc3339(row['created_at'])}; `Retention: {{Results: …}}` in the job keeps them longer",
            code="NotFound",
        )
    if published is not None and published["Type"] == LOCAL_DIRECTORY:
        raise HttpProblem(
            410,
            f"what partition {row['partition']} of task {share.task!r} left stays on its node, as its publisher "
            f"{LOCAL_DIRECTORY} says, and can be no input of another task",
            code="NotFound",
        )
    found = pieces(row["execution_id"], published, row["digest"], row["size"], own=own)
    near = "" if deps.settings.publisher_internal_url else asked  # a node asks
    return [
        ResultAddress(
            partition=row["partition"],
            url=download_url(deps, row["execution_id"], near, at=piece.at),
            digest=piece.digest,
            size=piece.size,
        )
        for piece in found
        if not piece.left or piece.paths is None  # what stays on its node is no part of what others read
    ]


ROUTES = [
    Route("/api/v1/inputs/results", list_input_results),
    Route("/api/v1/inputs/standing", tell_standing),
]
