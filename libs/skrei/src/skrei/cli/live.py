"""Progress on a terminal: one live line under the events that matter."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from skrei.cli.render_jobs import event_line, progress_states
from skrei.cli.texts import clean
from skrei.progress import Progress


class LiveProgress:
    """A bar of completed partitions with the states of the others, and above it the job's events and every error."""

    def __init__(self) -> None:
        console = Console(file=sys.stderr, highlight=False, markup=False)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[states]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("waiting", total=1, states="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Move the bar, and say what is worth a line of its own."""
        for item in progress.events:
            if not item.execution_id or item.is_error:
                self._bar.console.print(clean(event_line(item)), soft_wrap=True)
        self._bar.update(
            self._task,
            description=clean(f"{progress.job.name} {progress.job.state}"),
            total=max(progress.job.count, 1),
            completed=progress.partitions["Completed"],
            states=" · ".join((progress_states(progress), *map(clean, progress.notes[:1]))),
        )
