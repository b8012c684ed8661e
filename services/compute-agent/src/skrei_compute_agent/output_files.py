"""The files that a start writes its output into, as somebody reads them who follows it."""

import codecs
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

from skrei_compute_agent.folders import Places
from skrei_domain.messages import LogRequest
from skrei_plugin_api.streams import NAMES

TAIL_BYTES = 1024 * 1024
"""Looked at from the end of an output for its last lines."""


class OutputStream(NamedTuple):
    """One stream: its number in the API (1 stdout, 2 stderr), its file, and what makes text of it."""

    number: int
    file: BinaryIO
    decoder: codecs.IncrementalDecoder


def begin_of_last(file: BinaryIO, lines: int) -> int:
    """Return where the last lines of a file begin, within TAIL_BYTES of its end; one that has not ended is a line."""
    end = file.seek(0, 2)
    if not lines:
        return end
    begin = max(0, end - TAIL_BYTES)
    file.seek(begin)
    data = file.read(end - begin) or b""
    position = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return begin
    return begin + position + 1


class OutputFiles:
    """The files of one start, opened as they appear: each is made with the first byte of its stream."""

    def __init__(self, request: LogRequest, stack: ExitStack) -> None:
        self.streams: dict[int, OutputStream] = {}
        self._request = request
        self._stack = stack
        self._places: Places | None = None
        self._looked = False

    def look(self, latest: Places | None) -> None:
        """Open what has appeared. What was not there at the first look is read from its begin: all of it is new."""
        self._places = self._places or latest
        if self._places is not None:
            for number, name in NAMES.items():
                if number not in self.streams:
                    self._open(number, self._places.work / name)
        self._looked = True

    def _open(self, number: int, path: Path) -> None:
        try:
            file = self._stack.enter_context(path.open("rb", buffering=0))
        except FileNotFoundError:
            return
        if not self._looked and self._request.lines is not None:
            file.seek(begin_of_last(file, self._request.lines))
        elif not self._looked and self._request.tail:
            file.seek(0, 2)
        self.streams[number] = OutputStream(number, file, codecs.getincrementaldecoder("utf-8")("replace"))
