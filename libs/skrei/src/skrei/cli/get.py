"""`skrei get`, `skrei job get`: fetching what a job left."""

from pathlib import Path
from typing import Annotated

import typer

from skrei.cli import render
from skrei.cli.options import Api, JobId, endpoint, settled
from skrei.cli.references import job_named
from skrei.cli.texts import short
from skrei.client import AsyncClient
from skrei.errors import NoPlace, Rejected
from skrei_domain.resources import parse_bytes


def get(
    job: JobId,
    *,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where to; else a new folder job-<id> here.")
    ] = None,
    execution: Annotated[
        str, typer.Option("--execution", "-e", metavar="ID", help="What this execution left, whether it counts or not.")
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Only the archives, as they are, in a folder raw.")] = False,
    per_partition: Annotated[
        bool, typer.Option("--per-partition", help="A folder for each partition, instead of all together.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what has the same name.")] = False,
    parallel: Annotated[
        int,
        typer.Option("--parallel", min=1, max=64, envvar="SKREI_GET_PARALLEL", help="Downloads at once."),
    ] = 4,
    max_files: Annotated[
        int | None, typer.Option("--max-files", min=1, help="Refuse an archive with more entries (100000).")
    ] = None,
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="Refuse one that unpacks to more, such as 200GB (64Gi).")
    ] = "",
    max_ratio: Annotated[
        int | None, typer.Option("--max-ratio", min=1, help="Refuse one that unpacks to so many times its size (250).")
    ] = None,
    api: Api = None,
) -> None:
    """Fetch the results of a job. Those of several partitions lie together, their output joined in order."""

    async def command() -> None:
        from skrei.archive import MOST_BYTES, MOST_ENTRIES, RATIO, Caps
        from skrei.results import Wish, fetch

        caps = Caps(max_files or MOST_ENTRIES, _bytes(max_size) or MOST_BYTES, max_ratio or RATIO)
        wish = Wish(execution, raw, per_partition, overwrite, parallel, caps)
        async with AsyncClient(endpoint(api)) as client:
            found = await client.job(job_named(job, client.endpoint))
            target = output_dir or _new_folder(found.id, overwrite=overwrite)
            with render.download_view() as view:
                fetched = await fetch(client, found.id, target, wish, view)
        if not fetched.partitions and not fetched.unknown:
            raise Rejected(
                f"The {'execution' if execution else 'job'} has no results ({found.state}).",
                hint=f"How it stands: skrei describe {short(found.id)}",
            )
        render.fetched(fetched)

    settled(command())


def _new_folder(job_id: str, *, overwrite: bool) -> Path:
    target = Path(f"job-{short(job_id)}")
    if not overwrite and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise NoPlace(
            f"{target} is there already.",
            hint="Name another place with --output-dir, or replace what is there with --overwrite.",
        )
    return target


def _bytes(text: str) -> int:
    if not text:
        return 0
    try:
        return parse_bytes(text.strip().lower())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no size such as 200GB or 64Gi", param_hint="--max-size") from error
