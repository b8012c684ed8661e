"""Jobs, executions and history as a person or a program reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.shape import PLAIN_TABLE, Shape
from skrei.cli.texts import ago, clock, indented, moment, quantity, short, with_next_step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from skrei.progress import Progress
    from skrei.views import Document, Execution, HistoryItem, Job, JobDetails, Page

MOST_REASONS = 10
"""Reasons of failed attempts in `describe`; the table above them has all."""


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
    if page.next_token:
        render.note(f"More: skrei job list --next-token {page.next_token}")


def versions(found: Sequence[Job], shape: Shape) -> None:
    """Print the versions of a job, each as it was described."""
    rows = ((str(job.version), when(job.created, shape), job.type, str(job.count or ""), job.engine) for job in found)
    render.table(("VERSION", "CREATED", "TYPE", "COUNT", "ENGINE"), rows, shape)


def executions(found: Sequence[Execution], shape: Shape = PLAIN_TABLE) -> None:
    """Print executions as a table."""
    if not found and shape.output == "table":
        render.line("None so far.")
        return
    from skrei.progress import of_several_tasks

    named = of_several_tasks(found)
    rows = (
        (
            whole(one.id, shape),
            *((one.task,) if named else ()),
            str(one.partition),
            whole(one.node_id, shape),
            execution_state(one),
            one.desired,
            _exit_code(one),
            when(one.created, shape),
            f"{max((one.modified - one.created).total_seconds(), 0):.2f} s" if one.is_terminal else "",
            one.message,
        )
        for one in found
    )
    heads = ("PARTITION", "NODE", "STATE", "DESIRED", "EXIT", "CREATED", "TOOK", "MESSAGE")
    render.table(("ID", *(("TASK",) if named else ()), *heads), rows, shape)


def tasks(found: Sequence[Document]) -> None:
    """Print how each task of a job stands."""
    rows = (
        (
            str(one.get("Name", "")),
            str(one.get("State", "")),
            f"{one.get('Completed', 0)}/{one.get('Count', 0)}",
            ", ".join(map(str, one.get("DependsOn") or ())),
            str(one.get("Message") or ""),
        )
        for one in found
    )
    render.table(("TASK", "STATE", "COMPLETED", "DEPENDS ON", "MESSAGE"), rows, PLAIN_TABLE)


def history(found: Sequence[HistoryItem], shape: Shape = PLAIN_TABLE) -> None:
    """Print history as a table."""
    rows = ((clock(item.at), item.level, _subject(item, shape), item.topic, item.message) for item in found)
    render.table(("TIME", "LEVEL", "EXECUTION", "TOPIC", "EVENT"), rows, shape)


def job_state(job: Job) -> str:
    """Return a job's state, and how its program ended where that was not well: `Completed (exit 3)`."""
    return f"{job.state} (exit {job.exit_code})" if job.exit_code else job.state


def execution_state(execution: Execution) -> str:
    """Return an execution's state, and how its program ended where that was not well."""
    code = _exit_code(execution)
    return f"{execution.state} (exit {code})" if code not in ("", "0") else execution.state


def when(at: datetime, shape: Shape) -> str:
    """Return how long ago that was for a person, the moment itself where rows are wide or read by programs."""
    return moment(at) if shape.wide or shape.output == "csv" else ago(at)


def whole(id_: str, shape: Shape) -> str:
    """Return an id, short for a person."""
    return id_ if shape.wide or shape.output == "csv" else short(id_)


def describe(found: JobDetails) -> None:
    """Print everything about a job: what it is, how it stands and why, its attempts, its history, its output."""
    from skrei.progress import Progress

    job = found.job
    pairs = {
        "ID": job.id,
        "Name": job.name,
        "Namespace": job.namespace,
        "Type": job.type,
        "State": job_state(job),
        "Message": job.message,
        "Position": f"{job.position} of those that wait" if job.state == "Queued" and job.position else "",
        "Count": str(job.count) if len(job.tasks) < 2 else "",
        "Engine": job.engine,
        "Version": str(job.version),
        "Created": f"{job.created.astimezone():%Y-%m-%d %H:%M:%S}",
        "Modified": f"{job.modified.astimezone():%Y-%m-%d %H:%M:%S}",
        "Image": "\n".join(dict.fromkeys(one.image_digest for one in found.executions if one.image_digest)),
        "Results": _kept(found.executions),
    }
    for key, value in pairs.items():
        if value:
            render.line(f"{key:<10}= {indented(value)}")
    _section("Summary")
    render.line(progress_states(Progress(job, (), found.executions)))
    if job.task_states:
        _section("Tasks")
        tasks(job.task_states)
    reasons = _reasons(found)
    if reasons:
        _section("Why")
        for reason in reasons:
            render.line(indented(reason, 0))
    _section("Executions")
    executions(found.executions)
    _section("History")
    history(found.history)
    job_output(found.executions)


def _kept(found: Sequence[Execution]) -> str:
    """Return how much was left, and until when all of it is kept; empty where the API does not say."""
    from skrei.views import local_time

    left = [one for one in found if one.has_result and one.result_kept is not None]
    if not left:
        return ""
    until = local_time(min(one.result_kept_until for one in left))
    size = quantity(sum(one.result_size for one in left))
    return f"{size}, kept until {until}" if all(one.result_kept for one in left) else f"not kept since {until}"


def job_output(found: Sequence[Execution]) -> None:
    """Print the beginning of what each partition said."""
    from skrei.progress import best_attempts, of_several_tasks, unit_name

    named = of_several_tasks(found)
    for heading, attribute in (("Standard output", "stdout"), ("Standard error", "stderr")):
        said = [one for one in best_attempts(found) if getattr(one, attribute)]
        if said:
            _section(heading)
        for one in said:
            if len(said) > 1:
                render.line(f"--- {unit_name(one, named=named)}")
            said_by = getattr(one, attribute)
            render.output_text(said_by if said_by.endswith("\n") else said_by + "\n")
        if any(one.truncated and one.has_result for one in said):
            render.note("Only its beginning: `skrei job logs` and `skrei job get` have all of it.")


def event_line(item: HistoryItem) -> str:
    """Return an event as one line."""
    subject = _subject(item, PLAIN_TABLE) or "job"
    return f"{clock(item.at)}  {subject:<10}  {item.topic:<12}  {' '.join(with_next_step(item.message).split())}"


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


def _reasons(found: JobDetails) -> list[str]:
    """Return why a job waits or failed: its own message, then what its failed attempts say, each once."""
    if found.job.state not in {"Queued", "Failed", "Stopped", "Pending"}:
        return []
    from skrei.progress import of_several_tasks, unit_name

    named = of_several_tasks(found.executions)
    told = [with_next_step(found.job.message)] if found.job.message else []
    told += [
        f"{short(one.id)} ({unit_name(one, named=named)}, {short(one.node_id)}): {one.message}"
        for one in found.executions
        if one.message and one.state in {"Failed", "Refused"}
    ][:MOST_REASONS]
    if not told:
        told = [item.message for item in found.history if item.is_error][-1:]
    return told


def _section(title: str) -> None:
    render.line()
    render.line(title)
