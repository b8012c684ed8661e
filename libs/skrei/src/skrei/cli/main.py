"""The program `skrei`: runs the command, and tells every error as what happened and what to do."""

import os
import sys
from importlib import import_module

from skrei_domain.errors import SkreiError

FAILED, INTERRUPTED = 1, 130


def main() -> None:
    """Run the program: exit 0 when it did what was asked, 1 with a reason, 2 for a wrong call, 130 for Ctrl+C.

    Commands that run a program end with its exit code; what is not the program's doing then has codes of its own
    (`skrei.cli.exit_codes`).
    """
    from skrei.cli import render

    code = 0
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except SkreiError as error:
        render.problem(error.message, error.hint)
        code = getattr(error, "exit_code", FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone (`skrei job list | head`): what is left goes nowhere, also at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        render.problem(str(error), "")
        code = FAILED
    if code:
        sys.exit(code)


def _run(words: list[str]) -> int:
    from skrei.cli import tree
    from skrei.cli.grammar import HelpWanted, Misuse, read

    api, words = _before_command(words)
    if words in (["--version"], ["-V"]):
        words = ["version"]
    name, left = tree.split(words)
    if name in tree.OTHERS:
        from skrei.cli.program import run

        return run([*name.split(), *left], api)
    if name not in tree.COMMANDS:
        return _tell_group(name, asked=bool(left))
    command = tree.load(name)
    try:
        values = read(command, [*(["--api", api] if api else []), *left])
    except HelpWanted:
        from skrei.cli import render
        from skrei.cli.help import command_help

        render.line(command_help(command))
        return 0
    except Misuse as error:
        error.exit_code = command.misuse_code
        raise
    module, _, function = command.does.partition(":")
    try:
        return int(getattr(import_module(module), function)(values) or 0)
    except SkreiError as error:
        from skrei.cli.remedies import with_remedy

        raise with_remedy(error, name) from error


def _before_command(words: list[str]) -> tuple[str, list[str]]:
    """Return the endpoint that was given before the command's name (`skrei --api URL list`), and what follows."""
    if words and words[0].startswith("--api="):
        return words[0].partition("=")[2], words[1:]
    if len(words) > 1 and words[0] == "--api":
        return words[1], words[2:]
    return "", words[1:] if words in (["--help"], ["-h"]) else words


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
