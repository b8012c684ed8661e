"""Trying again what was cut, refused for now, or answered too late."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from skrei_plugin_s3.failures import Cut, S3Away

T = TypeVar("T")

TRIES = 6
"""In a row without a byte that came: with the pauses some eight seconds, which a server needs to restart."""
FIRST_PAUSE_SECONDS = 0.2
"""Before the second try, doubled before each further one: a server that says `SlowDown` means it."""
LONGEST_PAUSE_SECONDS = 5.0
"""What the doubling ends at."""


async def again(once: Callable[[], Awaitable[T]], what: str, came: Callable[[], int] = int) -> T:
    """Return what a call comes to that may be cut, anew whenever more of it `came`. Raises S3Away."""
    tried = 0
    while True:
        before = came()
        try:
            return await once()
        except Cut as cut:
            tried = 1 if came() > before else tried + 1  # what gets on may be cut as often as it likes
            if tried >= TRIES:
                raise S3Away(f"{what} cannot be fetched: {cut}") from cut
        await asyncio.sleep(_pause(tried))


def _pause(tried: int) -> float:
    """Return how long to wait, never quite as long as the others who were refused at the same moment."""
    longest = min(FIRST_PAUSE_SECONDS * float(2 ** (tried - 1)), LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1.0)
