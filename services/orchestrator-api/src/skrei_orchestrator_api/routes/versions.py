"""The versions of a job: what there were, what a submission would change, and one of them once more."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skrei_domain.errors import Invalid, NotFound
from skrei_domain.job import decode
from skrei_domain.job_diff import difference
from skrei_orchestrator_api import queries, schemas
from skrei_orchestrator_api.deps import caller_of, deps_of
from skrei_orchestrator_api.describing import LIMIT, NAMESPACE, NEXT_TOKEN, described
from skrei_orchestrator_api.http import answer, fields, read_json, text_in
from skrei_orchestrator_api.routes.jobs import JOBS, MAX_JOBS, MAX_REASON
from skrei_orchestrator_api.submit import read_submission, to_store, token_in

PAGE_CHARACTERS = 16 * 1024 * 1024
"""Of versions with their inline data, beyond which a page ends: with none it holds all that are asked for."""


@described(answer="Jobs", query=(NAMESPACE, LIMIT, NEXT_TOKEN), refusals=(404, 409))
async def versions(request: Request) -> Response:
    """Return a page of a job's versions, oldest first, each as it was accepted and with how it went."""
    record = deps_of(request).record
    job = await record.find_job(request.path_params["job_id"], queries.text(request, "namespace"))
    limit = min(queries.limit(request) or MAX_JOBS, MAX_JOBS)
    token = queries.token_in(request.query_params.get("next_token", ""), "versions", int, int)
    after = int(token[0]) if token else 0
    if token:
        limit = min(int(token[1]) or MAX_JOBS, MAX_JOBS)
    found = await record.versions(job.id, after=after, limit=limit + 1)
    texts: list[str] = []
    characters = 0
    for each in found[:limit]:
        texts.append(await record.whole_json(each))
        characters += len(texts[-1])
        if characters > PAGE_CHARACTERS:
            break
    next_token = queries.token_out("versions", found[len(texts) - 1].version, limit) if len(found) > len(texts) else ""
    return answer(request, schemas.page(texts, next_token))


@described(answer="Diff", body="Submit", query=(NAMESPACE,), refusals=(404, 409, 501))
async def diff(request: Request) -> Response:
    """Return what a submission would change of the job that has its name; empty text where that is nothing."""
    asked = read_submission(await request.body(), queries.text(request, "namespace"))
    spec = asked.spec
    if not spec.name:
        raise Invalid("Name: missing; allowed: the name of a job that exists")
    job = await deps_of(request).record.find_named(spec.name, spec.namespace)
    if job is None:
        raise NotFound(
            f"job not found by name {spec.name!r} in the index of namespace {spec.namespace!r}",
            hint="submit it: it would be a new job",
        )
    new, _, _ = to_store(spec, job.id)
    old = decode(job.spec_json)
    warnings = list(asked.warnings)
    if old.type != spec.type:
        warnings.append(f"the Type of job {job.id} is {old.type!r} and cannot be changed: this would be refused")
    return answer(request, {"Diff": difference(old, new), "Warnings": warnings})


@described(answer="Rerun", body="RerunRequest", body_required=False, query=(NAMESPACE,), refusals=(404, 409))
async def rerun(request: Request) -> Response:
    """Make the next version of a job from one of its versions, the current one unless another is named."""
    body = fields(
        await read_json(request), "JobVersion", "Reason", "Namespace", "IdempotencyToken", "SameInputs", "Credential"
    )
    if not isinstance(same := body.get("SameInputs") or False, bool):
        raise Invalid(f"SameInputs: {schemas.dump(same)}; allowed: true or false")
    version = body.get("JobVersion") or 0
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= queries.MAX_VERSION:
        raise Invalid(f"JobVersion: {schemas.dump(version)}; allowed: a whole number from 0 to {queries.MAX_VERSION:,}")
    accepted = await deps_of(request).submissions.rerun(
        request.path_params["job_id"],
        text_in(body, "Namespace") or queries.text(request, "namespace"),
        version=version,
        reason=text_in(body, "Reason")[:MAX_REASON],
        headers=request.headers,
        actor=caller_of(request),
        token=token_in(body),
        same_inputs=same,
    )
    return answer(request, accepted)


ROUTES = [
    Route(f"{JOBS}/diff", diff, methods=["PUT"]),
    Route(f"{JOBS}/{{job_id}}/versions", versions),
    Route(f"{JOBS}/{{job_id}}/rerun", rerun, methods=["PUT"]),
]
