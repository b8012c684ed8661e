"""The progress of a job that is waited for: a line for each stage on a terminal, lines elsewhere, on standard error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, Self

from skrei.cli import render
from skrei.cli.render_jobs import EventLines, progress_states
from skrei.cli.texts import clock

if TYPE_CHECKING:
    from types import TracebackType

    from skrei.progress import Progress


class ProgressView(Protocol):
    """Shows looks at a job until its end."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, progress: Progress) -> None:
        """Show one look."""


def progress_view() -> ProgressView:
    """Return stages on a terminal, plain lines elsewhere. Both go to standard error: the answer is elsewhere."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from skrei.cli.live import LiveProgress

        return LiveProgress()
    return PlainProgress()


class PlainProgress:
    """One line for each event; a look with many events is told by its counts."""

    MANY = 12

    def __init__(self) -> None:
        self._lines = EventLines()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Print what is new."""
        if len(progress.events) > self.MANY:
            render.note(f"{clock(progress.events[-1].at)}  {progress.job.state}  {progress_states(progress)}")
            return
        for item in progress.events:
            render.note(self._lines.line(item))
