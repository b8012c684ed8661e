"""`skrei admin …`: what the operator of a cluster does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei import calls
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.flags import TABLE, flag
from skrei.cli.grammar import Command, Values
from skrei.cli.shape import Shape

if TYPE_CHECKING:
    from skrei.views import Document

GC = Command(
    "admin gc",
    "Let go what jobs left and nobody keeps any more: results, logs, whole jobs.",
    "skrei.cli.admin:collect",
    (flag("--dry-run", "Tell what would go, and touch nothing."), *TABLE),
    more="How long things are kept: SKREI_RETENTION of the server, and Retention in a job. It goes by itself every few "
    "minutes; nothing that a job needs which has not ended is among it, nor anything of the audit.",
)
WORDS = {
    "results": "results in Skrei's store",
    "logs": "executions' output",
    "history": "old history of jobs that go on",
    "jobs": "jobs that ended, with their history",
}


def collect(values: Values) -> None:
    """Tell what may go, and have it go unless that is all that was asked."""
    dry, shape = values.flag("dry-run"), Shape.of(values)
    with Ask(values.text("api")) as ask:
        found = ask.send(calls.collect(dry_run=dry))
    if not shape.is_rows:
        render.document(found, shape)
        return
    items = [item for item in found.get("Items") or () if isinstance(item, dict)]
    if not any(item.get("Count") for item in items) and shape.output == "table":
        render.line("Nothing may go: whatever there is, is kept or needed.")
        return
    render.table(("WHAT", "COUNT", "SIZE", "OLDEST"), map(_row, items), shape)
    if not found.get("Complete", True):
        render.note("There was too much to count all of it in time: at least this much.")
    if dry:
        render.next_step("skrei admin gc", "let it go now")
    elif shape.output == "table":
        render.note("It has begun: `skrei admin gc --dry-run` tells what is left.")


def _row(item: Document) -> tuple[str, ...]:
    from skrei.views import local_time
    from skrei_domain.amounts import amount

    kind, oldest = str(item.get("Kind") or ""), str(item.get("Oldest") or "")
    return (
        WORDS.get(kind, kind),
        str(item.get("Count") or 0),
        amount(int(item.get("Bytes") or 0)),
        local_time(oldest) if oldest else "",
    )
