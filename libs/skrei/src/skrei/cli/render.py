"""What a person or a program reads: the only module that prints.

`skrei version` comes through here too, so what only other commands need is imported where they need it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from skrei.cli.formats import Format
from skrei.cli.texts import ago, clean, columns, quantity, short, with_next_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from types import TracebackType

    from skrei.progress import Progress
    from skrei.results import Fetched, NoMeter
    from skrei.views import Document, Execution, HistoryItem, Job, JobDetails, LogLine, Node, Page

API_VERSION = "skrei/v1"
"""Stands in all machine-readable output; it changes when a key changes its meaning."""


def line(text: str = "") -> None:
    """Print one line."""
    print(clean(text))


def note(text: str) -> None:
    """Print one line beside the output: a hint, not the answer."""
    print(clean(text), file=sys.stderr)


def problem(what: str, todo: str) -> None:
    """Print what went wrong and, when it is known, what to do."""
    note(f"Error: {what}")
    if todo:
        note(todo)


def document(found: Document, output: Format) -> None:
    """Print a document of the API for a program, with the version of its shape."""
    shaped = {"apiVersion": API_VERSION} | found
    if output is Format.YAML:
        _print_yaml(shaped)
    else:
        _print_json(shaped)


def job_file(job: Document, output: Format) -> None:
    """Print a job as a file that can be submitted."""
    if output is Format.JSON:
        _print_json(job)
    else:
        _print_yaml(job)


def _print_json(found: Document) -> None:
    import json

    print(json.dumps(found, indent=2, ensure_ascii=False))


def _print_yaml(found: Document) -> None:
    import yaml

    print(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), end="")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns under a header."""
    for text in columns(headers, rows):
        print(text)


def version(client: str, server: str, url: str, output: Format) -> None:
    """Print both versions."""
    if output is not Format.TABLE:
        document({"Client": client, "Server": server or None, "Endpoint": url}, output)
        return
    line(f"client  v{client.removeprefix('v')}")
    line(f"server  {server}  ({url})" if server else f"server  none answers at {url} (start one with `skrei serve`)")


def jobs(page: Page[Job], output: Format) -> None:
    """Print a list of jobs."""
    if output is not Format.TABLE:
        document(page.document, output)
        return
    rows = ((ago(job.created), short(job.id), _name(job), job.engine, job.type, job.state) for job in page.items)
    table(("CREATED", "ID", "NAME", "ENGINE", "TYPE", "STATE"), rows)
    if page.next_token:
        note(f"More: skrei job list --next-token {page.next_token}")


def executions(found: Sequence[Execution]) -> None:
    """Print executions as a table."""
    if not found:
        line("None so far.")
        return
    rows = (
        (
            short(one.id),
            str(one.partition),
            short(one.node_id),
            one.state,
            one.desired,
            _exit_code(one),
            ago(one.created),
            f"{max((one.modified - one.created).total_seconds(), 0):.2f} s" if one.is_terminal else "",
            one.message,
        )
        for one in found
    )
    table(("ID", "PARTITION", "NODE", "STATE", "DESIRED", "EXIT", "CREATED", "TOOK", "MESSAGE"), rows)


def history(found: Sequence[HistoryItem]) -> None:
    """Print history as a table."""
    rows = ((clock(item.at), item.level, short(item.execution_id), item.topic, item.message) for item in found)
    table(("TIME", "LEVEL", "EXECUTION", "TOPIC", "EVENT"), rows)


def describe(found: JobDetails) -> None:
    """Print everything about a job: what it is, how it stands and why, its attempts, its history, its output."""
    from skrei.progress import Progress

    job = found.job
    pairs = {
        "ID": job.id,
        "Name": job.name,
        "Namespace": job.namespace,
        "Type": job.type,
        "State": job.state,
        "Message": job.message,
        "Count": str(job.count),
        "Engine": job.engine,
        "Version": str(job.version),
        "Created": f"{job.created.astimezone():%Y-%m-%d %H:%M:%S}",
        "Modified": f"{job.modified.astimezone():%Y-%m-%d %H:%M:%S}",
        "Results": _kept(found.executions),
    }
    for key, value in pairs.items():
        if value:
            line(f"{key:<10}= {indented(value)}")
    _section("Summary")
    line(progress_states(Progress(job, (), found.executions)))
    reasons = _reasons(found)
    if reasons:
        _section("Why")
        for reason in reasons:
            line(indented(reason, 0))
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
    from skrei.progress import best_attempts

    for heading, attribute in (("Standard output", "stdout"), ("Standard error", "stderr")):
        said = [one for one in best_attempts(found) if getattr(one, attribute)]
        if said:
            _section(heading)
        for one in said:
            if len(said) > 1:
                line(f"--- partition {one.partition}")
            output_text(getattr(one, attribute), sys.stdout)
        if any(one.truncated and one.has_result for one in said):
            note("Only its beginning: `skrei job logs` and `skrei job get` have all of it.")


def nodes(page: Page[Node], output: Format) -> None:
    """Print a list of nodes."""
    if output is not Format.TABLE:
        document(page.document, output)
        return
    rows = (
        (
            node.id,
            node.type,
            node.membership,
            node.connection,
            ", ".join(node.engines),
            f"{node.available['CPU']:g} / {node.capacity['CPU']:g}",
            f"{quantity(node.available['Memory'])} / {quantity(node.capacity['Memory'])}",
            str(node.running),
            " ".join(f"{key}={value}" for key, value in sorted(node.labels.items())),
        )
        for node in page.items
    )
    table(("ID", "TYPE", "APPROVAL", "STATUS", "ENGINES", "CPU FREE", "MEMORY FREE", "RUNNING", "LABELS"), rows)


def log(found: LogLine) -> None:
    """Print output as it came, on the stream it came from."""
    output_text(found.text, sys.stderr if found.stream == 2 else sys.stdout, newline=False)


def output_text(text: str, stream: TextIO, *, newline: bool = True) -> None:
    """Print a program's own output verbatim: what it wrote is its user's business."""
    stream.write(text)
    if newline and text and not text.endswith("\n"):
        stream.write("\n")
    stream.flush()


def fetched(found: Fetched) -> None:
    """Print where results lie, and what could not be had."""
    for item in found.unknown:
        note(f"A result of type {item.get('Type')} cannot be fetched from here: {item.get('Params')}")
    if not found.partitions:
        return
    if found.clashes:
        names = ", ".join(found.clashes)
        note(f"Several partitions left {names}: each has a folder of its own beside the joined output.")
    told = f" of {len(found.partitions)} partitions" if len(found.partitions) > 1 else ""
    counted = "1 file" if found.files == 1 else f"{found.files} files"
    line(f"Results are in {found.folder}: {counted}{told}, {quantity(found.total_bytes)}.")


def download_view() -> NoMeter:
    """Return a bar on a terminal, silence elsewhere."""
    if sys.stderr.isatty():
        from skrei.cli.downloads import DownloadBar

        return DownloadBar()
    from skrei.results import NoMeter

    return NoMeter()


class ProgressView(Protocol):
    """Shows looks at a job until its end."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, progress: Progress) -> None:
        """Show one look."""


def progress_view() -> ProgressView:
    """Return a live bar on a terminal, plain lines elsewhere. Both go to standard error: the answer is elsewhere."""
    if sys.stderr.isatty():
        from skrei.cli.live import LiveProgress

        return LiveProgress()
    return PlainProgress()


class PlainProgress:
    """One line for each event; a look with many events is told by its counts."""

    MANY = 12

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Print what is new."""
        if len(progress.events) > self.MANY:
            note(f"{clock(progress.events[-1].at)}  {progress.job.state}  {progress_states(progress)}")
            return
        for item in progress.events:
            note(event_line(item))


def event_line(item: HistoryItem) -> str:
    """Return an event as one line."""
    subject = short(item.execution_id) if item.execution_id else "job"
    return f"{clock(item.at)}  {subject:<10}  {item.topic:<12}  {' '.join(with_next_step(item.message).split())}"


def clock(at: datetime) -> str:
    """Return the local time of day with milliseconds."""
    return f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1000:03d}"


def indented(text: str, by: int = 12) -> str:
    """Return text whose further lines stand under its first."""
    return ("\n" + " " * by).join(text.splitlines()) if text else ""


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
    told = [with_next_step(found.job.message)] if found.job.message else []
    told += [
        f"{short(one.id)} (partition {one.partition}, {short(one.node_id)}): {one.message}"
        for one in found.executions
        if one.message and one.state in {"Failed", "Refused"}
    ][:MOST_REASONS]
    if not told:
        told = [item.message for item in found.history if item.is_error][-1:]
    return told


def _section(title: str) -> None:
    line()
    line(title)


MOST_REASONS = 10
"""Reasons of failed attempts in `describe`; the table above them has all."""


def hints(commands: Iterable[tuple[str, str]]) -> None:
    """Print what to type next and what it does."""
    rows = list(commands)
    width = max((len(command) for command, _ in rows), default=0)
    for command, meaning in rows:
        line(f"  {command:<{width}}  {meaning}")
