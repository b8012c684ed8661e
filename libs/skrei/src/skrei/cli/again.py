"""The same call once more, as one would type it: for what goes on where it ended. Pure."""

import shlex
from collections.abc import Iterator

from skrei.cli.flags import UNIVERSAL
from skrei.cli.grammar import Command, Kind, Option, Values


def next_page(command: Command, values: Values, next_token: str) -> str:
    """Return the call that shows the next page: with every option that was given, and the token of that page."""
    return shlex.join(["skrei", *command.name.split(), *_said(command, values), "--next-token", next_token])


def _said(command: Command, values: Values) -> Iterator[str]:
    for argument in command.arguments:
        if argument.name in values.given:
            yield values.text(argument.name)
    own = {name for option in command.options for name in option.names}
    for option in (*command.options, *(one for one in UNIVERSAL if not own & set(one.names))):
        if option.key in values.given and option.key != "next-token":
            yield from _option(option, values)


def _option(option: Option, values: Values) -> Iterator[str]:
    name, value = option.names[0], values.found.get(option.key)
    if option.kind is Kind.FLAG:
        yield name if value else f"--no-{option.key}"
        return
    for each in value if isinstance(value, tuple) else (value,):
        yield from (name, f"{each:g}" if isinstance(each, float) else str(each))
