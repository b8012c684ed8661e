"""How far downloads are, on a terminal: one line that moves."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from skrei.results import NoMeter


class DownloadBar(NoMeter):
    """A bar over the bytes of all results together; without sizes it only counts."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr, highlight=False, markup=False),
            transient=True,
        )
        self._task = self._bar.add_task("asking", total=None)
        self._count = 0
        self._done = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def expect(self, total_bytes: int | None, count: int) -> None:
        """See `NoMeter.expect`."""
        self._count = count
        self._bar.update(self._task, total=total_bytes, description=self._said)

    def add(self, count: int) -> None:
        """See `NoMeter.add`."""
        self._bar.advance(self._task, count)

    def done(self) -> None:
        """See `NoMeter.done`."""
        self._done += 1
        self._bar.update(self._task, description=self._said)

    @property
    def _said(self) -> str:
        return f"result {self._done}/{self._count}"
