"""What of executions' output is sent to the publisher, and when: pure rules, told what time it is.

A stream is sent once it holds a whole piece, once its oldest unsent byte has waited long enough, or once it has
ended. Whoever waits longest comes first, and all together stay within the node's budget.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

PIECE_BYTES = 256 * 1024
"""One piece: sent at once when a stream holds that much more."""
EVERY_SECONDS = 5.0
"""How long output waits for more of it: what a dead node has taken with it at most, where the budget allows."""


class LogDoorAway(Exception):
    """The publisher cannot be asked now."""


class LogRefused(Exception):
    """The publisher will take nothing more of this start."""


class Piece(NamedTuple):
    """Bytes to send now: `length` of them from `offset`; `last` says that the stream ends with them."""

    offset: int
    length: int
    last: bool


@dataclass(slots=True)
class Stream:
    """One stream of one start: how much the file has, how much of it the publisher has, since when some waits."""

    size: int = 0
    sent: int = 0
    waiting_since: float | None = None
    ended: bool = False
    told_end: bool = False
    cut: bool = False

    @property
    def unsent(self) -> int:
        """Bytes that the publisher does not have and would take."""
        return 0 if self.cut else max(self.size - self.sent, 0)

    @property
    def finished(self) -> bool:
        """Whether nothing of it will be sent any more."""
        return self.cut or (self.ended and self.told_end)

    def grown(self, size: int, now: float) -> None:
        """Note the file's size."""
        self.size = size
        if not self.unsent:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now

    def end(self, size: int, now: float) -> None:
        """Note that the file grows no more."""
        self.ended = True
        self.grown(size, now)
        self.waiting_since = now if self.waiting_since is None else self.waiting_since

    def answered(self, have: int, *, cut: bool, last: bool, now: float) -> None:
        """Note how much the publisher has; that counts, whatever was believed before."""
        self.sent = have
        self.cut = cut
        self.told_end = last and have >= self.size
        self.waiting_since = None
        self.grown(self.size, now)
        if self.ended and not self.finished and self.waiting_since is None:
            self.waiting_since = now

    def due(self, now: float) -> Piece | None:
        """Return what is to be sent now, if anything."""
        if self.finished or self.waiting_since is None:
            return None
        if not (self.ended or self.unsent >= PIECE_BYTES or now - self.waiting_since >= EVERY_SECONDS):
            return None
        length = min(self.unsent, PIECE_BYTES)
        return Piece(self.sent, length, self.ended and length == self.unsent)


class Budget:
    """So many bytes a second for the whole node; what is not used gathers up to `burst_bytes`.

    A piece is let through while anything is left, and what it takes too much is paid back: so a piece is never
    larger than the budget for ever.
    """

    def __init__(self, bytes_per_second: float, *, burst_bytes: float, now: float) -> None:
        self._rate = bytes_per_second
        self._burst = burst_bytes
        self._left = burst_bytes
        self._at = now

    def allows(self, now: float) -> bool:
        """Whether another piece may go now."""
        self._left = min(self._burst, self._left + max(now - self._at, 0.0) * self._rate)
        self._at = max(now, self._at)
        return self._left > 0

    def spend(self, size: int) -> None:
        """Take what was sent."""
        self._left -= size


class Backoff:
    """When a publisher that is away is asked again."""

    FIRST_SECONDS = 1.0
    LONGEST_SECONDS = 60.0

    def __init__(self) -> None:
        self._pause = 0.0
        self._until = 0.0

    @property
    def away(self) -> bool:
        """Whether the last try failed."""
        return self._pause > 0

    def waits(self, now: float) -> bool:
        """Whether it is too early for another try."""
        return now < self._until

    def failed(self, now: float) -> None:
        """Note a failure: the pause doubles."""
        self._pause = min(max(self._pause * 2, self.FIRST_SECONDS), self.LONGEST_SECONDS)
        self._until = now + self._pause

    def worked(self) -> None:
        """Note that somebody answered."""
        self._pause = self._until = 0.0


def in_turn(streams: Iterable[tuple[str, Stream]], now: float, most: int) -> list[tuple[str, Piece]]:
    """Return the pieces that are due, at most so many, those that wait longest first."""
    due = [(stream.waiting_since or now, key, piece) for key, stream in streams if (piece := stream.due(now))]
    return [(key, piece) for _, key, piece in sorted(due)[:most]]
