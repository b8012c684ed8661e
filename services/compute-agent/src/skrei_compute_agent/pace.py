"""How fast this node sends: one budget of bytes a second for results and kept logs; others have the rest of a link.

The bucket is pure. It lends what is asked for and says how long to wait before it is sent, so who asks later waits
behind it, and a large piece is no reason to starve.
"""

import asyncio
import time
from collections.abc import Callable

SLICES_A_SECOND = 4
"""Pieces that are sent of a second's budget: a link that is shared is not held for longer at once."""
LEAST_SLICE_BYTES = 4 * 1024
"""The smallest piece: what a packet or three carry."""

LEAST_RATE_BYTES = 4 * 1024
"""Bytes a second: a link that gives less brings no result within the times that doors wait."""


class Bucket:
    """So many bytes a second, and a second's worth at once after a rest."""

    def __init__(self, bytes_per_second: float, *, now: float) -> None:
        self._rate = bytes_per_second
        self._left = bytes_per_second
        self._at = now

    def take(self, size: int, now: float) -> float:
        """Take `size` bytes, and return how many seconds to wait before they are sent."""
        passed = max(now - self._at, 0.0)
        self._left = min(self._left + passed * self._rate, self._rate) - size
        self._at = max(now, self._at)
        return max(-self._left / self._rate, 0.0)


class Pace:
    """Lets senders wait for their turn; `bytes_per_second` 0: nobody waits."""

    def __init__(self, bytes_per_second: int = 0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._bucket = Bucket(bytes_per_second, now=clock()) if bytes_per_second else None

    def slice(self, most: int) -> int:
        """Return how much to send at once, `most` where nobody waits."""
        return min(most, max(self._rate // SLICES_A_SECOND, LEAST_SLICE_BYTES)) if self._bucket is not None else most

    async def wait(self, size: int) -> None:
        """Return when `size` bytes may be sent."""
        if self._bucket is not None and (seconds := self._bucket.take(size, self._clock())) > 0:
            await asyncio.sleep(seconds)


FREE = Pace()
"""Of a node whose owner has set no limit."""
