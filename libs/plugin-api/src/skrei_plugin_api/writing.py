"""Many pieces to one place of a file, as they came: joining them first would copy each byte once more."""

import itertools
import os
from collections import deque
from collections.abc import Sequence

PIECES_AT_ONCE = 512
"""Written by one call: half of what systems take."""


def write_all_at(file: int, pieces: Sequence[bytes | memoryview], first: int) -> None:
    """Write pieces one after another to an open file, from byte `first` on. Blocks.

    Many go in one call: between calls a thread waits for its turn with the others.
    """
    rest = deque(memoryview(piece) for piece in pieces if piece)
    while rest:
        written = os.pwritev(file, list(itertools.islice(rest, PIECES_AT_ONCE)), first)
        first += written
        while rest and written >= len(rest[0]):
            written -= len(rest.popleft())
        if written:
            rest[0] = rest[0][written:]
