"""`skrei down`: stops the stack of this machine."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from skrei import calls, credentials, state
from skrei.cli import render
from skrei.cli.ask import Ask
from skrei.cli.flags import text
from skrei.cli.grammar import Command, Values
from skrei.endpoint import is_named, resolve
from skrei.errors import ApiError, Rejected, Unreachable

DOWN = Command(
    "down",
    "Stop the stack of this machine, whoever of this user's commands started it.",
    "skrei.cli.down:down",
    (text("--data-dir", "FOLDER", "The stack in this folder, instead of the usual one.", completes="file"),),
)
STOP_SECONDS = 15.0
"""The stack stops within 10 s by its own promise."""
LOOK_SECONDS = 0.05


def down(values: Values) -> None:
    """Stop it, and wait until all of it has ended."""
    found = _stack(values)
    if found is None:
        render.line("Nothing to stop: no stack of this user runs here.")
        return
    folder, told = found
    running = _running(str(told.get("api_url", "")))
    pid = int(told["pid"])
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise Rejected(
            f"The stack in {folder} (process {pid}) belongs to another user.", hint="sudo skrei down, or ask its owner."
        ) from error
    until = time.monotonic() + STOP_SECONDS
    while state.stack_state(folder) is not None:
        if time.monotonic() > until:
            raise Rejected(f"The stack in {folder} still runs after {STOP_SECONDS:g} s.", hint=f"Its process is {pid}.")
        time.sleep(LOOK_SECONDS)
    render.line(f"Stopped the stack in {folder}.")
    if running:
        told_of = "1 job had not ended; it goes" if running == 1 else f"{running} jobs had not ended; they go"
        render.note(f"{told_of} on at its next start.")


def _stack(values: Values) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder and the state of the stack that is meant, if it runs."""
    named = values.text("data-dir")
    if named:
        folder = Path(named).expanduser().absolute()
    elif is_named(values.text("api"), os.environ):
        url = resolve(values.text("api"), os.environ)
        own = credentials.own_stack(url)
        if own is None:
            raise Rejected(f"No stack of this user answers at {url}.", hint="skrei down alone stops the usual one.")
        return own
    else:
        folder = state.usual_folder()
    told = state.stack_state(folder)
    return None if told is None else (folder, told)


def _running(url: str) -> int:
    """Return how many jobs have not ended, of the latest ones; 0 where nobody tells."""
    if not url:
        return 0
    try:
        with Ask(url) as ask:
            page = ask.send(calls.jobs(limit=100))
    except (ApiError, Unreachable):
        return 0
    return sum(not job.is_terminal for job in page.items)
