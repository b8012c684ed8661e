"""What is said beside a job's own output while it runs, all of it on standard error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

from skrei.cli import render
from skrei.cli.render_jobs import EventLines
from skrei.cli.stages import with_bar
from skrei.cli.texts import clean, next_step_of, short, with_next_step
from skrei_domain.amounts import amount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skrei.job_parts import DataRead
    from skrei.progress import Progress
    from skrei.views import Execution, HistoryItem, Job

SHORTEST_WAIT_SECONDS = 0.4
"""Before a waiting line appears: a short job never shows one."""

MOST_NOTES = 2
"""Preparations told in the waiting line: more do not fit beside each other."""


class Status:
    """One passing line on a terminal for as long as the job says nothing; elsewhere what went wrong, a line each."""

    def __init__(self, job: str, *, quiet: bool) -> None:
        self._job = job
        self._quiet = quiet
        self._began = time.monotonic()
        self._passing = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self._shown = ""
        self._done = False
        self._reason = ""
        self._lines = EventLines()
        self._setbacks: list[HistoryItem] = []
        """Attempts that failed: told once the job has gone on in spite of them; else they are why it failed."""

    def show(self, look: Progress) -> None:
        """Show a look."""
        if self._quiet:
            return
        if look.job.is_terminal:
            return
        for item in self._setbacks:
            self.clear(for_good=False)
            render.note(self._lines.line(item))
        self._setbacks = [item for item in look.events if item.execution_id and item.is_error]
        reason = look.job.message if look.job.state == "Queued" else ""
        if reason and reason != self._reason:
            self.clear(for_good=False)
            render.note(f"{self._job} waits: {with_next_step(reason)}")
        self._reason = reason
        waited = time.monotonic() - self._began
        if self._passing and not self._done and waited > SHORTEST_WAIT_SECONDS:
            states = ", ".join(f"{state} {number}" for state, number in sorted(look.partitions.items()))
            notes = "".join(f" · {with_bar(note)}" for note in look.notes[:MOST_NOTES])
            room = shutil.get_terminal_size().columns - 1  # a line that wraps could not be taken away again
            self._shown = clean(f"{self._job} {states} · {waited:.0f} s{notes}")[:room]
            grey, plain = (render.GREY, render.PLAIN) if render.colours(sys.stderr) else ("", "")
            print(f"\r\x1b[K{grey}{self._shown}{plain}", end="", file=sys.stderr, flush=True)

    def clear(self, *, for_good: bool = True) -> None:
        """Take the passing line away: the job speaks now."""
        self._done = self._done or for_good
        if self._shown:
            self._shown = ""
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def submitted(job_id: str, warnings: Iterable[str]) -> None:
    """Say that a job was taken."""
    for warning in warnings:
        render.note(f"Warning: {warning}")
    render.grey(f"Job {job_id}")


def data_read(executions: Iterable[Execution]) -> None:
    """Say how much data a job found where it ran, and how much had to travel; nothing where it read none."""
    if said := data_line(executions):
        render.note(said)


def data_line(executions: Iterable[Execution]) -> str:
    """Return what all attempts read: `read in place 61 MB · moved 1.3 KB`; empty where that is nothing."""
    from skrei.job_parts import DataRead

    read = sum((one.data_read for one in executions), DataRead())
    return _data_line(read) if read else ""


def _data_line(read: DataRead) -> str:
    parts = [f"read in place {in_place(read)}"]
    if read.hits:
        parts.append(f"from the nodes' caches {amount(read.cached)}")
    return " · ".join([*parts, f"moved {amount(read.moved)}"])


def in_place(read: DataRead) -> str:
    """Return how much lay where it was read, and had not been brought there before: `61 MB`, `at least 61 MB`."""
    return f"{'at least ' if read.at_least else ''}{amount(read.local - read.cached)}"


def failure(job: Job, executions: Iterable[Execution]) -> None:
    """Say why a job did not complete: what its attempt says, else what the job says."""
    said = next((one.message for one in executions if one.message and one.state in {"Failed", "Refused"}), job.message)
    told = f": {said}" if said else "."
    todo = " ".join(filter(None, (next_step_of(said), f"More: skrei describe {short(job.id)}")))
    render.problem(f"job {short(job.id)} {job.state.lower()}{told}", todo)
