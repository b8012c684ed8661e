"""`skrei list`: jobs, newest first."""

from skrei import calls
from skrei.cli import render, render_jobs
from skrei.cli.again import next_page
from skrei.cli.ask import Ask
from skrei.cli.flags import TABLE, flag, page, text, texts
from skrei.cli.grammar import Command, Values
from skrei.cli.shape import Shape
from skrei.cli.texts import short
from skrei.cli.watch import WATCH, watched

LIST = Command(
    "job list",
    "List jobs, newest first.",
    "skrei.cli.job_list:list_jobs",
    (
        *page(20, ("created_at", "modified_at")),
        text("--namespace", "NAME", "Only this namespace."),
        texts("--labels", "SELECTOR", "Only jobs that meet this selector.", "-l"),
        flag("--oldest-first", "Oldest first instead of newest."),
        *WATCH,
        *TABLE,
    ),
)


def list_jobs(values: Values) -> None:
    """List jobs."""
    watched(values, _list)


def _list(values: Values) -> bool:
    with Ask(values.text("api")) as ask:
        found = ask.send(
            calls.jobs(
                namespace=values.text("namespace"),
                labels=values.texts("labels"),
                limit=values.integer("limit"),
                next_token=values.text("next-token"),
                order_by=values.text("order-by") or "created_at",
                reverse=not (values.flag("oldest-first") or values.flag("order-reversed")),
            )
        )
    render_jobs.jobs(found, Shape.of(values))
    if found.next_token and Shape.of(values).is_rows:
        render.note(f"More: {next_page(LIST, values, found.next_token)}")
    if found.items:
        render.next_step(f"skrei describe {short(found.items[0].id)}", "everything about one of them")
    else:
        render.next_step("skrei docker run ubuntu echo hello", "a first job")
    return False
