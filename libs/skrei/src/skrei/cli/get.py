"""`skrei get`, `skrei job get`: fetching what a job left."""

from pathlib import Path
from typing import Annotated

import typer

from skrei.cli import render
from skrei.cli.options import Api, JobId, endpoint, settled
from skrei.client import AsyncClient
from skrei.errors import Rejected


def get(
    job: JobId,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where to; else a new folder job-<id> here.")
    ] = None,
    api: Api = None,
) -> None:
    """Fetch the results of a job; several partitions each get a folder."""

    async def command() -> None:
        from skrei.cli.texts import short
        from skrei.results import fetch

        async with AsyncClient(endpoint(api)) as client:
            found = await client.job(job)
            target = output_dir or Path(f"job-{short(found.id)}")
            if output_dir is None and target.exists() and any(target.iterdir()):
                raise Rejected(f"{target} is there already.", hint="Name another place with --output-dir.")
            fetched = await fetch(client, found.id, target)
        for item in fetched.unknown:
            render.note(f"A result of type {item.get('Type')} cannot be fetched from here: {item.get('Params')}")
        if fetched.partitions:
            render.fetched(fetched.folder, fetched.files, fetched.partitions)
        elif not fetched.unknown:
            raise Rejected(
                f"The job has no results ({found.state}).", hint=f"How it stands: skrei job describe {found.id}"
            )

    settled(command())
