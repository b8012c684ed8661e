"""The stack of this machine, started in the background by a command that needs one and finds none."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from skrei import state
from skrei.cli import render
from skrei.endpoint import is_named, resolve
from skrei.errors import Rejected, Unreachable

START_SECONDS = 60.0
"""A first start initialises a database; one that meets another start waits for it."""
LOOK_SECONDS = 0.05
CONNECT_SECONDS = 0.5
"""For this machine to say whether anybody listens on a port of it."""
IDLE_MINUTES = 30
"""How long a stack that was started so lives after its last use: a lunch break, not a night."""
OLD_LOG_BYTES = 8 * 1024 * 1024
"""A log above this is put aside at the next start."""
LOG_LINES = 8
"""Of its log where it does not start; the whole file is named."""


def api_for_a_run(given: str) -> str:
    """Return the API to run a job at: the one that is named, else this machine's, which is started if need be.

    It is started only where nobody named an API and nobody listens at the usual place, and only for a person at a
    terminal or with SKREI_AUTOSTART=1. Raises Unreachable otherwise, Rejected where it does not start.
    """
    url = resolve(given, os.environ)
    if is_named(given, os.environ) or _listens(url):
        return url
    if not _wanted():
        raise Unreachable(
            f"No Skrei API answers at {url}.",
            hint="Start one with `skrei serve` (or set SKREI_AUTOSTART=1), or name another with --api URL.",
            endpoint=url,
        )
    return start()


def _wanted() -> bool:
    said = os.environ.get("SKREI_AUTOSTART", "").lower()
    if said:
        return said not in ("0", "false", "no", "off")
    return sys.stdin.isatty() and sys.stderr.isatty()


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    with (
        contextlib.suppress(OSError),
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=CONNECT_SECONDS),
    ):
        return True
    return False


def start() -> str:
    """Start the stack, or meet another start of it; return its API once a job can be run. Raises Rejected."""
    folder = state.usual_folder()
    minutes = os.environ.get("SKREI_IDLE_MINUTES", "") or str(IDLE_MINUTES)
    render.grey("Starting Skrei on this machine ...")
    began = time.monotonic()
    log = _log_file()
    process = _spawn(log, minutes)
    while time.monotonic() - began < START_SECONDS:
        found = state.stack_state(folder)
        if found is not None and found.get("ready"):
            url = str(found["api_url"])
            stops = f"It stops after {minutes} idle minutes" if float(minutes) else "It runs on"
            render.note(f"Started Skrei at {url} in {time.monotonic() - began:.1f} s. {stops}; now: skrei down")
            return url
        if process.poll() is not None and found is None:
            raise _not_started(log, f"it ended with exit code {process.returncode}")
        time.sleep(LOOK_SECONDS)
    raise _not_started(log, f"it was not ready after {START_SECONDS:g} s")


def _spawn(log: Path, minutes: str) -> "subprocess.Popen[bytes]":
    """Start `skrei serve` in a session of its own: it outlives this command and its terminal."""
    command = [sys.executable, "-P", "-m", "skrei.cli.main", "serve", "--idle-minutes", minutes]
    for flag, variable, port in (
        ("--publisher-port", "SKREI_PUBLISHER_PORT", 1235),
        ("--nats-port", "SKREI_NATS_PORT", 4222),
    ):
        if not os.environ.get(variable) and _listens(f"http://127.0.0.1:{port}"):
            command += [flag, "0"]  # somebody else has the usual one, which nobody types
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)


def _log_file() -> Path:
    folder = state.folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = folder / "serve.log"
        log.touch()
        if log.stat().st_size > OLD_LOG_BYTES:
            log.replace(folder / "serve.log.old")
    except OSError as error:
        raise Rejected(
            f"{folder} cannot be written: {error.strerror}.", hint="Name another place in XDG_STATE_HOME."
        ) from error
    return log


def _not_started(log: Path, why: str) -> Rejected:
    from skrei.cli.log_tail import tail

    said = tail(log, LOG_LINES)
    return Rejected(
        f"Skrei did not start on this machine: {why}." + (f"\n{said}" if said else ""),
        hint=f"Its whole log: {log}. What is missing here: skrei doctor",
    )
