"""`skrei list`, `describe`, `stop` and what else looks at jobs: reads that start at once."""

from http import HTTPStatus

from skrei.cli import render, render_jobs
from skrei.cli.ask import Ask, job_path
from skrei.cli.flags import API, JOB, LAST, NAMESPACE, OUTPUT, flag, integer, text, texts
from skrei.cli.grammar import Command, Option, Values
from skrei.cli.references import job_named
from skrei.cli.texts import short
from skrei.errors import ApiError
from skrei.views import Document, Execution, HistoryItem, Job, JobDetails, Page, items

LIST = Command(
    "job list",
    "List jobs, newest first.",
    "skrei.cli.jobs:list_jobs",
    (
        integer("--limit", "Jobs to show; 0 is all.", "-n", default=20),
        text("--next-token", "TOKEN", "Go on after an earlier page."),
        text("--namespace", "NAME", "Only this namespace."),
        texts("--labels", "SELECTOR", "Only jobs that meet this selector.", "-l"),
        Option(
            ("--order-by",),
            "What to sort by.",
            choices=("created_at", "modified_at"),
            default="created_at",
            metavar="FIELD",
        ),
        flag("--oldest-first", "Oldest first instead of newest."),
        OUTPUT,
        API,
    ),
)
DESCRIBE = Command(
    "job describe",
    "Tell everything about a job: how it stands and why, its executions, its history, its output.",
    "skrei.cli.jobs:describe",
    (NAMESPACE, OUTPUT, API),
    (LAST,),
)
EXECUTIONS = Command(
    "job executions",
    "List the executions of a job.",
    "skrei.cli.jobs:executions",
    (integer("--limit", "Executions to show; 0 is all."), NAMESPACE, OUTPUT, API),
    (LAST,),
)
HISTORY = Command(
    "job history",
    "Tell what happened to a job, in order.",
    "skrei.cli.jobs:history",
    (
        Option(
            ("--event-type",),
            "Which events.",
            choices=("all", "job", "execution"),
            default="all",
            metavar="all|job|execution",
        ),
        text("--execution-id", "ID", "Only this execution."),
        integer("--limit", "Events to show.", default=1000, least=1),
        text("--next-token", "TOKEN", "Go on after an earlier page."),
        NAMESPACE,
        OUTPUT,
        API,
    ),
    (LAST,),
)
STOP = Command(
    "job stop",
    "Stop a job.",
    "skrei.cli.jobs:stop",
    (
        text("--reason", "TEXT", "Why; it stands in the job's history.", default="Stopped at user request"),
        flag("--quiet", "Say nothing.", "-q"),
        NAMESPACE,
        API,
    ),
    (JOB,),
)


def list_jobs(values: Values) -> None:
    """List jobs."""
    with Ask(values.text("api")) as ask:
        answer = ask.get(
            "/orchestrator/jobs",
            namespace=values.text("namespace"),
            labels=values.texts("labels"),
            limit=values.integer("limit"),
            next_token=values.text("next-token"),
            order_by=values.text("order-by"),
            reverse="false" if values.flag("oldest-first") else "true",
        )
    page = Page(tuple(map(Job.parse, items(answer.get("Items")))), str(answer.get("NextToken") or ""), answer)
    render_jobs.jobs(page, values.text("output"))
    if page.items:
        render.next_step(f"skrei describe {short(page.items[0].id)}", "everything about one of them")
    else:
        render.next_step("skrei docker run ubuntu echo hello", "a first job")


def describe(values: Values) -> None:
    """Describe a job."""
    with Ask(values.text("api")) as ask:
        found = details(ask, job_named(values.text("JOB"), ask.endpoint), values.text("namespace"))
    if values.text("output") != "table":
        render.document(found.document, values.text("output"))
        return
    render_jobs.describe(found)
    job = short(found.job.id)
    if not found.job.is_terminal:
        render.next_step(f"skrei logs -f {job}", "what it says")
    elif found.job.state == "Completed":
        render.next_step(f"skrei get {job}", "fetch its results")
    else:
        render.next_step(f"skrei logs {job}", "what it said")


def executions(values: Values) -> None:
    """List the executions of a job."""
    with Ask(values.text("api")) as ask:
        job = job_named(values.text("JOB"), ask.endpoint)
        limit = values.integer("limit") or None
        answer = ask.get(f"{job_path(job)}/executions", limit=limit, namespace=values.text("namespace"))
    if values.text("output") != "table":
        render.document(answer, values.text("output"))
        return
    found = tuple(map(Execution.parse, items(answer.get("Items"))))
    render_jobs.executions(found)
    if found:
        render.next_step(f"skrei logs {_typed(values)} -e {found[-1].id}", "what one of them said")


def history(values: Values) -> None:
    """Tell what happened to a job."""
    limit = values.integer("limit")
    with Ask(values.text("api")) as ask:
        answer = ask.get(
            f"{job_path(job_named(values.text('JOB'), ask.endpoint))}/history",
            next_token=values.text("next-token"),
            limit=limit,
            event_type=values.text("event-type"),
            execution_id=values.text("execution-id"),
            namespace=values.text("namespace"),
        )
    if values.text("output") != "table":
        render.document(answer, values.text("output"))
        return
    found = tuple(map(HistoryItem.parse, items(answer.get("Items"))))
    render_jobs.history(found)
    if len(found) == limit and answer.get("NextToken"):
        render.note(f"More: skrei job history {_typed(values)} --next-token {answer['NextToken']}")
    else:
        render.next_step(f"skrei describe {_typed(values)}", "how it stands now")


def stop(values: Values) -> None:
    """Stop a job."""
    with Ask(values.text("api")) as ask:
        try:
            answer = stop_job(ask, job_named(values.text("JOB"), ask.endpoint), values.text("reason"), values)
        except ApiError as error:
            if error.status == HTTPStatus.CONFLICT and not error.hint:
                error.hint = f"It has ended: skrei describe {_typed(values)}"
            raise
    if values.flag("quiet"):
        return
    evaluation = answer.get("EvaluationID")
    told = f"Job stop successfully submitted with evaluation ID: {evaluation}"
    render.line(told if evaluation else "The job was stopped before.")
    render.next_step(f"skrei describe {_typed(values)}", "how it ended")


def stop_job(ask: Ask, job: str, reason: str, values: Values | None = None) -> Document:
    """Ask for the stop of a job; the answer names the evaluation, and none when it was stopped before."""
    namespace = values.text("namespace") if values else ""
    return ask.call("DELETE", job_path(job), query={"namespace": namespace}, body={"reason": reason})


def details(ask: Ask, job: str, namespace: str = "") -> JobDetails:
    """Return a job with its executions and the beginning of its history."""
    answer = ask.get(job_path(job), include="executions,history", namespace=namespace)
    return JobDetails(
        job=Job.parse(answer.get("Job") or {}),
        executions=tuple(map(Execution.parse, items((answer.get("Executions") or {}).get("Items")))),
        history=tuple(map(HistoryItem.parse, items((answer.get("History") or {}).get("Items")))),
        document=answer,
    )


def _typed(values: Values) -> str:
    return values.text("JOB")
