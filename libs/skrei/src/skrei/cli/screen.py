"""Where a job's output goes: its stdout to ours, its stderr to ours, byte for byte, from several threads.

What is written is remembered by its length, so that an output is told once, wherever its parts come from: live from
the node, again after a broken connection, and the rest from the result.
"""

import codecs
import itertools
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from skrei.cli.lines import Lines
from skrei.cli.render import PLAIN, colours
from skrei.cli.texts import harmless

REPLACED = "\N{REPLACEMENT CHARACTER}"
"""Stands in text for bytes that are none: from there on only the result has the output as it was."""
STREAMS = (1, 2)
COLOURS = tuple(f"\x1b[{number}m" for number in (36, 33, 35, 32, 34, 96, 93, 95))
"""Of the partitions that share a terminal, in the order in which they begin to speak; no red: nothing has failed."""


class Told:
    """How much of each stream of one execution has been shown."""

    def __init__(self, screen: "Screen", label: int | str) -> None:
        self.shown = dict.fromkeys(STREAMS, 0)
        self.held: set[int] = set()
        """Streams that go on from the result alone: what came live of them is not exact."""
        self.approximate: set[int] = set()
        """Streams that a person saw live with bytes replaced: their rest has no place to begin."""
        self.complete = False
        """Whether everything came live."""
        self._screen = screen
        prefix = screen.prefix(str(label)) if screen.many else b""
        self._lines = {stream: Lines(prefix) for stream in STREAMS} if screen.many else {}
        self._decoders = {stream: _decoder() for stream in STREAMS if screen.on_terminal(stream)}
        """What a program says to a terminal is shown, and cannot speak to it."""

    def live(self, stream: int, start: int, text: str) -> int:
        """Show text that came live, which begins at byte `start` of its stream; return where it ends."""
        if stream in self.held:
            return start
        if REPLACED in text and self._screen.on_terminal(stream):
            self.approximate.add(stream)
        elif REPLACED in text:
            text = text[: text.index(REPLACED)]
            self.held.add(stream)
        data = text.encode()
        self.whole(stream, start, data)
        return start + len(data)

    def rest(self, stream: int, start: int, data: bytes) -> None:
        """Show bytes of the result, which begin at byte `start` of their stream: those that were not shown before."""
        if stream not in self.approximate:
            self.whole(stream, start, data)

    def whole(self, stream: int, start: int, data: bytes) -> None:
        """Show exact bytes that begin at byte `start` of their stream: those that were not shown before."""
        fresh = data[max(self.shown[stream] - start, 0) :]
        self.shown[stream] = max(self.shown[stream], start + len(data))
        if fresh:
            self._write(stream, self._clean(stream, fresh))

    def end(self) -> None:
        """There is no more: show what waits for the end of its line."""
        for stream in STREAMS:
            self._write(stream, self._clean(stream, b"", last=True))
            if (lines := self._lines.get(stream)) is not None:
                self._screen.write(stream, lines.rest(), clean=True)

    def _clean(self, stream: int, data: bytes, *, last: bool = False) -> bytes:
        decoder = self._decoders.get(stream)
        return data if decoder is None else harmless(decoder.decode(data, last)).encode()

    def _write(self, stream: int, data: bytes) -> None:
        lines = self._lines.get(stream)
        self._screen.write(stream, lines.take(data) if lines is not None and data else data, clean=True)


class Screen:
    """Both our streams. `many` says that several partitions share them."""

    def __init__(
        self, *, many: bool, before: Callable[[], None], streams: tuple[BinaryIO, BinaryIO] | None = None
    ) -> None:
        self.many = many
        self._before = before
        self._lock = threading.Lock()
        self._closed = False
        self._out = dict(zip(STREAMS, streams or (sys.stdout.buffer, sys.stderr.buffer), strict=True))
        self._decoders = {stream: _decoder() for stream, out in self._out.items() if out.isatty()}
        """Of streams that are terminals: what a program says there is shown, and cannot speak to the terminal."""
        self.broken: OSError | None = None
        self._colours = itertools.cycle(COLOURS) if colours(self._out[1]) else None

    def on_terminal(self, stream: int) -> bool:
        """Return whether a person looks at this stream."""
        return self._out[stream].isatty()

    def prefix(self, label: str) -> bytes:
        """Return what stands before each line of a partition, in the next colour; nothing where a program reads."""
        if not (self.many and self.on_terminal(1)):
            return b""
        colour = next(self._colours) if self._colours is not None else ""
        return f"{colour}[{label}]{PLAIN if colour else ''} ".encode()

    def write(self, stream: int, data: bytes, *, clean: bool = False) -> None:
        """Write now, whole; `clean`: nothing in it speaks to a terminal but what we put there ourselves.

        A reader that has gone is kept in `broken`, for who waits for the job.
        """
        if not data:
            return
        with self._lock:
            if self._closed or self.broken is not None:
                return
            self._before()
            self._put(stream, data, clean=clean)

    def _put(self, stream: int, data: bytes, *, last: bool = False, clean: bool = False) -> None:
        decoder = None if clean else self._decoders.get(stream)
        shown = data if decoder is None else harmless(decoder.decode(data, last)).encode()
        try:
            self._out[stream].write(shown)
            self._out[stream].flush()
        except BrokenPipeError as error:
            self.broken = error

    def close(self) -> None:
        """Write no more: the program ends, and threads may still be on their way."""
        with self._lock:
            if not self._closed and self.broken is None:
                for stream in self._decoders:
                    self._put(stream, b"", last=True)
            self._closed = True


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")
