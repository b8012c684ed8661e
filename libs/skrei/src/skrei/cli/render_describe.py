"""Everything about a job for a person: what it is, how it stands and why, where it is reached, and what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.render_jobs import Repeats, executions, history, job_state, progress_states
from skrei.cli.render_run import data_line, in_place
from skrei.cli.shape import PLAIN_TABLE
from skrei.cli.texts import indented, quantity, short, with_next_step
from skrei_domain.amounts import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skrei.job_parts import Endpoint
    from skrei.views import Execution, Job, JobDetails

MOST_REASONS = 10
"""Reasons of failed attempts; the table below them has more."""
MOST_EXECUTIONS = 100
"""Rows of the tables of executions: what a person looks through; of ten thousand the summary counts the rest."""
MOST_ENDPOINTS = 100
"""Rows of the table of addresses: of a service of a thousand a program asks, not a person."""
MOST_SAID = 20
"""Partitions (or nodes) of which it is printed what they said, a screen or two each."""


def describe(found: JobDetails) -> None:
    """Print it."""
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
        "Ready": _ready(job, found.executions),
        "Count": _count(job),
        "Engine": job.engine,
        "Version": str(job.version),
        "Created": f"{job.created.astimezone():%Y-%m-%d %H:%M:%S}",
        "Modified": f"{job.modified.astimezone():%Y-%m-%d %H:%M:%S}",
        "Image": "\n".join(dict.fromkeys(one.image_digest for one in found.executions if one.image_digest)),
        "Results": _kept(found.executions, needed=not job.is_terminal and not job.endless),
        "Data": data_line(found.executions),
    }
    for key, value in pairs.items():
        if value:
            render.line(f"{key:<10}= {indented(value)}")
    _section("Summary")
    render.line(progress_states(Progress(job, (), found.executions)))
    if job.task_states:
        _section("Tasks")
        _tasks(job, found.executions)
    if found.endpoints or _has_ports(job, found.executions):
        _section("Endpoints")
        _endpoints(job, found.endpoints)
    reasons = _reasons(found)
    told = Repeats(job.message, *(one.message for one in found.executions if _told(one.message, reasons)))
    if reasons:
        _section("Why")
        for reason in reasons:
            render.line(indented(reason, 0))
    _section("Executions")
    shown = _telling(found.executions, MOST_EXECUTIONS)
    executions(shown, told=told)
    _and_more(len(found.executions) - len(shown), f"skrei job executions {short(job.id)}")
    if any(one.data_read for one in shown):
        _section("Data")
        _data(shown)
    _section("History")
    history(found.history, told=told)
    job_output(found.executions, by_node=job.per_node)


def _telling(found: Sequence[Execution], most: int) -> Sequence[Execution]:
    """Return at most so many, in their order: what did not end well before what goes on, and that before what did."""
    if len(found) <= most:
        return found
    told = sorted(range(len(found)), key=lambda number: _well(found[number]))[:most]
    return [found[number] for number in sorted(told)]


def _well(one: Execution) -> int:
    """Return how well an execution does: 0 where it failed, 1 where it goes on or was stopped, 2 where all is well."""
    if one.state == "Stopped" or not one.is_terminal:
        return 1
    return 2 if one.state == "Completed" and not one.exit_code else 0


def _and_more(count: int, command: str) -> None:
    """Say of how many nothing is printed, and what prints them."""
    if count > 0:
        render.line(f"… and {count:,} more: {command}")


def _count(job: Job) -> str:
    """Return how often a job of one task runs, where it says so, or who holds its data does."""
    if len(job.tasks) > 1 or job.per_node:
        return ""
    if job.split:
        return f"{job.units}, one on each node that holds its data" if job.units else "one on each holder of its data"
    return str(job.count)


def _ready(job: Job, found: Sequence[Execution]) -> str:
    """Return how many of what a service or daemon runs are ready, as their checks say; empty for other jobs."""
    if not job.endless or job.is_terminal:
        return ""
    ready = sum(one.ready is True for one in found)
    wanted = len({(one.task, one.partition) for one in found}) if job.per_node else job.units
    return f"{ready} of {wanted}"


def _tasks(job: Job, found: Sequence[Execution]) -> None:
    """Print how each task of a job of several stands."""

    def how_far(name: str, done: object, count: object) -> str:
        return f"{sum(one.task == name and one.ready is True for one in found) if job.endless else done}/{count}"

    rows = (
        (
            name := str(one.get("Name", "")),
            str(one.get("State", "")),
            how_far(name, one.get("Completed", 0), one.get("Count", 0)),
            ", ".join(map(str, one.get("DependsOn") or ())),
            str(one.get("Message") or ""),
        )
        for one in job.task_states
    )
    render.table(("TASK", "STATE", "READY" if job.endless else "COMPLETED", "DEPENDS ON", "MESSAGE"), rows)


def _data(found: Sequence[Execution]) -> None:
    """Print what each execution found where it ran, in place or in its node's cache, and what had to be brought."""
    many = len({one.task for one in found}) > 1
    rows = (
        (
            short(one.id),
            *((one.task,) if many else ()),
            str(one.partition),
            short(one.node_id),
            in_place(read),
            f"{amount(read.cached)} in {read.hits} file{'s' if read.hits > 1 else ''}" if read.hits else "",
            amount(read.moved),
        )
        for one in found
        if (read := one.data_read)
    )
    heads = ("ID", *(("TASK",) if many else ()), "PARTITION", "NODE", "IN PLACE", "FROM CACHE", "MOVED")
    render.table(heads, rows, PLAIN_TABLE)


def _has_ports(job: Job, found: Sequence[Execution]) -> bool:
    return not job.is_terminal and any(one.addresses and not one.is_terminal for one in found)


def _endpoints(job: Job, found: Sequence[Endpoint]) -> None:
    """Print where ready executions are reached."""
    if not found:
        render.line("None ready so far.")
        return
    many, updating = len(job.tasks) > 1, any(one.version != job.version for one in found)
    rows = (
        (
            one.address,
            one.name,
            *((one.task,) if many else ()),
            str(one.partition),
            short(one.node_id),
            *((str(one.version),) if updating else ()),
        )
        for one in found[:MOST_ENDPOINTS]
    )
    heads = ("ADDRESS", "NAME", *(("TASK",) if many else ()), "PARTITION", "NODE", *(("VERSION",) if updating else ()))
    render.table(heads, rows, PLAIN_TABLE)
    _and_more(len(found) - MOST_ENDPOINTS, f"skrei job describe -o json {short(job.id)}")


def _kept(found: Sequence[Execution], *, needed: bool) -> str:
    """Return how much was left, and until when all of it is kept; empty where the API does not say.

    `needed`: what has won stays until its job has ended, whatever its time.
    """
    from skrei.views import local_time

    left = [one for one in found if one.has_result and one.result_kept is not None]
    if not left:
        return _elsewhere([one for one in found if one.has_result])
    until = local_time(min(one.result_kept_until for one in left))
    size = quantity(sum(one.result_size for one in left))
    if not all(one.result_kept for one in left):
        return f"not kept since {until}"
    return f"{size}, kept until {until}" + (", and until the job has ended" if needed else "")


def _elsewhere(found: Sequence[Execution]) -> str:
    """Return where results lie that were published elsewhere: the first of them, and how many more there are."""
    places = [place for one in found if (place := one.result_place)]
    if not places:
        return ""
    more = f", and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{quantity(sum(one.result_size for one in found))}, at {places[0]}{more}"


def job_output(found: Sequence[Execution], *, by_node: bool = False) -> None:
    """Print the beginning of what each partition (or node) said."""
    from skrei.progress import best_attempts, of_several_tasks, unit_name

    named = of_several_tasks(found)
    for heading, attribute in (("Standard output", "stdout"), ("Standard error", "stderr")):
        said = [one for one in best_attempts(found) if getattr(one, attribute)]
        if said:
            _section(heading)
        shown = _telling(said, MOST_SAID)
        for one in shown:
            if len(said) > 1:
                render.line(f"--- {unit_name(one, named=named, by_node=by_node)}")
            said_by = getattr(one, attribute)
            render.output_text(said_by if said_by.endswith("\n") else said_by + "\n")
        _and_more(len(said) - len(shown), f"skrei logs {short(said[0].job_id)}" if said else "")
        cut = [one for one in said if one.truncated and one.has_result]
        if left := [one for one in cut if one.left_on_node]:
            render.note(f"Only its beginning: all of it is on its node, at {left[0].result_place}.")
        elif cut:
            render.note("Only its beginning: `skrei job logs` and `skrei job get` have all of it.")


def _reasons(found: JobDetails) -> list[str]:
    """Return why a job waits or failed: its own message, then what its failed attempts say, each once."""
    if found.job.state not in {"Queued", "Failed", "Stopped", "Pending"}:
        return []
    from skrei.progress import of_several_tasks, unit_name

    named = of_several_tasks(found.executions)
    told = [with_next_step(found.job.message)] if found.job.message else []
    said: dict[str, list[Execution]] = {}
    for one in found.executions:
        if one.message not in ("", found.job.message) and one.state in {"Failed", "Refused"}:
            said.setdefault(one.message, []).append(one)
    told += [
        f"{short(one.id)} ({unit_name(one, named=named)}, {short(one.node_id)})"
        f"{f' and {len(more)} more' if more else ''}: {message}"
        for message, (one, *more) in said.items()
    ][:MOST_REASONS]
    if not told:
        told = [item.message for item in found.history if item.is_error][-1:]
    return told


def _told(message: str, reasons: Sequence[str]) -> bool:
    return any(reason.endswith(message) for reason in reasons)


def _section(title: str) -> None:
    render.line()
    render.line(title)
