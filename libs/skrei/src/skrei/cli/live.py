"""Progress on a terminal: a line for each stage, rewritten in place, under the events that matter."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self

from skrei.cli import render
from skrei.cli.render_jobs import EventLines
from skrei.cli.stages import lines_of
from skrei.cli.texts import clean, short
from skrei.progress import Progress


class LiveProgress:
    """The stages of a job, and above them the job's own events and every error."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = 0
        self._lines = EventLines()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.flush()

    def show(self, progress: Progress) -> None:
        """Write the stages anew, and what is worth a line of its own above them."""
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be rewritten
        told = [self._lines.line(item) for item in progress.events if item.is_error]
        seconds = time.monotonic() - self._began
        lines = list(lines_of(short(progress.job.id), progress, seconds, width=width))
        back = f"\x1b[{self._shown}A\x1b[J" if self._shown else ""
        sys.stderr.write(back + "".join(f"{clean(text)}\n" for text in told) + _grey(lines))
        sys.stderr.flush()
        self._shown = len(lines)


def _grey(lines: list[str]) -> str:
    text = "".join(f"{clean(line)}\n" for line in lines)
    return f"{render.GREY}{text}{render.PLAIN}" if render.colours(sys.stderr) else text
