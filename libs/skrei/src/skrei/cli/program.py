"""The commands whose options typer reads: those that take long anyway. A module is imported when its name is typed."""

import re
from importlib import import_module

import typer

from skrei.cli.grammar import Misuse
from skrei.cli.options import remember

LAZY = {
    "serve": "skrei.cli.serve:serve",
    "demo": "skrei.cli.demo:demo",
    "get": "skrei.cli.get:get",
    "job get": "skrei.cli.get:get",
}


_NO_OPTION = re.compile(r"No such option: (\S+)(?: \(Possible options: ([^,)]+).*\)| Did you mean (\S+)\?)?")


def run(words: list[str], api: str) -> int:
    """Run the command that `words` begin with; return its exit code."""
    remember(api)
    length = 2 if " ".join(words[:2]) in LAZY else 1
    name = " ".join(words[:length])
    module, _, function = LAZY[name].partition(":")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(getattr(import_module(module), function))
    try:
        code = app(words[length:], prog_name=f"skrei {name}", standalone_mode=False)
    except typer.exceptions.TyperException as error:
        raise _misuse(error, name) from error
    except SystemExit as left:
        code = left.code
    except typer.Abort as aborted:
        raise KeyboardInterrupt from aborted
    return code if isinstance(code, int) else 0


def _misuse(error: "typer.exceptions.TyperException", name: str) -> Misuse:
    """Return a wrong call as the other commands tell it."""
    known = _NO_OPTION.fullmatch(_said(error))
    if known is None:
        return Misuse(f"skrei {name}: {_said(error).rstrip('.')}.", hint=f"All options: skrei {name} --help")
    near = known[2] or known[3]
    said = f"Did you mean {near}? " if near else ""
    return Misuse(f"skrei {name}: there is no {known[1]}.", hint=f"{said}All options: skrei {name} --help")


def _said(error: "typer.exceptions.TyperException") -> str:
    return " ".join(error.format_message().split())
