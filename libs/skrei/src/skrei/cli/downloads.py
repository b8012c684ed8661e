"""How far downloads are, on a terminal: one line that moves."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self

from skrei.cli import render
from skrei.cli.stages import with_bar
from skrei.cli.texts import clean
from skrei.results import NoMeter

REDRAW_SECONDS = 0.1
"""Between two drawings: what an eye follows, and nothing for a download."""


class DownloadBar(NoMeter):
    """A bar over the bytes of all results together; without sizes it only counts."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._count = self._done = self._bytes = 0
        self._began = time.monotonic()
        self._drawn = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("")

    def __enter__(self) -> Self:
        self._draw()
        return self

    def expect(self, total_bytes: int | None, count: int) -> None:
        """See `NoMeter.expect`."""
        self._total, self._count = total_bytes, count
        self._draw()

    def add(self, count: int) -> None:
        """See `NoMeter.add`."""
        self._bytes += count
        if time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._draw()

    def done(self) -> None:
        """See `NoMeter.done`."""
        self._done += 1
        self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._write(bar_line(self._done, self._count, self._bytes, self._total, self._drawn - self._began))

    def _write(self, text: str) -> None:
        room = shutil.get_terminal_size().columns - 1  # a line that wraps could not be taken away again
        grey, plain = (render.GREY, render.PLAIN) if text and render.colours(sys.stderr) else ("", "")
        sys.stderr.write(f"\r\x1b[K{grey}{clean(text)[:room]}{plain}")
        sys.stderr.flush()


def bar_line(done: int, count: int, loaded: int, total: int | None, seconds: float) -> str:
    """Return the line: how many results of how many, how many bytes of how many, and how fast."""
    if not count:
        return "asking"
    speed = f"  {loaded / 1e6 / seconds:.1f} MB/s" if seconds > 1 else ""
    of = f"{loaded / 1e6:.1f} MB" if total is None else with_bar(f"{loaded / 1e6:.1f} of {total / 1e6:.1f} MB")
    return f"result {done}/{count}  {of}{speed}"
