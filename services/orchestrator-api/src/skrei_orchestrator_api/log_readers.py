"""How many read logs at once: each holds a subscription, a queue and what a slow reader has not taken."""

from collections.abc import Iterator
from contextlib import contextmanager


class LogReaders:
    """Counts them; `most` of them are admitted."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 0

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Count one for as long as the block lasts; says whether it is admitted."""
        admitted = self.now < self.most
        self.now += admitted
        try:
            yield admitted
        finally:
            self.now -= admitted
