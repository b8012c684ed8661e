"""The program `skrei`: runs the command, and tells every error as what happened and what to do."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from skrei_domain.errors import SkreiError

if TYPE_CHECKING:
    from skrei.cli.grammar import Command, Values

FAILED, INTERRUPTED = 1, 130


def main() -> None:
    """Run the program: exit 0 when it did what was asked, 1 with a reason, 2 for a wrong call, 130 for Ctrl+C.

    Commands that run a program end with its exit code; what is not the program's doing then has codes of its own
    (`skrei.cli.exit_codes`).
    """
    try:
        code = _main()
    except KeyboardInterrupt:  # also while modules are still being imported
        code = INTERRUPTED
    if code:
        sys.exit(code)


def _main() -> int:
    from skrei.cli import render

    code = 0
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except SkreiError as error:
        render.problem(error.message, error.hint)
        code = getattr(error, "exit_code", FAILED)
    except BrokenPipeError:
        render.unread()
        code = FAILED
    except OSError as error:
        render.problem(str(error), "")
        code = FAILED
    return code


def _run(words: list[str]) -> int:
    from skrei.cli import tree
    from skrei.cli.universal import before_command

    if words[:1] == ["__complete"]:
        from skrei.cli.completion import complete

        return complete(words[1:])
    said, words = before_command(words)
    words = {"--version": ["version"], "-V": ["version"], "--help": [], "-h": []}.get(" ".join(words), words)
    name, left = tree.split(words)
    if name not in tree.COMMANDS:
        return _tell_group(name, asked=bool(left))
    command = tree.load(name)
    values = _read(command, [*said, *left])
    if values is None:
        return 0
    module, _, function = command.does.partition(":")
    try:
        return int(getattr(import_module(module), function)(values) or 0)
    except SkreiError as error:
        from skrei.cli.remedies import with_remedy

        raise with_remedy(error, name) from error


def _read(command: "Command", words: list[str]) -> "Values | None":
    """Return what a call says; None where it asked for the help, which is printed."""
    from skrei.cli.grammar import HelpWanted, Misuse, read
    from skrei.cli.universal import settled, with_universal

    try:
        return settled(read(with_universal(command), words, os.environ))
    except HelpWanted:
        from skrei.cli import render
        from skrei.cli.help import command_help

        render.line(command_help(command))
        return None
    except Misuse as error:
        error.exit_code = command.misuse_code
        raise
    except SkreiError as error:
        from skrei.cli.exit_codes import NOT_RUN
        from skrei.errors import CommandFailed

        if command.misuse_code != NOT_RUN:
            raise
        raise CommandFailed(error.message, hint=error.hint, exit_code=NOT_RUN) from error


def _tell_group(name: str, *, asked: bool) -> int:
    """Print the commands of a group: asked for exit 0, else as the answer to half a command exit 2."""
    from skrei.cli import render, tree
    from skrei.cli.help import group_help

    rows = [(each.removeprefix(f"{name} "), tree.summary(each)) for each in tree.inside(name)]
    title = tree.GROUPS.get(name, "Skrei runs jobs where the data is.")
    usage = " ".join(["skrei", *([name] if name else []), "COMMAND", "..."])
    render.line(group_help(title, usage, rows, "Options of a command: skrei COMMAND --help"))
    return 0 if asked or not name else 2


if __name__ == "__main__":
    main()
