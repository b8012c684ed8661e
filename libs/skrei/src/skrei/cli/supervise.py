"""What `skrei serve` becomes: a supervisor without the command line's libraries, which it would hold for weeks."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from skrei_domain.errors import SkreiError

if TYPE_CHECKING:
    from skrei_embedded.place import StackState
    from skrei_embedded.whereabouts import StackOptions


def become(options: "StackOptions") -> NoReturn:
    """Go on as the supervisor: the same process, with its standard streams and the pipe to its parent."""
    if options.token:
        os.environ["SKREI_JOIN_TOKEN"] = options.token  # there, other accounts of this machine do not see it
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, options.to_json()])


def main() -> None:
    """Serve until told to stop; exit 1 with a reason, 130 for Ctrl+C, as every command."""
    from skrei_embedded.births import Nursery

    nursery = Nursery.begin()  # it imports while we do
    from skrei_embedded.stack import StackOptions, run

    try:
        run(StackOptions.from_json(sys.argv[1]), _ready, nursery)
    except SkreiError as error:
        _fail(error.message, error.hint)
    except OSError as error:
        _fail(str(error), "")
    except KeyboardInterrupt:
        sys.exit(130)


def _ready(folder: Path, stack: "StackState") -> None:
    """Remember where the stack lies, for who asks for it without its address; greet who sits before it."""
    from skrei import state

    state.remember_folder(folder)
    if sys.stdout.isatty():
        from skrei.cli.greeting import greet

        greet(folder, stack)


def _fail(what: str, todo: str) -> NoReturn:
    from skrei.cli import render

    render.problem(what, todo)
    sys.exit(1)


if __name__ == "__main__":
    main()
