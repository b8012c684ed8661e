"""The program `skrei`: runs the command, and tells every error as what happened and what to do."""

import os
import sys

from skrei_domain.errors import SkreiError


def main() -> None:
    """Run the program: exit 0 when it did what was asked, 1 with a reason, 2 for a wrong call, 130 for Ctrl+C."""
    from skrei.cli import render

    try:
        _run(sys.argv[1:])
        sys.stdout.flush()
    except SkreiError as error:
        render.problem(error.message, error.hint)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has gone (`skrei job list | head`): what is left goes nowhere, also at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        render.problem(str(error), "")
        sys.exit(1)


def _run(arguments: list[str]) -> None:
    if arguments in (["version"], ["--version"]):
        # Asked by scripts and people alike, and answered before the library that parses options is loaded.
        from skrei.cli.formats import Format
        from skrei.cli.probe import show_version

        show_version(None, Format.TABLE)
        return
    from skrei.cli.program import app

    app(prog_name="skrei")


if __name__ == "__main__":
    main()
