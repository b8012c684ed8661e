"""What is asked about jobs, and done with them."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skrei.answers import refusal_of
from skrei.calls.call import JOBS, Call, flag, if_set, job_path, page_of
from skrei.errors import ApiError
from skrei.job_parts import Difference, Endpoint, Result
from skrei.views import Document, Execution, HistoryItem, Job, JobDetails, Page, Submitted, items

STOPPED = "Stopped at user request"
MOST_AT_ONCE = 256
"""Jobs in one `submit_many`: what the API takes."""
MOST_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Of one `submit_many`: below the 10 MB that the API takes."""


def submit(job: Mapping[str, Any], *, force: bool = False, idempotency_token: str = "") -> Call[Submitted]:
    """Submit a job. The token (made here when none is given) makes a repeat the same job."""
    body = {"Job": dict(job), "Force": force, "IdempotencyToken": idempotency_token or str(uuid.uuid4())}
    return Call("PUT", JOBS, _submitted, body=body)


def submit_many(
    jobs: Sequence[Mapping[str, Any]], *, idempotency_token: str = "", first: int = 0
) -> Call[tuple[Submitted | ApiError, ...]]:
    """Submit up to MOST_AT_ONCE jobs, each accepted or refused by itself; the answers come in order.

    Each goes with a token of its own: the one that is given, and its place among them, counted from `first`.
    """
    token = idempotency_token or str(uuid.uuid4())
    told = [{"Job": dict(job), "IdempotencyToken": f"{token}-{number}"} for number, job in enumerate(jobs, first)]
    return Call("POST", f"{JOBS}:batch", _each_submitted, body={"Jobs": told})


def portions(jobs: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield jobs in as few parts as `submit_many` takes: by their number and their size."""
    start = size = 0
    for number, job in enumerate(jobs):
        own = len(json.dumps(job))
        if number > start and (number - start == MOST_AT_ONCE or size + own > MOST_AT_ONCE_BYTES):
            yield jobs[start:number]
            start, size = number, 0
        size += own
    if jobs:
        yield jobs[start:]


def diff(job: Mapping[str, Any]) -> Call[Difference]:
    """What would change if `job` were submitted over the one that has its name."""
    return Call("PUT", f"{JOBS}/diff", Difference.parse, body={"Job": dict(job)})


def job(job_id: str, *, namespace: str = "", version: int = 0) -> Call[Job]:
    """The job that an id, a name, or any beginning of an id names; `version` 0 is its latest."""
    query = {"namespace": namespace, "job_version": version or ""}
    return Call("GET", job_path(job_id), lambda answer: Job.parse(answer.get("Job") or {}), query)


def describe(job_id: str, *, namespace: str = "", version: int = 0) -> Call[JobDetails]:
    """A job with its executions, the beginning of its history, and where it is reached; `version` 0 is its latest."""
    query = {"include": "executions,history,endpoints", "namespace": namespace, "job_version": version or ""}
    return Call("GET", job_path(job_id), _details, query)


def jobs(
    *,
    namespace: str = "",
    labels: Sequence[str] = (),
    limit: int = 20,
    next_token: str = "",
    reverse: bool = True,
    order_by: str = "created_at",
) -> Call[Page[Job]]:
    """A page of jobs, newest first unless `reverse` is False."""
    query = {
        "namespace": namespace,
        "limit": limit,
        "next_token": next_token,
        "reverse": flag(reverse),
        "order_by": order_by,
        "labels": tuple(labels),
    }
    return Call("GET", JOBS, page_of(Job.parse), query)


def stop(job_id: str, *, namespace: str = "", reason: str = STOPPED) -> Call[str]:
    """Stop a job; the answer is the evaluation's id, empty when it was stopped before."""
    body = {"reason": reason}
    query = {"namespace": namespace}
    # Not sent twice: what is stopped meanwhile may be another version, submitted by somebody else.
    return Call("DELETE", job_path(job_id), _evaluation, query, body, repeatable=False)


def rerun(
    job_id: str,
    *,
    namespace: str = "",
    version: int = 0,
    reason: str = "",
    same_inputs: bool = False,
    idempotency_token: str = "",
) -> Call[Submitted]:
    """Run a version of a job (0: the latest) once more, as a new version; sent twice it makes one, by its token.

    `same_inputs`: it reads what the version was pinned to, and lists nothing anew.
    """
    token = idempotency_token or str(uuid.uuid4())
    body: dict[str, object] = {
        "JobVersion": version,
        "Reason": reason,
        "Namespace": namespace,
        "IdempotencyToken": token,
    }
    if same_inputs:  # older control planes know no such field
        body["SameInputs"] = True
    return Call("PUT", f"{job_path(job_id)}/rerun", _submitted, body=body)


def versions(job_id: str, *, namespace: str = "", next_token: str = "") -> Call[Page[Job]]:
    """A page of a job's versions as they were submitted, oldest first."""
    query = {"namespace": namespace, "next_token": next_token}
    return Call("GET", f"{job_path(job_id)}/versions", page_of(Job.parse), query)


def history(
    job_id: str,
    *,
    namespace: str = "",
    next_token: str = "",
    limit: int = 100,
    event_type: str = "all",
    execution_id: str = "",
    version: int = 0,
    all_versions: bool = False,
) -> Call[Page[HistoryItem]]:
    """A page of history; the token stays non-empty until the job is terminal and all of it was read."""
    query = {
        "namespace": namespace,
        "limit": limit or "",
        "next_token": next_token,
        "event_type": event_type,
        "execution_id": execution_id,
        "job_version": version or "",
        "all_job_versions": if_set(all_versions),
    }
    return Call("GET", f"{job_path(job_id)}/history", page_of(HistoryItem.parse), query)


def executions(
    job_id: str,
    *,
    namespace: str = "",
    limit: int = 0,
    version: int = 0,
    all_versions: bool = False,
    order_by: str = "",
    reverse: bool = False,
    next_token: str = "",
) -> Call[Page[Execution]]:
    """A page of a job's executions by `created_at` (else `modified_at`), oldest first unless `reverse`.

    `limit` 0 is as many as one answer holds; more than that asks for several pages.
    """
    query = {
        "namespace": namespace,
        "limit": limit or "",
        "next_token": next_token,
        "job_version": version or "",
        "all_job_versions": if_set(all_versions),
        "order_by": order_by,
        "reverse": if_set(reverse),
    }
    return Call("GET", f"{job_path(job_id)}/executions", page_of(Execution.parse), query)


def endpoints(job_id: str, *, namespace: str = "") -> Call[Page[Endpoint]]:
    """Where a job's ready executions are reached, by task and partition."""
    return Call("GET", f"{job_path(job_id)}/endpoints", page_of(Endpoint.parse), {"namespace": namespace})


def results(job_id: str, *, namespace: str = "", execution_id: str = "", version: int = 0) -> Call[Page[Result]]:
    """Where a job's results can be fetched: one for each partition that completed, of ops one for each node.

    A service or daemon has none (Conflict); `execution_id` asks for what one execution left, of any job.
    """
    query = {"namespace": namespace, "execution_id": execution_id, "job_version": version or ""}
    return Call("GET", f"{job_path(job_id)}/results", page_of(Result.parse), query)


def _evaluation(answer: Document) -> str:
    return str(answer.get("EvaluationID") or "")


def _submitted(answer: Document) -> Submitted:
    return Submitted(
        job_id=str(answer.get("JobID", "")),
        evaluation_id=_evaluation(answer),
        warnings=tuple(str(text) for text in answer.get("Warnings") or ()),
        version=int(answer.get("JobVersion") or 0),
    )


def _each_submitted(answer: Document) -> tuple[Submitted | ApiError, ...]:
    return tuple(
        refusal_of(one["Error"]) if isinstance(one.get("Error"), dict) else _submitted(one)
        for one in items(answer.get("Items"))
    )


def _details(answer: Document) -> JobDetails:
    return JobDetails(
        job=Job.parse(answer.get("Job") or {}),
        executions=tuple(map(Execution.parse, items((answer.get("Executions") or {}).get("Items")))),
        history=tuple(map(HistoryItem.parse, items((answer.get("History") or {}).get("Items")))),
        endpoints=tuple(map(Endpoint.parse, items((answer.get("Endpoints") or {}).get("Items")))),
        document=answer,
    )
