"""`--watch`: the same answer again and again, until Ctrl+C or until nothing can change any more.

On a terminal each answer takes the place of the one before. Elsewhere an answer is printed when it differs.
"""

import contextlib
import io
import sys
import time
from collections.abc import Callable

from skrei.cli.flags import flag, seconds
from skrei.cli.grammar import Values

WATCH = (
    flag("--watch", "Show it again and again, until Ctrl+C."),
    seconds("--interval", "How often, with --watch; 0 is every two seconds."),
)
PAUSE_SECONDS = 2.0
"""Between two answers: what a person takes for live, and little work for an API."""
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def watched(values: Values, once: Callable[[Values], bool]) -> None:
    """Do `once`; with `--watch` again and again, until it returns that nothing can change any more."""
    if not values.flag("watch"):
        once(values)
        return
    pause = values.seconds("interval") or PAUSE_SECONDS
    before = ""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                over = once(values)
            if sys.stdout.isatty():
                sys.stdout.write(CLEAR + told.getvalue())
            elif told.getvalue() != before:
                sys.stdout.write(told.getvalue())
            before = told.getvalue()
            sys.stdout.flush()
            if over:
                return
            time.sleep(pause)
