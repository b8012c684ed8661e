"""Submitting a job and staying with it: shared by `job run` and `wasm run`."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import typer

from skrei.cli import render
from skrei.cli.formats import Format
from skrei.client import AsyncClient
from skrei.errors import ApiError, Rejected
from skrei.follow import follow
from skrei.progress import Progress, best_attempts
from skrei.views import Document, Job

MOST_SHOWN = 4
"""Partitions whose output is printed when the job is done; `job describe` has all."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants to see of the job that is submitted."""

    wait: bool = True
    id_only: bool = False
    follow_logs: bool = False
    dry_run: bool = False
    force: bool = False
    timeout_seconds: float = 0.0
    output: Format = Format.YAML


async def submit(endpoint: str | None, job: Document, wish: Wish) -> None:
    """Submit `job` and show what was asked for. Exits 1 when the job was waited for and did not complete."""
    if wish.dry_run:
        render.job_file(job, wish.output)
        return
    async with AsyncClient(endpoint) as client:
        try:
            submitted = await client.submit(job, force=wish.force)
        except ApiError as error:
            if error.status == HTTPStatus.CONFLICT:
                error.hint = f"{error.hint}; `--name OTHER` runs it under another name".removeprefix("; ")
            raise
        for warning in submitted.warnings:
            render.note(f"Warning: {warning}")
        if wish.id_only:
            render.line(submitted.job_id)
        else:
            render.line(f"Job successfully submitted. Job ID: {submitted.job_id}")
        if wish.follow_logs:
            await _show_logs(client, submitted.job_id)
        elif wish.wait and not wish.id_only:
            await _stay(client, submitted.job_id, wish.timeout_seconds)


async def watch(client: AsyncClient, job_id: str) -> Progress:
    """Show a job's progress until it is terminal; returns the last look."""
    last: Progress | None = None
    with render.progress_view() as view:
        async for last in follow(client, job_id):
            view.show(last)
    assert last is not None, "a follow yields at least once"
    return last


async def _stay(client: AsyncClient, job_id: str, timeout_seconds: float) -> None:
    try:
        async with asyncio.timeout(timeout_seconds or None):
            last = await watch(client, job_id)
    except TimeoutError as error:
        raise Rejected(
            f"The job is not done after {timeout_seconds:g} s; it goes on without this program.",
            hint=f"skrei job describe {job_id}",
        ) from error
    except asyncio.CancelledError:
        render.note(f"The job goes on. Stop it with: skrei job stop {job_id}")
        raise
    finish(last)


async def _show_logs(client: AsyncClient, job_id: str) -> None:
    async for chunk in client.logs(job_id, follow=True):
        render.log(chunk)
    last = await watch_quietly(client, job_id)
    if last.state != "Completed":
        _tell_failure(last)


async def watch_quietly(client: AsyncClient, job_id: str) -> Job:
    """Return the job once it is terminal, showing nothing."""
    job = await client.job(job_id)
    async for progress in follow(client, job_id):
        job = progress.job
    return job


def finish(last: Progress) -> None:
    """Print what a finished job said and what can be asked next. Exits 1 when it did not complete."""
    job = last.job
    if job.state != "Completed":
        _tell_failure(job)
    if 0 < job.count <= MOST_SHOWN:
        render.job_output(last.executions)
    for one in best_attempts(last.executions):
        if one.exit_code:
            render.note(f"Partition {one.partition} ended with exit code {one.exit_code}.")
    render.line()
    render.hints(
        [
            (f"skrei job describe {job.id}", "everything about it"),
            (f"skrei job get {job.id}", "fetch its results"),
        ]
    )


def _tell_failure(job: Job) -> None:
    told = f": {job.message}" if job.message else "."
    render.problem(f"job {job.state.lower()}{told}", f"More: skrei job describe {job.id}")
    raise typer.Exit(1)
