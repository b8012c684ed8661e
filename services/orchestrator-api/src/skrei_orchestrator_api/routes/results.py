"""What jobs leave: addresses for people, and the inline results themselves for the publisher."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain import node_results
from skrei_domain.destinations import MANAGED
from skrei_domain.errors import Conflict, NotFound
from skrei_domain.job_kinds import KINDS
from skrei_domain.node_results import LOCAL_DIRECTORY
from skrei_domain.spec import decode
from skrei_kit.tokens import Elsewhere
from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import Deps, deps_of
from skrei_orchestrator_api.describing import HIDDEN, NAMESPACE, Query, described
from skrei_orchestrator_api.http import answer, check_internal, read_json
from skrei_orchestrator_api.joining import seen_from
from skrei_orchestrator_api.pieces import Piece, pieces
from skrei_orchestrator_api.problems import HttpProblem
from skrei_orchestrator_api.record import ResultView
from skrei_orchestrator_api.routes.executions import job_of
from skrei_orchestrator_api.views import JobView, Keeping

MOST_RESULTS = 256
"""Inline results in one answer: 16 MiB at most, and four times what a publisher asks for at once."""

S3_TYPES = frozenset({"s3", MANAGED})
"""Publishers whose results clients of the original know as `s3PreSigned`."""


def download_url(deps: Deps, execution_id: str, asked: str = "", *, at: Elsewhere | None = None) -> str:
    """Return an address that opens one result at the publisher's door for a while.

    `asked` is the host that a client asked for: it names the door where that is beside us; without, the address is for
    this server itself, or for a node. What lies elsewhere, `at`
    a place of a publisher, is read through that door too: nobody else opens an address that a job chose.
    """
    token = deps.signer.download(execution_id, seconds=deps.settings.download_seconds, at=at)
    settings = deps.settings
    base = seen_from(settings.publisher_url, asked).rstrip("/") if asked else settings.near_publisher_url
    return f"{base}/results/{quote(execution_id, safe='')}.tar.gz?token={quote(token, safe='')}"


def log_url(deps: Deps, execution_id: str, stream: str) -> str:
    """Return an address of what was sent of one stream while an execution ran."""
    token = deps.signer.download(execution_id, seconds=deps.settings.download_seconds)
    base = deps.settings.near_publisher_url
    return f"{base}/logs/{quote(execution_id, safe='')}/{stream}?token={quote(token, safe='')}"


@described(
    answer="Results",
    query=(NAMESPACE, Query("execution_id", "What this execution left, whether it counts or not.")),
    refusals=(404, 409),
)
async def list_results(request: Request) -> Response:
    """Return one address for each unit of a job's version that has a committed result, by task and partition.

    One whose paths went to several places has one for each; `ResultPaths` says which are there. Of an ops job that is
    one for each node. A service or daemon job has none, for it does not end: 409. `execution_id` (an id or the
    beginning of one) asks for what that execution left, of any job, whether it counts or not.
    """
    deps = deps_of(request)
    job = await job_of(request)
    if key := queries.text(request, "execution_id"):
        execution = await deps.record.find_execution(job.id, key)
        one = await deps.record.result_of(job.id, execution.id)
        found = [] if one is None else [one]
    else:
        found = await deps.record.results(job.id, job.version)
        if not found:
            _check_ends(job)
    asked = request.headers.get("host", "")
    names = job.task_names
    place = {name: number for number, name in enumerate(names)}
    found = sorted(found, key=lambda result: (place.get(result.task, 0), result.partition))
    nodes = await deps.record.node_names(sorted({result.node_id for result in found})) if found else {}
    keeping = deps.record.keeping(job)
    parts = [
        (result, piece)
        for result in found
        for piece in pieces(result.execution_id, result.published, result.digest, result.size, own=result.own)
    ]
    told = [
        _address(deps, result, piece, asked, nodes.get(result.node_id, ""), many=bool(names), keeping=keeping)
        for result, piece in parts
    ]
    await _send_on(deps, parts, told)
    return answer(request, schemas.page([schemas.dump(each) for each in told], ""))


def _check_ends(job: JobView) -> None:
    """Refuse to list the results of a job of which no unit is ever done. Raises Conflict."""
    kind = KINDS[decode(job.spec_json).type]
    if kind.endless:
        raise Conflict(
            f"job {job.id} is a {kind}: it runs until it is stopped, and has no results",
            hint=f"its output: skrei job logs {job.id}; what one of its executions left: skrei job get --execution ID",
            job_id=job.id,
        )


def _address(
    deps: Deps, result: ResultView, piece: Piece, asked: str, node_name: str, *, many: bool, keeping: Keeping
) -> dict[str, Any]:
    """Return one result, or a piece of it, as clients know it, and which node made it.

    Of a job of several tasks it says whose it is.
    """
    told: dict[str, Any] = {
        "ExecutionID": result.execution_id,
        "PartitionIndex": result.partition,
        **({"Task": result.task} if many else {}),
        "NodeID": result.node_id,
        **({"NodeName": node_name} if node_name else {}),
        "Size": piece.size,
        "Digest": piece.digest,
        **({} if piece.paths is None else {"ResultPaths": list(piece.paths)}),
    }
    url = download_url(deps, result.execution_id, asked, at=piece.at)
    if (published := piece.published) is not None:
        params = {**published["Params"], "URL": url, **told}
        if published["Type"] == LOCAL_DIRECTORY:
            if (archive := params.get("Archive")) is not None:
                at = Elsewhere(node_results.NAME, {"Left": piece.left}, archive["Size"])
                params["Archive"] = {**archive, "URL": download_url(deps, result.execution_id, asked, at=at)}
            if piece.paths is not None:  # nothing of it is anywhere else
                del params["URL"]
        return {"Type": published["Type"], "Params": params}
    return {
        "Type": "urlDownload",
        "Params": {"URL": url, **told, "KeptUntil": schemas.rfc3339(keeping.until(result.created_at))},
    }


async def _send_on(deps: Deps, found: Sequence[tuple[ResultView, Piece]], told: Sequence[dict[str, Any]]) -> None:
    """Name addresses of their own for results that lie elsewhere, where their publishers hand any out."""
    away = [
        (each, result.execution_id, piece.published["Params"])
        for (result, piece), each in zip(found, told, strict=True)
        if piece.published is not None
    ]
    if not away or deps.destinations is None:
        return
    wanted = [(execution_id, each["Type"], lies) for each, execution_id, lies in away]
    for (each, _, lies), url in zip(away, await deps.destinations.addresses(wanted), strict=True):
        if url:
            each.update(_sent_on(each["Type"], lies, url, each["Params"]))


def _sent_on(kind: str, lies: Mapping[str, Any], url: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return a result whose readers are sent to `url`; those of S3 in the words that clients know."""
    if kind not in S3_TYPES:
        return {"Params": {**params, "URL": url}}
    rest = {name: value for name, value in params.items() if name not in {*lies, "URL"} or name == "ExecutionID"}
    source = dict.fromkeys(("Bucket", "Key", "Filter", "Region", "Endpoint", "VersionID", "ChecksumSHA256"), "")
    if not (managed := kind == MANAGED):
        source |= {name: str(value) for name, value in lies.items() if name in source}
    partition = {"Type": "", "Pattern": "", "StartIndex": 0, "EndIndex": 0, "DateFormat": ""}
    told = {"Managed": managed, "PreSignedURL": url, "SourceSpec": {**source, "Partition": partition}}
    return {"Type": "s3PreSigned", "Params": {**told, **rest}}


@described(HIDDEN)
async def inline_result(request: Request) -> Response:
    """Return a result that the record still holds, to the publisher alone."""
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    execution_id = request.path_params["execution_id"]
    data = await deps.record.inline_result(execution_id)
    if data is None:
        raise NotFound(f"no inline result: {execution_id}", execution_id=execution_id)
    return Response(data, media_type="application/gzip")


@described(HIDDEN)
async def inline_results(request: Request) -> Response:
    """Return many results at once, to the publisher alone: a line of JSON `[[id, size], …]`, then their bytes."""
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    asked = await read_json(request)
    if not isinstance(asked, list) or len(asked) > MOST_RESULTS or not all(isinstance(each, str) for each in asked):
        raise HttpProblem(400, f"a list of at most {MOST_RESULTS} execution ids is needed", code="BadRequest")
    found = await deps.record.inline_results(asked)
    head = json.dumps([[each, len(data)] for each, data in found.items()]).encode()
    return Response(b"".join([head, b"\n", *found.values()]), media_type="application/octet-stream")


@described(HIDDEN)
async def needed(request: Request) -> Response:
    """Return which of some results and lists of inputs jobs that have not ended may read, to the publisher alone."""
    deps = deps_of(request)
    check_internal(request, deps.internal_token)
    asked = await read_json(request)
    results, manifests = (asked.get("Results"), asked.get("Manifests")) if isinstance(asked, dict) else (None, None)
    if not (_are_texts(results) and _are_texts(manifests)):
        raise HttpProblem(400, f"two lists of at most {MOST_RESULTS} texts each are needed", code="BadRequest")
    results, manifests = await deps.record.needed(results, manifests)
    return Response(json.dumps({"Results": results, "Manifests": manifests}), media_type="application/json")


def _are_texts(asked: object) -> TypeGuard[list[str]]:
    return isinstance(asked, list) and len(asked) <= MOST_RESULTS and all(isinstance(each, str) for each in asked)


ROUTES = [
    Route("/api/v1/orchestrator/jobs/{job_id}/results", list_results),
    Route("/internal/needed", needed, methods=["POST"]),
    Route("/internal/results", inline_results, methods=["POST"]),
    Route("/internal/results/{execution_id}", inline_result),
]
