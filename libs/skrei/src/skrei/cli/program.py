"""The commands whose options typer reads: those that take long anyway. A module is imported when its name is typed."""

from importlib import import_module

import typer

from skrei.cli.options import remember

LAZY = {
    "serve": "skrei.cli.serve:serve",
    "demo": "skrei.cli.demo:demo",
    "get": "skrei.cli.get:get",
    "job get": "skrei.cli.get:get",
}


def run(words: list[str], api: str) -> int:
    """Run the command that `words` begin with; return its exit code."""
    remember(api)
    length = 2 if " ".join(words[:2]) in LAZY else 1
    name = " ".join(words[:length])
    module, _, function = LAZY[name].partition(":")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(getattr(import_module(module), function))
    try:
        app(words[length:], prog_name=f"skrei {name}")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    return 0
