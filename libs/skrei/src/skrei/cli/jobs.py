"""`skrei job …`: submitting from a file, looking at jobs, stopping them, fetching what they left."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from skrei.cli import render
from skrei.cli.formats import Format
from skrei.cli.get import get
from skrei.cli.options import Api, JobId, Output, endpoint, settled
from skrei.client import AsyncClient
from skrei.errors import Rejected

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Submit, watch and stop jobs; fetch their results.",
)
app.command()(get)


@app.command()
def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML or JSON; `-` or nothing reads standard input.")
    ] = "-",
    *,
    name: Annotated[str, typer.Option("--name", help="The job's name, instead of the file's.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until the job is done.")] = True,
    wait_timeout: Annotated[
        float, typer.Option("--wait-timeout-secs", min=0, help="Stay at most so long; 0 is no limit.")
    ] = 0,
    id_only: Annotated[bool, typer.Option("--id-only", help="Print the job's id and nothing else.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show the output while it comes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the job as it would be sent.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Submit even when nothing has changed.")] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="With --dry-run: yaml or json.")] = Format.YAML,
    api: Api = None,
) -> None:
    """Submit the job in a file and show its progress. Exits 1 when it does not complete."""
    from skrei.cli.submit import Wish, submit
    from skrei.jobfile import renamed

    wish = Wish(wait, id_only, follow, dry_run, force, wait_timeout, output)
    settled(submit(endpoint(api), renamed(_load(file), name), wish))


@app.command()
def validate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML or JSON; `-` or nothing reads standard input.")
    ] = "-",
) -> None:
    """Check a job file without an API: every wrong field at once."""
    from skrei_domain.job import parse_job

    _, warnings = parse_job(_load(file))
    for warning in warnings:
        render.note(f"Warning: {warning}")
    render.line("OK")


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Jobs to show; 0 is all.")] = 20,
    next_token: Annotated[str, typer.Option("--next-token", help="Go on after an earlier page.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", help="Only this namespace.")] = "",
    labels: Annotated[list[str] | None, typer.Option("--labels", help="Only jobs that meet this selector.")] = None,
    order_by: Annotated[str, typer.Option("--order-by", help="created_at or modified_at.")] = "created_at",
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Oldest first instead of newest.")] = False,
    api: Api = None,
    output: Output = Format.TABLE,
) -> None:
    """List jobs, newest first."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            page = await client.jobs(
                namespace=namespace,
                labels=tuple(labels or ()),
                limit=limit,
                next_token=next_token,
                order_by=order_by,
                reverse=not oldest_first,
            )
        render.jobs(page, output)

    settled(command())


@app.command()
def describe(job: JobId, api: Api = None, output: Output = Format.TABLE) -> None:
    """Tell everything about a job: how it stands and why, its executions, its history, its output."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            found = await client.describe(job)
        if output is Format.TABLE:
            render.describe(found)
        else:
            render.document(found.document, output)

    settled(command())


@app.command()
def executions(
    job: JobId,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Executions to show; 0 is all.")] = 0,
    api: Api = None,
    output: Output = Format.TABLE,
) -> None:
    """List the executions of a job."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            page = await client.executions(job, limit=limit)
        if output is Format.TABLE:
            render.executions(page.items)
        else:
            render.document(page.document, output)

    settled(command())


@app.command()
def history(
    job: JobId,
    *,
    event_type: Annotated[str, typer.Option("--event-type", help="all, job or execution.")] = "all",
    execution_id: Annotated[str, typer.Option("--execution-id", help="Only this execution.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Events to show.")] = 1000,
    next_token: Annotated[str, typer.Option("--next-token", help="Go on after an earlier page.")] = "",
    api: Api = None,
    output: Output = Format.TABLE,
) -> None:
    """Tell what happened to a job, in order."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            page = await client.history(
                job, next_token=next_token, limit=limit, event_type=event_type, execution_id=execution_id
            )
        if output is Format.TABLE:
            render.history(page.items)
            if len(page.items) == limit and page.next_token:
                render.note(f"More: skrei job history {job} --next-token {page.next_token}")
        else:
            render.document(page.document, output)

    settled(command())


@app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the execution ends.")] = False,
    tail: Annotated[bool, typer.Option("--tail", "-t", help="Only what comes from now on.")] = False,
    execution_id: Annotated[str, typer.Option("--execution-id", "-e", help="The output of this execution.")] = "",
    api: Api = None,
) -> None:
    """Print what a job says, live or after its end."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            shown = execution_id or await _one_of_several(client, job)
            async for chunk in client.logs(job, execution_id=shown, follow=follow, tail=tail):
                render.log(chunk)

    settled(command())


@app.command()
def stop(
    job: JobId,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it stands in the job's history.")
    ] = "Stopped at user request",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
    api: Api = None,
) -> None:
    """Stop a job."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            evaluation = await client.stop(job, reason=reason)
        if quiet:
            return
        told = f"Job stop successfully submitted with evaluation ID: {evaluation}"
        render.line(told if evaluation else "The job was stopped before.")

    settled(command())


async def _one_of_several(client: AsyncClient, job: str) -> str:
    """Return the execution to show of a job with several partitions, saying which; empty leaves it to the API."""
    from skrei.progress import best_attempts

    found = await client.job(job)
    best = best_attempts((await client.executions(found.id, limit=0)).items) if found.count > 1 else ()
    if not best:
        return ""
    render.note(
        f"Partition {best[0].partition} of {found.count}, execution {best[0].id}; for another: "
        f"skrei job logs {job} -e EXECUTION (skrei job executions {job} lists them)"
    )
    return best[0].id


def _load(file: str) -> dict[str, object]:
    from skrei.jobfile import load, parse

    if file != "-":
        return load(Path(file))
    if sys.stdin.isatty():
        raise Rejected("No job file is named.", hint="skrei job run FILE, or pipe one in.")
    return parse(sys.stdin.read(), name="standard input", folder=Path.cwd())
