"""How the driver tells an array from what is in one: by its type alone.

asyncpg asks the abstract classes of `collections.abc` of every element of every array whether it is an array itself.
Each answer is a call of Python; a commit of the leader has some hundred elements, a batch thousands. What this package
hands over is made of a few types, so that looking at those is enough, and anything else is refused as no array.
"""

from collections import deque

from asyncpg.protocol import protocol

ARRAYS = (list, tuple, set, frozenset, deque)
"""What may be given as an array."""


def seen_by_type() -> None:
    """Let the driver look for `ARRAYS` where it looked for what can be iterated and has a length. Safe twice."""
    protocol.IterableABC = ARRAYS
    protocol.SizedABC = ARRAYS
