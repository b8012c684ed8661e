"""The command tree: a group's module is imported when its name is typed."""

from importlib import import_module

import typer
from typer.core import TyperGroup

from skrei.cli.formats import Format
from skrei.cli.options import Api, Output, endpoint, remember

LAZY = {
    "serve": "skrei.cli.serve",
    "wasm": "skrei.cli.wasm",
    "job": "skrei.cli.jobs",
    "node": "skrei.cli.nodes",
    "demo": "skrei.cli.demo",
}


class LazyGroup(TyperGroup):
    """The root of the tree."""

    def list_commands(self, ctx):  # type: ignore[no-untyped-def]
        """Name every command, also those that are not loaded."""
        return [*LAZY, *super().list_commands(ctx)]

    def get_command(self, ctx, cmd_name):  # type: ignore[no-untyped-def]
        """Return a command, loading its module on the way."""
        if cmd_name in LAZY:
            loaded = typer.main.get_command(import_module(LAZY[cmd_name]).app)
            loaded.name = cmd_name
            return loaded
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Skrei runs jobs where the data is.",
)


@app.callback()
def root(api: Api = None) -> None:
    """Skrei runs jobs where the data is."""
    remember(api)


@app.command()
def version(api: Api = None, output: Output = Format.TABLE) -> None:
    """Tell the version of this program and of the API."""
    from skrei.cli.probe import show_version

    show_version(endpoint(api), output)
