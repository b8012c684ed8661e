"""`skrei describe`, `stop` and what else looks at one job: reads that start at once."""

from http import HTTPStatus

from skrei import calls
from skrei.cli import render, render_describe, render_jobs
from skrei.cli.again import next_page
from skrei.cli.ask import Ask
from skrei.cli.flags import JOB, LAST, NAMESPACE, PRETTY, TABLE, VERSION, flag, one_of, page, text
from skrei.cli.grammar import Command, Values
from skrei.cli.references import job_named
from skrei.cli.shape import Shape
from skrei.cli.texts import short
from skrei.cli.watch import WATCH, watched
from skrei.errors import ApiError
from skrei.views import JobDetails

ALL_VERSIONS = flag("--all-versions", "Of every version of the job.")

DESCRIBE = Command(
    "job describe",
    "Tell everything about a job: how it stands and why, its executions, its history, its output.",
    "skrei.cli.jobs:describe",
    (
        VERSION,
        NAMESPACE,
        *WATCH,
        one_of("--output", "Text for people, JSON and YAML for programs.", "text", "table", "json", "yaml",
               default="text", short=("-o",)),
        PRETTY,
    ),
    (LAST,),
)  # fmt: skip
EXECUTIONS = Command(
    "job executions",
    "List the executions of a job.",
    "skrei.cli.jobs:executions",
    (
        VERSION,
        ALL_VERSIONS,
        NAMESPACE,
        *page(0, ("created_at", "modified_at"), "create_time", "modify_time"),
        *WATCH,
        *TABLE,
    ),
    (LAST,),
)
HISTORY = Command(
    "job history",
    "Tell what happened to a job, in order.",
    "skrei.cli.jobs:history",
    (
        one_of("--event-type", "Which events.", "all", "job", "execution", default="all"),
        text("--execution-id", "ID", "Only this execution."),
        VERSION,
        ALL_VERSIONS,
        NAMESPACE,
        *page(1000, ()),
        *TABLE,
    ),
    (LAST,),
)
VERSIONS = Command(
    "job versions",
    "List the versions of a job: each update, rerun, scale and rollback made one.",
    "skrei.cli.jobs:versions",
    (NAMESPACE, *TABLE),
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
    ),
    (JOB,),
)


def describe(values: Values) -> None:
    """Describe a job."""
    watched(values, _describe)


def _describe(values: Values) -> bool:
    with Ask(values.text("api")) as ask:
        named = job_named(values.text("JOB"), ask.endpoint)
        found = details(ask, named, values.text("namespace"), values.integer("version"))
    if values.text("output") in ("json", "yaml"):
        render.document(found.document, Shape.of(values))
        return found.job.is_terminal
    render_describe.describe(found)
    job = short(found.job.id)
    if not found.job.is_terminal:
        render.next_step(f"skrei logs -f {job}", "what it says")
    elif found.job.state == "Completed":
        render.next_step(f"skrei get {job}", "fetch its results")
    else:
        render.next_step(f"skrei logs {job}", "what it said")
    return found.job.is_terminal


def executions(values: Values) -> None:
    """List the executions of a job."""
    watched(values, _executions)


def _executions(values: Values) -> bool:
    with Ask(values.text("api")) as ask:
        found = ask.send(
            calls.executions(
                job_named(values.text("JOB"), ask.endpoint),
                namespace=values.text("namespace"),
                next_token=values.text("next-token"),
                limit=values.integer("limit"),
                order_by=values.text("order-by"),
                reverse=values.flag("order-reversed"),
                version=values.integer("version"),
                all_versions=values.flag("all-versions"),
            )
        )
    if not Shape.of(values).is_rows:
        render.document(found.document, Shape.of(values))
        return False
    render_jobs.executions(found.items, Shape.of(values))
    if found.next_token:
        render.note(f"More: {next_page(EXECUTIONS, values, found.next_token)}")
    elif found.items:
        render.next_step(f"skrei logs {_typed(values)} -e {found.items[-1].id}", "what one of them said")
    return False


def history(values: Values) -> None:
    """Tell what happened to a job."""
    limit = values.integer("limit")
    with Ask(values.text("api")) as ask:
        found = ask.send(
            calls.history(
                job_named(values.text("JOB"), ask.endpoint),
                next_token=values.text("next-token"),
                limit=limit,
                event_type=values.text("event-type"),
                execution_id=values.text("execution-id"),
                version=values.integer("version"),
                all_versions=values.flag("all-versions"),
                namespace=values.text("namespace"),
            )
        )
    if not Shape.of(values).is_rows:
        render.document(found.document, Shape.of(values))
        return
    render_jobs.history(found.items[::-1] if values.flag("order-reversed") else found.items, Shape.of(values))
    if len(found.items) == limit and found.next_token:
        render.note(f"More: {next_page(HISTORY, values, found.next_token)}")
    else:
        render.next_step(f"skrei describe {_typed(values)}", "how it stands now")


def versions(values: Values) -> None:
    """List the versions of a job."""
    with Ask(values.text("api")) as ask:
        named = job_named(values.text("JOB"), ask.endpoint)
        page = ask.send(calls.versions(named, namespace=values.text("namespace")))
        found = page.items
        while page.next_token:
            page = ask.send(calls.versions(named, namespace=values.text("namespace"), next_token=page.next_token))
            found += page.items
    if not Shape.of(values).is_rows:
        render.document(page.document | {"Items": [one.document for one in found]}, Shape.of(values))
        return
    render_jobs.versions(found, Shape.of(values))
    if len(found) > 1:
        render.next_step(f"skrei job rollback {_typed(values)}", "go back to the one before the last")


def stop(values: Values) -> None:
    """Stop a job."""
    with Ask(values.text("api")) as ask:
        try:
            evaluation = stop_job(ask, job_named(values.text("JOB"), ask.endpoint), values.text("reason"), values)
        except ApiError as error:
            if error.status == HTTPStatus.CONFLICT and not error.hint:
                error.hint = f"It has ended: skrei describe {_typed(values)}"
            raise
    if values.flag("quiet"):
        return
    told = f"Job stop successfully submitted with evaluation ID: {evaluation}"
    render.line(told if evaluation else "The job was stopped before.")
    render.next_step(f"skrei describe {_typed(values)}", "how it ended")


def stop_job(ask: Ask, job: str, reason: str, values: Values | None = None) -> str:
    """Ask for the stop of a job; returns the evaluation's id, empty when it was stopped before."""
    return ask.send(calls.stop(job, namespace=values.text("namespace") if values else "", reason=reason))


def details(ask: Ask, job: str, namespace: str = "", version: int = 0) -> JobDetails:
    """Return a job with its executions and the beginning of its history; version 0 is the latest."""
    return ask.send(calls.describe(job, namespace=namespace, version=version))


def _typed(values: Values) -> str:
    return values.text("JOB")
