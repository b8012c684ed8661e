"""Every call of the API as a value: where it goes, what it carries, how its answer is read. Pure.

Whoever has a transport sends these: the client for programs (`skrei.client`) and the light one of the command line
(`skrei.cli.ask`), so that there is one place that knows the API's paths and fields.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from skrei.views import Document, Execution, HistoryItem, Job, JobDetails, Node, Page, Submitted, items

T = TypeVar("T")

JOBS = "/orchestrator/jobs"
NODES = "/orchestrator/nodes"
STOPPED = "Stopped at user request"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request below /api/v1. `repeatable`: whether sending it twice does what sending it once does."""

    method: str
    path: str
    read: Callable[[Document], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Document | None = None
    repeatable: bool = True


def alive() -> Call[bool]:
    """Whether the API says that it is well."""
    return Call("GET", "/agent/alive", lambda answer: answer.get("Status") == "OK")


def version() -> Call[Document]:
    """What the API says of its build."""
    return Call("GET", "/agent/version", _whole)


def submit(job: Mapping[str, Any], *, force: bool = False, idempotency_token: str = "") -> Call[Submitted]:
    """Submit a job. The token (made here when none is given) makes a repeat the same job."""
    body = {"Job": dict(job), "Force": force, "IdempotencyToken": idempotency_token or str(uuid.uuid4())}
    return Call("PUT", JOBS, _submitted, body=body)


def diff(job: Mapping[str, Any]) -> Call[str]:
    """What would change if `job` were submitted over the one that has its name; empty for nothing."""
    return Call("PUT", f"{JOBS}/diff", lambda answer: str(answer.get("Diff") or ""), body={"Job": dict(job)})


def job(job_id: str, *, namespace: str = "", version: int = 0) -> Call[Job]:
    """The job that an id, a name, or any beginning of an id names; `version` 0 is its latest."""
    query = {"namespace": namespace, "job_version": version or ""}
    return Call("GET", job_path(job_id), lambda answer: Job.parse(answer.get("Job") or {}), query)


def describe(job_id: str, *, namespace: str = "", version: int = 0) -> Call[JobDetails]:
    """A job with its executions and the beginning of its history; `version` 0 is its latest."""
    query = {"include": "executions,history", "namespace": namespace, "job_version": version or ""}
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
    job_id: str, *, namespace: str = "", version: int = 0, reason: str = "", idempotency_token: str = ""
) -> Call[Submitted]:
    """Run a version of a job (0: the latest) once more, as a new version; sent twice it makes one, by its token."""
    token = idempotency_token or str(uuid.uuid4())
    body = {"JobVersion": version, "Reason": reason, "Namespace": namespace, "IdempotencyToken": token}
    return Call("PUT", f"{job_path(job_id)}/rerun", _submitted, body=body)


def versions(job_id: str, *, namespace: str = "") -> Call[Page[Job]]:
    """Every version of a job as it was submitted, oldest first."""
    return Call("GET", f"{job_path(job_id)}/versions", page_of(Job.parse), {"namespace": namespace})


def history(
    job_id: str,
    *,
    namespace: str = "",
    next_token: str = "",
    limit: int = 100,
    event_type: str = "all",
    execution_id: str = "",
) -> Call[Page[HistoryItem]]:
    """A page of history; the token stays non-empty until the job is terminal and all of it was read."""
    query = {
        "namespace": namespace,
        "limit": limit,
        "next_token": next_token,
        "event_type": event_type,
        "execution_id": execution_id,
    }
    return Call("GET", f"{job_path(job_id)}/history", page_of(HistoryItem.parse), query)


def executions(
    job_id: str,
    *,
    namespace: str = "",
    limit: int = 0,
    version: int = 0,
    all_versions: bool = False,
    moved_last: bool = False,
) -> Call[Page[Execution]]:
    """A job's executions, oldest first, or those first that changed last; `limit` 0 is all."""
    query = {
        "namespace": namespace,
        "limit": limit,
        "job_version": version or "",
        "all_job_versions": flag(True) if all_versions else "",
        "order_by": "modified_at" if moved_last else "",
        "reverse": flag(True) if moved_last else "",
    }
    return Call("GET", f"{job_path(job_id)}/executions", page_of(Execution.parse), query)


def results(job_id: str, *, namespace: str = "", execution_id: str = "") -> Call[Page[Document]]:
    """Where a job's results can be fetched: one for each partition that completed."""
    query = {"namespace": namespace, "execution_id": execution_id}
    return Call("GET", f"{job_path(job_id)}/results", page_of(_whole), query)


def nodes(
    *, labels: Sequence[str] = (), approval: str = "", status: str = "", order_by: str = "", reverse: bool = False
) -> Call[Page[Node]]:
    """Every node. `approval` and `status` are one of the API's words in lower case."""
    query = {
        "labels": tuple(labels),
        "filter-approval": approval,
        "filter-status": status,
        "order_by": order_by,
        "reverse": flag(True) if reverse else "",
    }
    return Call("GET", NODES, page_of(Node.parse, "Nodes"), query)


def node(node_id: str) -> Call[Node]:
    """The node that an id or the beginning of one names."""
    return Call("GET", node_path(node_id), lambda answer: Node.parse(answer.get("Node") or {}))


def change_node(node_id: str, action: str, message: str = "") -> Call[Document]:
    """Approve, reject or delete a node."""
    return Call("PUT", node_path(node_id), _whole, body={"Action": action, "Message": message}, repeatable=False)


def job_path(job_id: str) -> str:
    """Return the path of a job; a slash in a name stays part of the name."""
    return f"{JOBS}/{quote(job_id, safe='')}"


def node_path(node_id: str) -> str:
    """Return the path of a node."""
    return f"{NODES}/{quote(node_id, safe='')}"


def flag(value: bool) -> str:
    """Return a truth value as the API reads it."""
    return "true" if value else "false"


def page_of(read: Callable[[Document], T], field_name: str = "Items") -> Callable[[Document], Page[T]]:
    """Return how a page is read whose items are read by `read`."""

    def page(answer: Document) -> Page[T]:
        return Page(tuple(map(read, items(answer.get(field_name)))), str(answer.get("NextToken") or ""), answer)

    return page


def _whole(answer: Document) -> Document:
    return answer


def _evaluation(answer: Document) -> str:
    return str(answer.get("EvaluationID") or "")


def _submitted(answer: Document) -> Submitted:
    return Submitted(
        job_id=str(answer.get("JobID", "")),
        evaluation_id=_evaluation(answer),
        warnings=tuple(str(text) for text in answer.get("Warnings") or ()),
        version=int(answer.get("JobVersion") or 0),
    )


def _details(answer: Document) -> JobDetails:
    return JobDetails(
        job=Job.parse(answer.get("Job") or {}),
        executions=tuple(map(Execution.parse, items((answer.get("Executions") or {}).get("Items")))),
        history=tuple(map(HistoryItem.parse, items((answer.get("History") or {}).get("Items")))),
        document=answer,
    )
