"""Results, and the files in them, as a person or a program reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.render_jobs import whole
from skrei.cli.texts import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skrei.cli.archive_entries import Entry
    from skrei.cli.shape import Shape
    from skrei.job_parts import Result
    from skrei.results import Fetched
    from skrei.views import Job

MOST_PLACES = 20
"""Nodes that are told each with its folder; more are only counted."""


def results(job: Job, found: Sequence[Result], shape: Shape, until: str = "") -> None:
    """Print which results there are; where there are none any more, `until` when they were kept."""
    if not found and shape.output == "table":
        from skrei.views import local_time

        kept = f"None any more: they were kept until {local_time(until)}."
        render.line(kept if until else f"None: the job is {job.state}.")
        return
    if shape.output == "csv":
        _listed(job, found, shape)
        return
    several = any(one.paths for one in found)
    placed = several or any(not (one.kept_until or one.left_at) for one in found)
    rows = (
        (
            *_unit(job, one),
            whole(one.execution_id, shape),
            *((", ".join(one.paths) or "the rest",) if several else ()),
            *((_where(one),) if placed else ()),
            _size(one.left_bytes if one.left_at else one.size, csv=False),
            f"{one.node}:{one.left_at}" if one.left_at else _until(one.kept_until, job),
        )
        for one in found
    )
    headings = (
        "EXECUTION",
        *(("PATHS",) if several else ()),
        *(("PLACE",) if placed else ()),
        "SIZE",
        "KEPT UNTIL" if not any(one.left_at for one in found) else "KEPT",
    )
    render.table((*_unit_names(job), *headings), rows, shape)


def _listed(job: Job, found: Sequence[Result], shape: Shape) -> None:
    """Print which results there are for a program: the columns of a job are the same whatever there is."""
    rows = (
        (
            *_unit(job, one),
            one.execution_id,
            _size(one.left_bytes if one.left_at else one.size, csv=True),
            one.kept_until,
            ", ".join(one.paths),
            f"{one.node}:{one.left_at}" if one.left_at else _where(one),
        )
        for one in found
    )
    render.table((*_unit_names(job), "EXECUTION", "SIZE", "KEPT UNTIL", "PATHS", "PLACE"), rows, shape)


def _until(moment: str, job: Job) -> str:
    """Return until when a result is kept: what is there beyond its time waits for the end of its job."""
    from skrei.views import is_past, local_time

    return "its job's end" if not job.is_terminal and is_past(moment) else local_time(moment)


def _where(one: Result) -> str:
    """Return where a result lies, for people: its publisher, and its place there where that is named."""
    params = one.document.get("Params") or {}
    source = params.get("SourceSpec") or params
    if source.get("Bucket"):
        return f"s3://{source['Bucket']}/{source.get('Key', '')}"
    return f"ipfs://{params['CID']}" if params.get("CID") else "store" if one.kind == "urlDownload" else one.kind


def _size(size: int | None, *, csv: bool) -> str:
    return "" if size is None else str(size) if csv else quantity(size)


def files(job: Job, found: Sequence[Entry], shape: Shape) -> None:
    """Print what results hold."""
    if not shape.is_rows:
        render.document({"Items": [_told(one) for one in found]}, shape)
        return
    csv = shape.output == "csv"
    rows = (
        (
            *_unit(job, one.of),
            "" if one.is_folder else str(one.size) if csv else quantity(one.size),
            f"{one.path}/" if one.is_folder else one.path,
        )
        for one in found
    )
    render.table((*_unit_names(job), "SIZE", "PATH"), rows, shape)


def _told(one: Entry) -> dict[str, object]:
    return {
        "Task": one.of.task,
        "Partition": one.of.partition,
        "NodeID": one.of.node_id,
        "NodeName": one.of.node_name,
        "Path": one.path,
        "Size": one.size,
        "Folder": one.is_folder,
        "ExecutionID": one.of.execution_id,
    }


def _unit_names(job: Job) -> tuple[str, ...]:
    """Return the headings of what tells one result from another: of several tasks the task, of ops the node."""
    return (*(("TASK",) if len(job.tasks) > 1 else ()), "NODE" if job.per_node else "PARTITION")


def _unit(job: Job, one: Result) -> tuple[str, ...]:
    return (*((one.task,) if len(job.tasks) > 1 else ()), one.node if job.per_node else str(one.partition))


def left(one: Result) -> str:
    """Return the words on what stays on its node."""
    return f"{', '.join(one.paths) or 'All of it'} ({quantity(one.left_bytes)}) {one.left_words}"


def fetched(found: Fetched) -> None:
    """Print where results lie, and what could not be had."""
    for one in found.unknown:
        render.note(f"A result of type {one.kind} cannot be fetched from here: {one.document.get('Params')}")
    if not found.partitions:
        return
    if found.left and found.unsent:
        render.note(found.unsent)
    for one in found.left[:MOST_PLACES]:
        here = "nothing of it is here" if one.paths else "here are only its exit code and the beginning of its output"
        render.note(f"{left(one)}: {here}.")
    if len(found.left) > MOST_PLACES:
        render.note(f"So do {len(found.left) - MOST_PLACES} more: skrei job results JOB")
    if found.doubtful:
        first, more = found.doubtful[0].execution_id, len(found.doubtful) - 1
        told = f"the result of {first}" + (f", and of {more} more," if more else "")
        render.note(
            f"In S3 {told} is not packed as its node packed it: another zlib does that here, or one of its files was "
            "changed there since."
        )
    if found.clashes:
        names = ", ".join(found.clashes)
        render.note(f"Several partitions left {names}: each has a folder of its own beside the joined output.")
    counted = "1 file" if found.files == 1 else f"{found.files} files"
    many = len(found.partitions)
    if not found.by_node:
        told = f" of {many} partitions" if many > 1 else ""
        render.line(f"Results are in {found.folder}: {counted}{told}, {quantity(found.total_bytes)}.")
        return
    told = "1 node" if many == 1 else f"{many} nodes"
    render.line(f"Results are in {found.folder}: {counted} of {told}, {quantity(found.total_bytes)}.")
    places = list(found.partitions.items())[:MOST_PLACES]
    width = max(len(name) for name, _ in places)
    for name, place in places:
        render.line(f"  {name:<{width}}  {place}")
    if many > MOST_PLACES:
        render.line(f"  and {many - MOST_PLACES} more")
