"""Pieces of output on their way to a reader: only the last lines of them, and of a flood no more than a gigabyte."""

from collections.abc import AsyncIterator

from skrei_domain.errors import SkreiError

Piece = tuple[int, str]
"""A stream (1 stdout, 2 stderr) and some text of it."""

MOST_LINES = 10_000
"""Lines that can be asked for from the end of each stream: more than anybody scrolls back."""
TAIL_CHARACTERS = 1024 * 1024
"""Of each stream, for those lines: what is held while the rest goes by."""
MOST_CHARACTERS = 1024**3 + 4096
"""Of one stream that are shown live: as much as nodes keep of it, and the line with which they say so."""


async def last_lines(pieces: AsyncIterator[Piece], lines: int) -> AsyncIterator[Piece]:
    """Yield the last lines of each stream once all of it has gone by; what is raised at the end comes after them."""
    endings: dict[int, _Ending] = {}
    raised: SkreiError | None = None
    try:
        async for stream, text in pieces:
            endings.setdefault(stream, _Ending()).take(text)
    except SkreiError as error:
        raised = error
    for stream in sorted(endings):
        if text := endings[stream].last(lines):
            yield stream, text
    if raised is not None:
        raise raised


async def capped(pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """Yield pieces; of a stream that never ends a gigabyte, and a line that says so."""
    left: dict[int, int] = {}
    async for stream, text in pieces:
        room = left.get(stream, MOST_CHARACTERS)
        left[stream] = room - len(text)
        if room >= len(text):
            yield stream, text
        elif room >= 0:
            yield stream, text[:room]
            yield stream, cut_marker(MOST_CHARACTERS)
            left[stream] = -1


def cut_marker(most: int) -> str:
    """Return what stands where an output is cut."""
    return f"\n[cut after {most:,} bytes: `skrei job get` has all that was kept of it]\n"


class _Ending:
    """The end of one stream, as pieces of it go by."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def take(self, text: str) -> None:
        """Let a piece go by."""
        self._parts.append(text)
        self._size += len(text)
        if self._size > 2 * TAIL_CHARACTERS:
            self._parts = ["".join(self._parts)[-TAIL_CHARACTERS:]]
            self._size = TAIL_CHARACTERS

    def last(self, lines: int) -> str:
        """Return the last lines; one that has not ended is a line too."""
        text = "".join(self._parts)[-TAIL_CHARACTERS:] if lines else ""
        position = len(text) - text.endswith("\n")
        for _ in range(lines):
            position = text.rfind("\n", 0, position)
            if position < 0:
                return text
        return text[position + 1 :]
