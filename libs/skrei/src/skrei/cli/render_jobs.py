"""Jobs, executions and history as a person or a program reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.shape import PLAIN_TABLE, Shape
from skrei.cli.texts import ago, clock, instant, moment, next_step_of, short

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from skrei.progress import Progress
    from skrei.views import Execution, HistoryItem, Job, Page

LONG_CHARACTERS = 60
"""Of what went wrong before: a reader knows it again by these."""


def jobs(page: Page[Job], shape: Shape) -> None:
    """Print a list of jobs."""
    if not shape.is_rows:
        render.document(page.document, shape)
        return
    rows = (
        (when(job.created, shape), whole(job.id, shape), _name(job), job.engine, job.type, job_state(job))
        for job in page.items
    )
    render.table(("CREATED", "ID", "NAME", "ENGINE", "TYPE", "STATE"), rows, shape)


def versions(found: Sequence[Job], shape: Shape) -> None:
    """Print the versions of a job, each as it was described."""
    rows = ((str(job.version), when(job.created, shape), job.type, str(job.count or ""), job.engine) for job in found)
    render.table(("VERSION", "CREATED", "TYPE", "COUNT", "ENGINE"), rows, shape)


def executions(found: Sequence[Execution], shape: Shape = PLAIN_TABLE, told: Repeats | None = None) -> None:
    """Print executions as a table; what was `told` before is not told in full again to a person."""
    if not found and shape.output == "table":
        render.line("None so far.")
        return
    from skrei.progress import of_several_tasks

    named = of_several_tasks(found)
    said = _said_by(shape, told)
    rows = (
        (
            whole(one.id, shape),
            *((one.task,) if named else ()),
            str(one.partition),
            whole(one.node_id, shape),
            execution_state(one),
            one.desired,
            _exit_code(one),
            str(one.version or ""),
            str(one.revision or ""),
            when(one.created, shape),
            when(one.modified, shape),
            f"{max((one.modified - one.created).total_seconds(), 0):.2f} s" if one.is_terminal else "",
            said(one.message),
        )
        for one in found
    )
    heads = (
        "PARTITION",
        "NODE",
        "STATE",
        "DESIRED",
        "EXIT",
        "JOB VERSION",
        "REV.",
        "CREATED",
        "MODIFIED",
        "TOOK",
        "MESSAGE",
    )
    render.table(("ID", *(("TASK",) if named else ()), *heads), rows, shape)


def history(found: Sequence[HistoryItem], shape: Shape = PLAIN_TABLE, told: Repeats | None = None) -> None:
    """Print history as a table; what was `told` before is not told in full again to a person."""
    full = shape.wide or shape.output == "csv"
    said = _said_by(shape, told)
    rows = (
        (
            instant(item.at) if full else clock(item.at),
            item.level,
            str(item.version or ""),
            _subject(item, shape),
            item.topic,
            said(item.message),
        )
        for item in found
    )
    render.table(("TIME", "LEVEL", "JOB VERSION", "EXECUTION", "TOPIC", "EVENT"), rows, shape)


def job_state(job: Job) -> str:
    """Return a job's state, and how its program ended where that was not well: `Completed (exit 3)`."""
    return f"{job.state} (exit {job.exit_code})" if job.exit_code else job.state


def execution_state(execution: Execution) -> str:
    """Return an execution's state, and how its program ended, or that its checks fail, where that is so."""
    code = _exit_code(execution)
    if code not in ("", "0"):
        return f"{execution.state} (exit {code})"
    return f"{execution.state} (not ready)" if execution.ready is False else execution.state


def when(at: datetime, shape: Shape) -> str:
    """Return how long ago that was for a person, the moment itself where rows are wide or read by programs."""
    return moment(at) if shape.wide or shape.output == "csv" else ago(at)


def whole(id_: str, shape: Shape) -> str:
    """Return an id, short for a person."""
    return id_ if shape.wide or shape.output == "csv" else short(id_)


class Repeats:
    """What was told at length: it is told again by its beginning alone."""

    def __init__(self, *told: str) -> None:
        self._told = set(told)

    def said(self, text: str) -> str:
        """Return a text, or the beginning of a long one that was returned before."""
        if len(text) <= LONG_CHARACTERS or text not in self._told:
            self._told.add(text)
            return text
        return f"{text[:LONG_CHARACTERS].rstrip()} … (as above)"


def _said_by(shape: Shape, told: Repeats | None) -> Callable[[str], str]:
    return str if shape.wide or shape.output == "csv" else (told or Repeats()).said


class EventLines:
    """Events as lines; what went wrong once more is told by its beginning alone."""

    def __init__(self) -> None:
        self._repeats = Repeats()

    def line(self, item: HistoryItem) -> str:
        """Return an event as one line."""
        subject = _subject(item, PLAIN_TABLE) or "job"
        return f"{clock(item.at)}  {subject:<10}  {item.topic:<12}  {self._said(item)}"

    def _said(self, item: HistoryItem) -> str:
        said = " ".join(item.message.split())
        if todo := next_step_of(item.message):
            said = f"{said.removesuffix('.')}. {todo}"
        return self._repeats.said(said) if item.is_error else said


def _subject(item: HistoryItem, shape: Shape) -> str:
    """Return the execution that an event is about, and its task where its job has several."""
    task = item.details.get("Task", "") if item.execution_id else ""
    return " ".join(filter(None, (whole(item.execution_id, shape), task)))


def progress_states(progress: Progress) -> str:
    """Return how many partitions are in which state."""
    counts = progress.partitions
    return " · ".join(f"{name} {counts[name]}" for name in sorted(counts)) or "nothing placed yet"


def _exit_code(execution: Execution) -> str:
    """Return the exit code of a program that had one: -1 is how the API says that it did not."""
    had = execution.is_terminal and execution.exit_code is not None and execution.exit_code >= 0
    return str(execution.exit_code) if had else ""


def _name(job: Job) -> str:
    """Return the name that somebody gave; a job without one is called by its id."""
    return "" if job.name == job.id else job.name
