"""`skrei node …`: who can run jobs, and how much room they have."""

from typing import Annotated

import typer

from skrei.cli import render
from skrei.cli.formats import Format
from skrei.cli.options import Api, Output, endpoint, settled
from skrei.client import AsyncClient

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Look at nodes.")


@app.command("list")
def list_(
    labels: Annotated[list[str] | None, typer.Option("--labels", help="Only nodes that meet this selector.")] = None,
    api: Api = None,
    output: Output = Format.TABLE,
) -> None:
    """List nodes with what is free on them."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            page = await client.nodes(labels=tuple(labels or ()))
        render.nodes(page, output)

    settled(command())


@app.command()
def describe(
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node's id, or a prefix of it.")],
    api: Api = None,
    output: Output = Format.YAML,
) -> None:
    """Tell everything about a node."""

    async def command() -> None:
        async with AsyncClient(endpoint(api)) as client:
            found = await client.node(node)
        render.document(found.document, Format.YAML if output is Format.TABLE else output)

    settled(command())
