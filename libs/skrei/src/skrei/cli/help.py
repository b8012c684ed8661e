"""The texts of `--help`, made from what the commands declare."""

import textwrap
from collections.abc import Iterable

from skrei.cli.flags import UNIVERSAL
from skrei.cli.grammar import Command, Kind, Option

_WIDTH = 100
_INDENT = 30


def command_help(command: Command) -> str:
    """Return the help of one command."""
    parts = [f"Usage: {command.usage}", "", command.summary]
    named = [(one.name, one.help) for one in command.arguments]
    if named:
        parts += ["", "Arguments:", *_rows(named)]
    shown = [(_names(option), _help(option)) for option in command.options if not option.hidden]
    if shown:
        parts += ["", "Options:", *_rows(shown)]
    own = {name for option in command.options for name in option.names}
    universal = [one for one in UNIVERSAL if not one.hidden and not own & set(one.names)]
    rows = [(_names(option), _help(option)) for option in universal]
    parts += ["", "Options of every command:", *_rows([*rows, ("    --help", "Show this.")])]
    if command.more:
        parts += ["", command.more]
    return "\n".join(parts)


def group_help(title: str, usage: str, commands: Iterable[tuple[str, str]], more: str = "") -> str:
    """Return the help of a group: its commands and what each does."""
    parts = [f"Usage: {usage}", "", title, "", *_rows(list(commands), 16)]
    return "\n".join([*parts, "", more] if more else parts)


def _names(option: Option) -> str:
    short = next((name for name in option.names if not name.startswith("--")), "")
    long = next((name for name in option.names if name.startswith("--")), "")  # the first: others are older spellings
    if option.kind is Kind.FLAG and option.default is True:
        long = f"--no-{option.key}"
    value = f" {option.metavar}" if option.takes_value else ""
    return f"{short}, {long}{value}" if short else f"    {long}{value}"


def _help(option: Option) -> str:
    shown = option.default not in (None, "", False, True, 0)
    return f"{option.help} [{option.default}]" if shown else option.help


def _rows(rows: list[tuple[str, str]], indent: int = _INDENT) -> Iterable[str]:
    for name, text in rows:
        lines = textwrap.wrap(text, _WIDTH - indent) or [""]
        if len(name) + 4 > indent:
            yield f"  {name}"
        else:
            yield f"  {name:<{indent - 2}}{lines.pop(0)}"
        yield from (" " * indent + line for line in lines)
